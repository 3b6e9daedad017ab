"""Pictures that are the masks of others, by their names: they are no films.

Such as `masks/a.png` or `a_mask.png` beside `a.png`. What a table or a label names is a film
whatever it is called.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath

from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.rows import IMAGE_SUFFIXES

_FOLDER = re.compile(
    r"((left|right|lungs?|manual|binary|ground[ _-]?truth|gt)[ _-]?)?"
    r"(masks?|segmentations?|segmentation[ _-]?(class|object|masks?)|overlays?)",
    re.IGNORECASE,
)
_STEM = re.compile(r"(.+?)[ _.-]*(masks?|seg|segmentation|overlay)", re.IGNORECASE)


def masks_of(folder: Path, files: Iterable[Path]) -> set[Path]:
    """Return the pictures of a folder that are called the masks of other pictures of it."""
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    masked = {path: stem for path in images if (stem := _masked_stem(path, folder))}
    stems = {path.stem.casefold() for path in images if path not in masked}
    return {path for path, stem in masked.items() if stem.casefold() in stems}


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
    paths = {PurePosixPath(name.replace("\\", "/")) for name in names}
    ends = {_end(path) for path in paths if len(path.parts) > 1}
    # Where as many names as pictures share a stem, each of the pictures is meant.
    num_named = Counter(plain_id(path).casefold() for path in paths)
    num_images = Counter(path.stem.casefold() for path in images)

    def is_named(path: Path) -> bool:
        stem = path.stem.casefold()
        return _end(path) in ends or num_named[stem] >= num_images[stem]

    return {path for path in masks if not is_named(path)}


def _end(path: PurePath) -> tuple[str, str]:
    return path.parent.name.casefold(), plain_id(PurePosixPath(path.name)).casefold()


def _masked_stem(path: Path, folder: Path) -> str:
    """Return the stem of the picture that a file would be the mask of; "" if it is called as none.

    A folder's name or the file's own says so.
    """
    named = _STEM.fullmatch(path.stem)
    if named is not None:
        return named[1]
    folders = path.relative_to(folder).parts[:-1]
    return path.stem if any(map(_FOLDER.fullmatch, folders)) else ""
