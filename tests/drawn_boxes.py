"""Boxes drawn at random as labelformat holds them, which writes formats of labelling tools."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from labelformat.model.bounding_box import BoundingBox
from labelformat.model.category import Category
from labelformat.model.image import Image
from labelformat.model.object_detection import (
    ImageObjectDetection,
    SingleObjectDetection,
)
from PIL import Image as Picture

from cxrssl.data.tables import Source
from cxrssl.data.tables.rows import BOX_COLUMNS

NAMES = ("Pleural effusion", "Nodule/Mass", "ILD")
Boxes = list[tuple[str, str, tuple[float, ...]]]
"""(image id, class, corners in pixels), sorted."""


class DrawnBoxes:
    """Films of different sizes with none to four boxes each, as labelformat's writers take them."""

    def __init__(self, *, num_images: int = 12, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.labels: list[ImageObjectDetection] = []
        for number in range(num_images):
            width, height = (int(side) for side in generator.integers(20, 90, 2))
            objects = []
            for _ in range(number % 5):
                x, y = generator.uniform(0, 0.7, 2) * (width, height)
                box_width, box_height = generator.uniform(0.05, 0.3, 2) * (width, height)
                box = BoundingBox(x, y, x + box_width, y + box_height)
                category = int(generator.integers(len(NAMES)))
                objects.append(SingleObjectDetection(Category(category, NAMES[category]), box))
            image = Image(number, f"film{number}.png", width, height)
            self.labels.append(ImageObjectDetection(image, objects))

    def get_categories(self) -> Iterable[Category]:
        return [Category(number, name) for number, name in enumerate(NAMES)]

    def get_images(self) -> Iterable[Image]:
        return [label.image for label in self.labels]

    def get_labels(self) -> Iterable[ImageObjectDetection]:
        return self.labels

    def write_images(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for image in self.get_images():
            Picture.new("L", (image.width, image.height), 9).save(folder / image.filename)


def fill(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write texts, and pictures of 40x20 pixels for what is called .png."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Picture.new("L", (40, 20), 9).save(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def boxes_of(labels: Iterable[ImageObjectDetection]) -> Boxes:
    return sorted(
        (Path(label.image.filename).stem, thing.category.name, _rounded(_corners(thing.box)))
        for label in labels
        for thing in label.objects
    )


def boxes_read(source: Source, folder: Path) -> Boxes:
    """Return the boxes of a source in pixels, by the sizes of its files."""
    found = []
    rows = source.table.rows.dropna()
    for name, label, box in zip(
        rows["image_id"], rows["category"], rows[BOX_COLUMNS].to_numpy(), strict=True
    ):
        size = (1, 1)
        if source.table.unit == "fraction":
            with Picture.open(folder / source.files[name]) as picture:
                size = picture.size
        found.append((name, label, _rounded(box * np.tile(size, 2))))
    return sorted(found)


def _corners(box: BoundingBox) -> np.ndarray:
    return np.array([box.xmin, box.ymin, box.xmax, box.ymax])


def _rounded(box: np.ndarray) -> tuple[float, ...]:
    return tuple(box.round(6).tolist())
