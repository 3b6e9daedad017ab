"""Label files, one an image: which image each is of, and its content, read with bounds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.image_ids import plain_id

_MOST_BYTES = 16 << 20


def is_link_out(path: Path, folder: Path) -> bool:
    """Return whether a file of a source folder is a link that leads out of it."""
    return path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())


def label_content(path: Path, folder: Path) -> bytes:
    """Return the content of a label file of a source folder.

    Raises:
        DataError: If it can't be read, is a link out of the folder, or is larger than any.
    """
    place = names_text([path], folder)
    if is_link_out(path, folder):
        raise DataError(
            f"{place} is a link out of the folder, which is not followed. Copy the file there."
        )
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{place} can't be read: {error.strerror}. Make it readable.") from error
    if len(content) > _MOST_BYTES:
        raise DataError(
            f"{place} has more than {_MOST_BYTES >> 20} MiB; expected what one image holds."
        )
    return content


def label_text(path: Path, folder: Path) -> str:
    """Return the text of a label file of a source folder.

    Raises:
        DataError: As `label_content`, or if it is not UTF-8.
    """
    content = label_content(path, folder)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        place = names_text([path], folder)
        raise DataError(f"{place}, line {line}: not UTF-8. Save the file as UTF-8.") from error


class ImageNames:
    """Images of a source folder by their names, to find the one that a label file is of."""

    def __init__(self, images: Iterable[PurePosixPath]) -> None:
        """Take the paths of images, relative to the folder."""
        by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
        by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
        for image in images:
            by_name[image.name].append(image)
            by_stem[plain_id(image)].append(image)
        self._by_name, self._by_stem = dict(by_name), dict(by_stem)

    def with_name(self, name: str, *, near: PurePosixPath) -> PurePosixPath | None:
        """Return the image whose file is called `name`, else `name` but for the suffix.

        Args:
            name: Name of a file, without folders.
            near: Folder of the label. Of several images, the one in it is meant, or the one in a
                folder that differs from it in one part (`train/labels` and `train/images`).

        Returns:
            Path of the image, or None if there is none, or none that alone can be meant.
        """
        stem = plain_id(PurePosixPath(name))
        return _nearest(self._by_name, name, near) or _nearest(self._by_stem, stem, near)


def _nearest(
    images: Mapping[str, list[PurePosixPath]], name: str, near: PurePosixPath
) -> PurePosixPath | None:
    candidates = images.get(name, [])
    for distance in (0, 1):
        nearest = [path for path in candidates if _num_other_parts(path.parent, near) == distance]
        if nearest:
            return nearest[0] if len(nearest) == 1 else None
    return candidates[0] if len(candidates) == 1 else None


def _num_other_parts(first: PurePosixPath, second: PurePosixPath) -> int | None:
    """Return in how many parts two folders differ; None if one lies deeper."""
    if len(first.parts) != len(second.parts):
        return None
    return sum(a != b for a, b in zip(first.parts, second.parts, strict=True))
