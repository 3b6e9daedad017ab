"""Image ids of files: the name without its suffix, and more of the path where names are equal."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from cxrssl.data.tables.rows import IMAGE_SUFFIXES, is_id

# File systems take 255 bytes, and suffixes are added.
LONGEST_ID = 200


def plain_id(path: PurePosixPath) -> str:
    """Return a file's name without the suffix of an image; it may not be an image id."""
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def image_ids(paths: Iterable[PurePosixPath]) -> tuple[dict[PurePosixPath, str], list[str]]:
    """Return an image id for each of a source's files, no two alike.

    An id is the file's name without suffix; where several files share it, each of them gets its
    folders in front (`site1/IM0001.png` is `site1_IM0001`; a folder that holds all files is left
    out), and where that does not tell them apart, its suffix behind (`a_png`). The order of the
    files is of no importance.

    Args:
        paths: Distinct files, relative to the source.

    Returns:
        Path -> id, without the files whose name can not be an id; and sentences that say which ids
        were made, [] if none was.
    """
    usable = [path for path in paths if is_id(plain_id(path))]
    counts = Counter(plain_id(path) for path in usable)
    ids = {path: plain_id(path) for path in usable if counts[plain_id(path)] == 1}
    clashing = sorted(path for path in usable if counts[plain_id(path)] > 1)
    num_common = _num_common_folders(usable)
    joined = Counter(_joined(path, num_common) for path in clashing)
    taken = set(ids.values())
    for path in clashing:
        name = _joined(path, num_common)
        if joined[name] > 1 and path.suffix:
            name = f"{name}_{path.suffix[1:]}"
        if not is_id(name) or len(name) > LONGEST_ID or name in taken:
            # Such as a_b.png beside a/b.png: a name that no other file leads to.
            name = f"{plain_id(path)[: LONGEST_ID - 9]}_{_digest(str(path))}"
        ids[path] = name
        taken.add(name)
    if not clashing:
        return ids, []
    return ids, [
        f"{len(clashing)} files share their name with another file; their image ids are made of "
        f"folder and name, such as {ids[clashing[0]]}"
    ]


def _num_common_folders(paths: list[PurePosixPath]) -> int:
    count = 0
    for level in zip(*(path.parts[:-1] for path in paths), strict=False):
        if len(set(level)) > 1:
            break
        count += 1
    return count


def _joined(path: PurePosixPath, num_left_out: int) -> str:
    parts = [*path.parts[num_left_out:-1], plain_id(path)]
    # A folder's name that is not an id may be a patient's: it is not carried into the store.
    return "_".join(part if is_id(part) else f"folder-{_digest(part)}" for part in parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
