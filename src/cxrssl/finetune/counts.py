"""How much reading is behind the training labels of a run."""

from collections.abc import Sequence

from cxrssl.data.detection import Example
from cxrssl.data.fusion import reader_of


def label_counts(train: Sequence[Example], *, fusion: str) -> dict[str, int]:
    """Return the numbers of training images, and of boxes before and after fusion.

    Args:
        train: Labelled training images.
        fusion: As for `data.detection.examples_of`: with `single:READER` the others count nothing.

    Returns:
        `train_images`, and `train_images_with_boxes` of them; `train_boxes`, which the detector is
        trained on; `train_reader_boxes`, which readers drew and these were fused from; and
        `train_readings`: how often a reader looked at an image.
    """
    only = reader_of(fusion)
    readers = [name for example in train for name in example.readers]
    looked = [name for example in train for name in example.looked]
    return {
        "train_images": len(train),
        "train_images_with_boxes": sum(len(example.boxes) > 0 for example in train),
        "train_boxes": sum(len(example.boxes) for example in train),
        "train_reader_boxes": sum(only in (None, name) for name in readers),
        "train_readings": sum(only in (None, name) for name in looked),
    }
