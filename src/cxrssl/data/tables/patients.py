"""Who is shown in an image, so that no patient is both trained on and tested on.

A table may say it (a column `patient`, COCO's `patient_id`), or the names of files, by a pattern.
What is kept is a hash: it tells equal patients, and names nobody.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.image_ids import plain_id

_NOBODY = {"", "nan", "na", "n/a", "none", "null", "unknown", "anonymous", "-"}
_MANY = 10
# Names of NIH ChestX-ray14: 00000013_005.png is the sixth film of patient 13.
_NIH_NAME = re.compile(r"(\d{8})_\d{3}")


def patients_of(
    folder: Path,
    files: Mapping[str, Path],
    stated: Mapping[str, str],
    pattern: re.Pattern[str] | None,
) -> tuple[dict[str, str], list[str]]:
    """Return the patient of each image of which one is known, as a hash, and notes.

    Args:
        folder: Folder of the source.
        files: Image id -> file below the folder.
        stated: Image id -> patient as the table has it.
        pattern: What is searched in a file's path relative to the folder. The patient is its group
            `patient`, else its first group, else what it matches. It takes the place of the
            table's patients.

    Raises:
        DataError: If the pattern matches no file.
    """
    notes: list[str] = []
    if pattern is not None:
        keys = _matches(folder, files, pattern)
        if stated:
            notes.append("patients of the table are not used: --patient-from takes their place")
    elif stated:
        keys = {
            name: key
            for name, key in stated.items()
            if name in files and key.strip().casefold() not in _NOBODY
        }
    else:
        keys = _nih_patients(files)
        if keys:
            notes.append(
                "files are called as those of NIH ChestX-ray14: the first eight digits are taken "
                "for the patient"
            )
    if keys:
        num_missing = len(set(files) - set(keys))
        notes += _odd_keys(keys)
        notes.append(
            f"{len(keys)} image(s) are of {len(set(keys.values()))} patient(s), who are kept "
            "together in splits and label shares"
        )
        if num_missing:
            notes.append(f"{num_missing} image(s) have no patient: each is taken as one of its own")
    return {name: _hash(key) for name, key in keys.items()}, notes


def _odd_keys(keys: Mapping[str, str]) -> Iterator[str]:
    """Yield what looks wrong with patients; none is quoted."""
    counts = Counter(keys.values())
    most = max(counts.values())
    if len(keys) >= _MANY and 2 * most > len(keys):
        yield (
            f"{most} of {len(keys)} image(s) are of one patient: is it the right column or pattern?"
        )
    num_folded = len({key.strip().casefold() for key in counts})
    if num_folded < len(counts):
        yield (
            f"{len(counts) - num_folded} patient(s) differ from another in case or blanks alone, "
            "and are taken as two people"
        )


def nih_patient(name: str) -> str:
    """Return the patient that the name of an NIH film tells, such as "00000013"; else ""."""
    match = _NIH_NAME.fullmatch(plain_id(PurePosixPath(name)))
    return "" if match is None else match[1]


def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern for file names.

    Raises:
        DataError: If it is not a regular expression.
    """
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(
            f"--patient-from {pattern!r} is not a regular expression: {error}. An example for "
            r"files such as p0012_1.png: '^(p\d+)_'."
        ) from error


def _matches(folder: Path, files: Mapping[str, Path], pattern: re.Pattern[str]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name, path in files.items():
        match = pattern.search(path.relative_to(folder).as_posix())
        if match is None:
            continue
        groups = match.groupdict()
        key = groups["patient"] if "patient" in groups else match[1 if match.re.groups else 0]
        if key:
            keys[name] = key
    if not keys and files:
        raise DataError(
            f"--patient-from {pattern.pattern!r} finds no patient in the {len(files)} files of "
            f"{folder}, such as {names_text(list(files.values())[:1], folder)}. It is searched in "
            "the path of a file below the folder."
        )
    return keys


def _nih_patients(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the patients of NIH's files, {} unless all are called so."""
    keys = {name: nih_patient(path.name) for name, path in files.items()}
    return keys if all(keys.values()) else {}


def _hash(key: str) -> str:
    return hashlib.sha256(f"patient/{key}".encode(errors="backslashreplace")).hexdigest()[:16]
