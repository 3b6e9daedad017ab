"""The paper's figures 1 and 3, drawn for any table: which images, and from which files."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.boxes import rescaled
from cxrssl.core.errors import DataError
from cxrssl.core.images import Radiograph
from cxrssl.core.sizes import Size
from cxrssl.data.image_file import read_image
from cxrssl.data.stated_sizes import scale_of_boxes
from cxrssl.data.tables.rows import RASTER_SUFFIXES
from cxrssl.describe.findings import Findings
from cxrssl.drawing.table_figures import Readings, write_class_balance, write_readings

_SIZE_PX = 512
_NUM_EXAMPLES = 3
# Fused boxes in a picture, beyond which it can't be read.
_CROWDED = 8
_SUFFIXES = (".dicom", ".dcm", ".png", ".jpg", *sorted(RASTER_SUFFIXES - {".png", ".jpg"}))


def draw(
    findings: Findings,
    content: dict[str, Any],
    sizes: Mapping[str, Size],
    *,
    pixels: Path,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Write figure 3, and figure 1 where there are images.

    Args:
        findings: The findings of the table.
        content: The description that `describe` returns.
        sizes: Image id -> (width, height) that the table states.
        pixels: Folder of the image files, named by image id; it need not be there.
        out: Folder of the figures.
        say: Called with a line for each file written, and for what could not be.
    """
    before, after = content["train_images_per_class"], content["oversampled_images_per_class"]
    if content["split"]["train"]:
        files = write_class_balance(
            out / "figure3_class_balance",
            list(before),
            before=list(before.values()),
            after=list(after.values()),
        )
        say(f"wrote {', '.join(map(str, files))}")
    else:
        say("no figure 3: the training split is empty")
    examples = list(_examples(findings, sizes, pixels, say))
    if examples:
        files = write_readings(out / "figure1_fusion", examples)
        say(f"wrote {', '.join(map(str, files))}")
    else:
        say(f"no figure 1: {pixels} holds no readable image of which readers' boxes were merged")


def _examples(
    findings: Findings, sizes: Mapping[str, Size], pixels: Path, say: Callable[[str], None]
) -> Iterator[Readings]:
    """Yield the images of which most marks were merged, crowded ones left out."""
    num_images = len(findings.ids)
    num_fused = np.bincount(findings.fused.images, minlength=num_images)
    merged = np.bincount(findings.marks.images, minlength=num_images) - num_fused
    # Whatever the order of the table, the same images: ties go by id.
    ranked = sorted(range(num_images), key=lambda image: (-int(merged[image]), findings.ids[image]))
    yielded = 0
    for image in ranked:
        if yielded == _NUM_EXAMPLES or not merged[image]:
            return
        file = _file_of(findings.ids[image], pixels) if num_fused[image] <= _CROWDED else None
        if file is None:
            continue
        try:
            stated = sizes.get(findings.ids[image])
            radiograph = read_image(file, size_px=_SIZE_PX, stated=stated)
            readings = _readings(findings, image, radiograph, stated)
        except DataError as error:
            say(f"left out of figure 1: {error}")
            continue
        yielded += 1
        yield readings


def _file_of(image_id: str, folder: Path) -> Path | None:
    paths = [folder / f"{image_id}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def _readings(
    findings: Findings, image: int, radiograph: Radiograph, stated: Size | None
) -> Readings:
    width, height = radiograph.original_width, radiograph.original_height
    drawn, fused = findings.marks.images == image, findings.fused.images == image
    boxes = findings.marks.boxes[drawn]
    x_scale, y_scale = scale_of_boxes(boxes, stated=stated, size=(width, height))
    scale = {"x_scale": x_scale * _SIZE_PX / width, "y_scale": y_scale * _SIZE_PX / height}
    return Readings(
        pixels=radiograph.pixels,
        height_per_width=height / width,
        drawn=rescaled(boxes, **scale),
        readers=findings.marks.readers[drawn].tolist(),
        fused=rescaled(findings.fused.boxes[fused], **scale),
        names=[findings.classes[label] for label in findings.fused.labels[fused]],
        support=findings.fused.support[fused].tolist(),
    )
