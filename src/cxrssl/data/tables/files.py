"""The files below a source folder: which are images, and what is passed over.

Only regular files, and links to such. What operating systems leave behind (`._NAME`, `.DS_Store`,
`Thumbs.db`, `__MACOSX/`) and DICOM objects without an image (directories, reports, plans) are no
failures of an ingest; they are passed over and counted.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.kind import is_dicom, kind_without_image
from cxrssl.data.tables.rows import IMAGE_SUFFIXES, RASTER_SUFFIXES, is_id

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_SYSTEM_FOLDERS = {
    "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"
}  # fmt: skip
_HIDDEN = "hidden files or leftovers of an operating system"
_BROKEN_LINK = "links that lead to no file"
_LINKED_FOLDER = "linked folders, which are not entered"
_SPECIAL = "pipes, sockets or devices"
_STORE = "stores that cxrssl wrote"
_STORE_FILE = re.compile(r"images-\d{5,9}-of-\d{5,9}\.(arrow|json)|origin\.json|manifest\.json")
_PLAIN_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,7}")
_UNQUOTED = "(a name with other characters than letters, digits, '.', '_' and '-')"


@dataclass(frozen=True)
class FolderContents:
    """What lies below a folder.

    Attributes:
        files: Regular files in the order of their paths.
        passed_over: What was not looked at -> how many of it.
    """

    files: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def list_folder(folder: Path) -> FolderContents:
    """List the regular files below a folder, and count what is not looked at.

    Raises:
        DataError: If a folder can't be listed.
    """
    result = FolderContents()
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        if Path(parent) != folder and _is_store(names):
            # A store inside its own source is neither a table nor images of it.
            folders.clear()
            result.passed_over[_STORE] += 1
            continue
        _leave_out(Path(parent), folders, result.passed_over)
        for name in names:
            path = Path(parent, name)
            if _is_system_name(name, _SYSTEM_FILES):
                result.passed_over[_HIDDEN] += 1
            elif path.is_file():
                result.files.append(path)
            else:
                result.passed_over[_BROKEN_LINK if path.is_symlink() else _SPECIAL] += 1
    result.files.sort()
    return result


def _leave_out(parent: Path, folders: list[str], passed_over: Counter[str]) -> None:
    """Take out of the folders to enter those that are passed over, and count them."""
    for name in list(folders):
        if _is_system_name(name, _SYSTEM_FOLDERS):
            folders.remove(name)
            passed_over[_HIDDEN] += _count(parent / name)
        elif (parent / name).is_symlink():
            passed_over[_LINKED_FOLDER] += 1


def _is_store(names: Iterable[str]) -> bool:
    """Return whether files are those of a store, whole or as far as an ingest came."""
    store_files = [name for name in names if _STORE_FILE.fullmatch(name)]
    images = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    return not images and any(name != "manifest.json" for name in store_files)


def image_files(folder: Path) -> list[Path]:
    """Return the files that are images by their suffix or, as exported by archives, without.

    DICOM files that say that they hold no image are left out.

    Raises:
        DataError: If a folder can't be listed.
    """
    return [path for path in list_folder(folder).files if is_image(path)]


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its suffix or, for DICOM, its first bytes."""
    suffix = path.suffix.lower()
    if suffix in RASTER_SUFFIXES:
        return True
    return (suffix in IMAGE_SUFFIXES or is_dicom(path)) and kind_without_image(path) is None


def notes_on_search(folder: Path) -> list[str]:
    """Say what a search for images below a folder leaves out, a sentence each.

    Raises:
        DataError: If a folder can't be listed.
    """
    listing = list_folder(folder)
    return unused_notes(listing, [path for path in listing.files if not is_image(path)])


def unused_notes(listing: FolderContents, unused: Iterable[Path]) -> list[str]:
    """Return a sentence on what below a folder is passed over, and one on what is not read.

    Args:
        listing: What lies below the folder.
        unused: Its files that are neither images nor tables.
    """
    passed_over, suffixes = Counter(listing.passed_over), Counter[str]()
    for path in unused:
        kind = kind_without_image(path)
        if kind is not None:
            passed_over[f"DICOM without an image: {kind}"] += 1
        else:
            suffix = path.suffix.lower()
            suffixes[suffix if _PLAIN_SUFFIX.fullmatch(suffix) else "without a known suffix"] += 1
    notes = []
    if passed_over:
        notes.append(f"passed over, as no images: {_counts_text(passed_over)}")
    if suffixes:
        notes.append(f"files that are not read: {_counts_text(suffixes)}")
    return notes


def names_text(paths: Iterable[Path], folder: Path, *, limit: int = 3) -> str:
    """Return the names of files below a folder as a text: the first few, and how many there are.

    A name that could not be an image id is not quoted: it may be a patient's.
    """
    names = [
        "/".join(part if is_id(part) else _UNQUOTED for part in path.relative_to(folder).parts)
        for path in paths
    ]
    num_more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {num_more} more" if num_more > 0 else "")


def _counts_text(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items()))


def _is_system_name(name: str, system_names: set[str]) -> bool:
    return name.startswith(".") or name.casefold() in system_names


def _count(folder: Path) -> int:
    """Count files of a folder that nobody looks at; one that can't be entered counts as one."""
    return sum(len(names) for _, _, names in os.walk(folder)) or 1


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename} can't be listed ({error.strerror}), and images in it would be missed. "
        "Make it readable, or take it out of the source."
    ) from error
