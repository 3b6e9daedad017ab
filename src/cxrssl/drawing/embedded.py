"""Pictures that stand inside a page."""

import base64
import io

from PIL import Image

from cxrssl.core.images import Pixels

_JPEG_QUALITY = 88


def data_uri(pixels: Pixels) -> str:
    """Return a grey image [H, W] uint8 as a JPEG in a data: URI."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
