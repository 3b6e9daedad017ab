"""Pictures that are the masks of others, by their names: they are no films.

Such as `masks/a.png` or `a_mask.png` beside `a.png`. What a table or a label names is a film
whatever it is called.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath

from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.rows import IMAGE_SUFFIXES

_FOLDER = re.compile(
    r"(.*[ _-])?masks([ _-].*)?|((left|right|lungs?|manual|binary|gt)[ _-]?)?masks?|"
    r"segmentation[ _-]?(class|object|masks?)|overlays?",
    re.IGNORECASE,
)
_STEM = re.compile(r"(.+?)[ _.-]*(masks?|seg|segmentation|overlay)", re.IGNORECASE)


def masks_of(folder: Path, files: Iterable[Path]) -> set[Path]:
    """Return the pictures of a folder that are called the masks of other pictures of it."""
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    places = {path: _mask_folder(path.relative_to(folder)) for path in images}
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_stem[path.stem.casefold()].append(path)

    def is_mask(path: Path) -> bool:
        named = _STEM.fullmatch(path.stem)
        if named is not None and named[1].casefold() in by_stem:
            return True
        place = places[path]
        if place is None:
            return False
        # Of a folder with films and masks below, only what lies beside a folder of films.
        others = by_stem[path.stem.casefold()]
        return any(
            places[other] is None or places[other] in place.parents
            for other in others
            if place not in other.relative_to(folder).parents
        )

    return {path for path in images if is_mask(path)}


def unnamed_masks(folder: Path, images: Sequence[Path], names: Iterable[str]) -> set[Path]:
    """Return the masks of a folder's images that no name means.

    Args:
        folder: Folder of the source.
        images: Its pictures.
        names: What its tables call images, with folders and suffix or without; or its labels.
    """
    masks = masks_of(folder, images)
    if not masks:
        return masks
    named: dict[str, set[PurePosixPath]] = defaultdict(set)
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        named[plain_id(path).casefold()].add(path)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[image.stem.casefold()].append(image)

    def is_named(mask: Path) -> bool:
        stem = mask.stem.casefold()
        # Where as many names as pictures share a stem, each of the pictures is meant.
        if len(named[stem]) >= len(by_stem[stem]):
            return True
        films = [image for image in by_stem[stem] if image not in masks]
        return any(
            _num_shared(mask, name) > max((_num_shared(film, name) for film in films), default=0)
            for name in named[stem]
        )

    return {mask for mask in masks if not is_named(mask)}


def _num_shared(file: Path, name: PurePath) -> int:
    """Return how many of the last folders of two paths are the same."""
    count = 0
    for part, other in zip(reversed(file.parts[:-1]), reversed(name.parts[:-1]), strict=False):
        if part.casefold() != other.casefold():
            break
        count += 1
    return count


def _mask_folder(path: PurePath) -> PurePath | None:
    """Return the deepest folder of a path that is called one of masks; None without one."""
    return next((place for place in path.parents if _FOLDER.fullmatch(place.name)), None)
