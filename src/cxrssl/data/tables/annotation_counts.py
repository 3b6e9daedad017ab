"""How many boxes of how many classes and readers there are on some images of a source."""

from collections.abc import Iterable
from dataclasses import dataclass

from cxrssl.data.tables.rows import BOX_COLUMNS
from cxrssl.data.tables.source import Source


@dataclass(frozen=True)
class AnnotationCounts:
    """What readers marked on some images of a source.

    Attributes:
        layout: Layout of the source.
        num_images: Number of images.
        num_boxes: Number of boxes, of all readers.
        classes: Classes with a box, in the order of the table's.
        num_classes: Number of classes in the table.
        num_readers: Number of readers with a box or a "No finding" row.
        num_with_boxes: Number of images with a box of any reader.
        num_normal: Number of images that were read, and in which nobody found anything.
        num_patients: Number of patients of the images of which one is known.
    """

    layout: str
    num_images: int
    num_boxes: int
    classes: tuple[str, ...]
    num_classes: int
    num_readers: int
    num_with_boxes: int
    num_normal: int
    num_patients: int

    def __str__(self) -> str:
        """Return a line for a terminal."""
        text = f"layout {self.layout}: {_counted(self.num_images, 'image')}"
        if self.num_patients:
            text += f" of {_counted(self.num_patients, 'patient')}"
        if self.layout == "images":
            return f"{text}, taken without boxes"
        of = f" of {self.num_classes}" if len(self.classes) < self.num_classes else ""
        return (
            f"{text}{self._kinds()}, {_counted(self.num_boxes, 'box')} of {len(self.classes)}{of} "
            f"class{'' if self.num_classes == 1 else 'es'} by "
            f"{_counted(self.num_readers, 'reader')}"
        )

    def _kinds(self) -> str:
        """Return in brackets how many images have no box, and why; nothing where all have some."""
        if self.num_with_boxes == self.num_images:
            return ""
        num_unmarked = self.num_images - self.num_with_boxes - self.num_normal
        parts = [f"{self.num_with_boxes} with boxes", f"{self.num_normal} without a finding"]
        parts += [f"{num_unmarked} without a mark that could be used"] if num_unmarked else []
        return f" ({', '.join(parts)})"


def count_annotations(source: Source, images: Iterable[str]) -> AnnotationCounts:
    """Count what readers marked on images of a source, given by their ids."""
    image_ids = set(images)
    rows = source.table.rows[source.table.rows["image_id"].isin(image_ids)]
    drawn = rows.dropna(subset=BOX_COLUMNS)
    drawn_classes = set(drawn["category"])
    return AnnotationCounts(
        source.layout,
        len(image_ids),
        len(drawn),
        tuple(name for name in source.table.classes if name in drawn_classes),
        len(source.table.classes),
        rows["reader"].nunique(),
        drawn["image_id"].nunique(),
        rows["image_id"].nunique() - drawn["image_id"].nunique(),
        len({source.table.patients[n] for n in image_ids if n in source.table.patients}),
    )


def _counted(count: int, word: str) -> str:
    plural = "" if count == 1 else "es" if word.endswith("x") else "s"
    return f"{count} {word}{plural}"
