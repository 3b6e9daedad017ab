"""Pictures that are the masks of others, by their names, in folders as they are found."""

from pathlib import Path

import pytest

from cxrssl.data.tables.masks import masks_of, unnamed_masks

PAIRED = [
    ("images/a.png", "masks/a.png"),
    ("a.png", "a_mask.png"),
    ("CXR_png/a.png", "mask/a_mask.png"),
    ("Lung Segmentation/CXR_png/a.png", "Lung Segmentation/masks/a_mask.png"),
    ("segmentation/images/a.png", "segmentation/masks/a.png"),
    ("masks/images/a.png", "masks/masks/a.png"),
    ("png_images/a.png", "png_masks/a.png"),
    ("images/train/a.png", "masks/train/a.png"),
    ("images/a.jpg", "SegmentationClass/a.png"),
]
FILMS = [
    ("detection/a.png", "segmentation/a.png"),
    ("ward/a.png", "oxygen_mask/a.png"),
    ("images/a.png", "masks/b.png"),
    ("left mask/a.png", "right mask/a.png"),
    ("a.png", "unmasked/a.png"),
]


def paths(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [folder / name for name in names]


@pytest.mark.parametrize("names", PAIRED)
def test_what_is_called_the_mask_of_a_film_is_one(names: tuple[str, str], tmp_path: Path) -> None:
    film, mask = files = paths(tmp_path, names)
    assert masks_of(tmp_path, files) == {mask}
    stem = Path(names[0]).stem
    for stated in (stem, names[0], f"labels/train/{stem}", f"C:\\data\\{stem}.png"):
        assert unnamed_masks(tmp_path, files, [stated]) == {mask}
    assert unnamed_masks(tmp_path, files, [names[0], names[1]]) == set()
    assert film not in masks_of(tmp_path, [film])


@pytest.mark.parametrize("names", FILMS)
def test_other_pictures_are_films(names: tuple[str, str], tmp_path: Path) -> None:
    assert masks_of(tmp_path, paths(tmp_path, names)) == set()
