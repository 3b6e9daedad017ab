"""What the class ids of YOLO labels are called.

In a YAML file with `names` (Ultralytics: `data.yaml`), or in a text with a name a line (darknet:
`obj.names`; Roboflow: `_darknet.labels`; labelImg and Label Studio: `classes.txt`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cxrssl.core.errors import DataError, RecipeError
from cxrssl.core.printable import printable
from cxrssl.core.yaml_text import parse_yaml
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.label_files import label_text

_YAML = {".yaml", ".yml"}
_TEXTS = {"classes.txt", "_darknet.labels"}
_SPLITS = ("train", "val", "test")
_NAMES_KEY = re.compile(r"\bnames\b")


@dataclass(frozen=True)
class ClassNames:
    """Names of classes.

    Attributes:
        path: The file that gives them.
        place: Its name, for messages.
        names: Class id -> name.
        splits: What the file divides its images into, such as ("train", "val").
        has_keypoints: Whether rows have keypoints behind the box (`kpt_shape`).
    """

    path: Path
    place: str
    names: dict[int, str]
    splits: tuple[str, ...] = ()
    has_keypoints: bool = False


def read_names(folder: Path, files: Iterable[Path]) -> list[ClassNames]:
    """Read the files of a source folder that name its classes, YAML first; [] for none.

    Raises:
        DataError: If one of them can't be read, or two name classes differently.
    """
    paths = sorted(files, key=lambda path: path.suffix.lower() not in _YAML)
    found = [names for path in paths if (names := _names_in(path, folder)) is not None]
    for other in found[1:]:
        if other.names != found[0].names:
            raise DataError(
                f"{found[0].place} and {other.place} name the classes differently. Correct one of "
                "them, or take it out of the folder."
            )
    return found


def is_text_of_names(path: Path) -> bool:
    """Return whether a file is a text with the name of a class a line, by what it is called."""
    return path.name.lower() in _TEXTS or path.suffix.lower() == ".names"


def _names_in(path: Path, folder: Path) -> ClassNames | None:
    is_yaml = path.suffix.lower() in _YAML
    if not is_yaml and not is_text_of_names(path):
        return None
    place = names_text([path], folder)
    text = label_text(path, folder)
    if not is_yaml:
        return ClassNames(path, place, _from_lines(text, place))
    return _from_yaml(text, path, place) if _NAMES_KEY.search(text) else None


def _from_lines(text: str, place: str) -> dict[int, str]:
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:  # an empty file has one line
        number = lines.index("")
        raise DataError(f"{place}, line {number + 1}: expected the name of class {number}.")
    return dict(enumerate(lines))


def _from_yaml(text: str, path: Path, place: str) -> ClassNames | None:
    try:
        content = parse_yaml(text, source=place, kind="YAML")
    except RecipeError as error:
        raise DataError(f"{error}. Correct it.") from error
    if not isinstance(content, dict) or "names" not in content:
        return None
    names = _checked_names(content["names"], place)
    number = content.get("nc")
    if number is not None and number != len(names):
        raise DataError(
            f"{place}: nc is {printable(str(number)[:20])}, and names has {len(names)}. Correct "
            "one of them."
        )
    splits = tuple(split for split in _SPLITS if content.get(split))
    return ClassNames(path, place, names, splits, "kpt_shape" in content)


def _checked_names(value: object, place: str) -> dict[int, str]:
    """Return id -> name of `names` in YAML, a list or a mapping.

    Raises:
        DataError: If it is neither, an id is no whole number, or a name is no text.
    """
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        raise DataError(
            f"{place}: names is neither a list of class names nor a mapping from id to name."
        )
    names: dict[int, str] = {}
    for key, name in value.items():
        if not str(key).isdecimal():
            raise DataError(
                f"{place}: names has the class id {printable(str(key)[:20])!r}; expected a whole "
                "number from 0 on."
            )
        # YAML takes yes, no, on, off and null for other things than words.
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            raise DataError(
                f"{place}: the name of class {key} is {printable(str(name)[:20])!r}; expected "
                "text. Put it in quotes."
            )
        names[int(key)] = str(name).strip()
    return names
