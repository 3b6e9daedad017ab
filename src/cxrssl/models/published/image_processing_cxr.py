"""A radiograph as a picture to what a detector takes, and its boxes back in the picture's pixels.

One of the files that travel with a published detector: it imports numpy, torch and transformers,
no cxrssl. Not for DICOM files: turn them into pictures first, or use `cxrssl predict`. An image of
16 bits must come as it was opened (mode I;16): `Image.convert("RGB")` ruins it.
Shapes: B images, H and W rows and columns of a picture, S the side of the square it becomes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

Pixels = NDArray[np.uint8]
Picture = Image.Image | NDArray[np.generic] | Tensor
NUM_CHANNELS = 3


class CxrImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Grey levels, a square, an equalised histogram if asked for, three equal channels.

    Attributes:
        size_px: S.
        fit: `squash` stretches a picture to the square, `letterbox` keeps its aspect.
        equalize: Whether the square's histogram is equalised.
        image_mean: Of the training's pixels in [0, 1].
        image_std: Likewise.
        do_normalize: Whether they are applied here, or inside the network.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers' own form

    def __init__(
        self,
        size_px: int = 512,
        fit: str = "squash",
        equalize: bool = False,
        image_mean: float = 0.5,
        image_std: float = 0.25,
        do_normalize: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if fit not in ("squash", "letterbox"):
            raise ValueError(f"fit must be squash or letterbox, got {fit!r}")
        self.size_px, self.fit, self.equalize = size_px, fit, equalize
        self.image_mean, self.image_std, self.do_normalize = image_mean, image_std, do_normalize

    def __call__(
        self, images: Picture | list[Picture], return_tensors: str | None = None, **kwargs: object
    ) -> BatchFeature:
        """Return `preprocess` of the images."""
        if kwargs:
            raise ValueError(f"the processor's settings are fixed; got {', '.join(sorted(kwargs))}")
        return self.preprocess(images, return_tensors=return_tensors)

    def preprocess(
        self, images: Picture | list[Picture], return_tensors: str | None = None
    ) -> BatchFeature:
        """Return `pixel_values` [B, 3, S, S] float32, in [0, 1] unless they are normalised.

        Args:
            images: Pictures, or grey arrays [H, W] uint8; one or a list.
            return_tensors: transformers' choice of a form, "pt" for torch.

        Raises:
            ValueError: If an array is no grey uint8 image.
        """
        several = images if isinstance(images, list | tuple) else [images]
        squares = np.stack([self.square(grey(image)) for image in several])
        levels = torch.from_numpy(squares).float().div(255)[:, None]
        if self.do_normalize:
            levels = (levels - self.image_mean) / self.image_std
        wide = levels.expand(-1, NUM_CHANNELS, -1, -1).contiguous()
        return BatchFeature({"pixel_values": wide}, tensor_type=return_tensors)

    def square(self, pixels: Pixels) -> Pixels:
        """Return a grey image [H, W] as the network is to see it, [S, S], still uint8."""
        width, height, left, top = self.place(pixels.shape[1], pixels.shape[0])
        content = resampled(pixels, height=height, width=width)
        square = np.zeros((self.size_px, self.size_px), dtype=np.uint8)
        square[top : top + height, left : left + width] = content
        return equalized(square) if self.equalize else square

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the width, height, left and top edge of an image in its square, in pixels of it.

        Args:
            width: Columns of the image.
            height: Rows of the image.
        """
        if self.fit == "squash":
            return self.size_px, self.size_px, 0, 0
        scale = self.size_px / max(width, height)
        w, h = (max(1, round(side * scale)) for side in (width, height))
        return w, h, (self.size_px - w) // 2, (self.size_px - h) // 2

    def in_picture(self, boxes: Tensor, *, width: int, height: int) -> Tensor:
        """Carry boxes [N, 4] xyxy of the square, in its pixels, to a picture, cut to its edges."""
        w, h, left, top = self.place(width, height)
        shift = boxes.new_tensor([left, top, left, top])
        scale = boxes.new_tensor([width / w, height / h] * 2)
        limit = boxes.new_tensor([width, height] * 2)
        return torch.minimum(((boxes - shift) * scale).clamp(min=0), limit)

    def post_process_object_detection(
        self,
        outputs: object,
        threshold: float = 0.5,
        target_sizes: Tensor | list[tuple[int, int]] | None = None,
    ) -> list[dict[str, Tensor]]:
        """Return `scores`, `labels` from 0 and `boxes` of each image, strongest first.

        Args:
            outputs: Of a Faster R-CNN (`scores`, `pred_labels`) or of a DETR (`logits`).
            threshold: Scores must be above it.
            target_sizes: (height, width) of each picture; without, boxes are pixels of the square.
        """
        detr = getattr(outputs, "logits", None) is not None
        found = []
        for row, shares in enumerate(outputs.pred_boxes):  # type: ignore[attr-defined]
            if detr:
                scores, labels, boxes = strongest(outputs.logits[row], shares)  # type: ignore[attr-defined]
            else:
                scores, labels, boxes = outputs.scores[row], outputs.pred_labels[row], shares  # type: ignore[attr-defined]
            kept = scores > threshold
            boxes = boxes[kept] * self.size_px
            if target_sizes is not None:
                height, width = (int(side) for side in target_sizes[row])
                boxes = self.in_picture(boxes, width=width, height=height)
            found.append({"scores": scores[kept], "labels": labels[kept], "boxes": boxes})
        return found


def strongest(logits: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the Q best pairs of query and class: scores [Q], labels [Q] and boxes [Q, 4] xyxy.

    Args:
        logits: [Q, K] of each query and class.
        centres: [Q, 4] boxes as centre, width and height, in shares of the image.

    Source: Deformable DETR, arXiv 2010.04159: several classes may share a query.
    """
    scores, best = logits.sigmoid().flatten().topk(len(logits))
    queries, labels = best // logits.shape[1], best % logits.shape[1]
    middle, sides = centres[queries, :2], centres[queries, 2:]
    return scores, labels, torch.cat([middle - sides / 2, middle + sides / 2], dim=1)


def grey(image: Picture) -> Pixels:
    """Return a picture's grey levels [H, W] uint8: luma of colours, transparency laid on black.

    Raises:
        ValueError: If an array is no grey uint8 image.
    """
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.ndim != 2 or array.dtype != np.uint8:
            raise ValueError(f"expected [H, W] uint8, got {list(array.shape)} {array.dtype}")
        return array
    if image.mode.startswith("I"):
        return np.rint(np.clip(np.asarray(image) / np.float32(257), 0, 255)).astype(np.uint8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    elif image.mode in ("P", "PA"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def resampled(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """Resample pixels [H, W] to [height, width]: area averages to shrink, linear to grow."""
    if pixels.shape == (height, width):
        return pixels
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    weights = area_weights if shrinks else linear_weights
    rows = weights(pixels.shape[0], height) @ pixels.astype(np.float32)
    levels = rows @ weights(pixels.shape[1], width).T
    rounded: Pixels = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return rounded


def area_weights(num_in: int, num_out: int) -> NDArray[np.float32]:
    """Return the share [num_out, num_in] of each input pixel in the box of each output."""
    edges = np.linspace(0, num_in, num_out + 1)
    pixel = np.arange(num_in)
    end = np.minimum(edges[1:, None], pixel + 1)
    overlap = np.clip(end - np.maximum(edges[:-1, None], pixel), 0, None)
    shares: NDArray[np.float32] = (overlap * (num_out / num_in)).astype(np.float32)
    return shares


def linear_weights(num_in: int, num_out: int) -> NDArray[np.float32]:
    """Return the weights [num_out, num_in] of linear interpolation between pixels' centres."""
    place = np.clip((np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5, 0, num_in - 1)
    distance = np.abs(place[:, None] - np.arange(num_in))
    weights: NDArray[np.float32] = np.clip(1 - distance, 0, None).astype(np.float32)
    return weights


def equalized(pixels: Pixels) -> Pixels:
    """Equalise the histogram of a grey image [H, W]; an image of one value stays as it is.

    As OpenCV's equalizeHist does, to the bit: the darkest level that occurs becomes 0.
    """
    counts = np.bincount(pixels.ravel(), minlength=256)
    darkest = int(counts.argmax() if counts.max() == pixels.size else counts.nonzero()[0][0])
    rest = pixels.size - counts[darkest]
    if rest == 0:
        return pixels
    counts[: darkest + 1] = 0
    scale = np.float32(255) / np.float32(rest)
    table = np.rint(counts.cumsum().astype(np.float32) * scale)
    levels: Pixels = np.clip(table, 0, 255).astype(np.uint8)
    return levels[pixels]
