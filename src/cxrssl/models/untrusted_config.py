"""JSON that describes a network and may come from anyone: refused if it names a path or code.

transformers and timm follow paths, repositories and code that a configuration names; here it may
hold numbers, switches, plain words, and the names of its classes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable

EXPECTED = "Expected the detector/ folder of a finished `cxrssl finetune` run."
_WORD = re.compile(r"[\w.+-]*", re.ASCII)
# They choose code, or weights other than those beside them, even by a plain word.
_CHOICES = ("implementation", "quantization", "kwargs", "pretrained")
# Names of classes are free: "Nodule/Mass" is one.
_LABELS = ("id2label", "label2id")
_MOST_BYTES = 1 << 20
_DEEPEST = 16


def check_plain(content: Mapping[str, Any], *, auto_map: Mapping[str, str], file: str) -> None:
    """Check that a configuration names no path, no repository, no code and no other weights.

    Args:
        content: Content of the file.
        auto_map: The code that it may name: that which lies beside it and is not run here.
        file: Name of the file in messages.

    Raises:
        DataError: If it names one.
    """
    named = [
        printable(f"{key} {value!r}"[:120])
        for key, value in _values({key: content[key] for key in content if key not in _LABELS})
        if _names_a_location(key, value)
    ]
    if content.get("auto_map", auto_map) != auto_map:
        named.append(f"auto_map {printable(repr(content['auto_map']))[:120]}")
    if named:
        raise DataError(
            f"{file} says {', '.join(named[:3])[:300]}: that could be a path, a repository or "
            f"code, and none is followed. {EXPECTED}"
        )


def read_mapping(path: Path, *, source: str, expected: str) -> dict[str, Any]:
    """Return the content of a JSON file that may come from anyone.

    Raises:
        DataError: If it is not JSON or not a mapping, states a key twice, holds an infinite number,
            or is larger or deeper than a configuration; `expected` says what it should be.
    """
    file = f"{source}: {path.name}"
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise DataError(f"{file} has more than {_MOST_BYTES >> 20} MiB. {expected}")
        content = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        _check_depth(content, _DEEPEST)
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}. {expected}") from error
    except RecursionError as error:
        raise DataError(f"{file} has parts more than {_DEEPEST} deep. {expected}") from error
    except ValueError as error:
        raise DataError(f"{file} is not JSON ({printable(str(error))}). {expected}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no mapping. {expected}")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key[:60]!r} comes twice")
        content[key] = value
    return content


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:60]} is too large a number")
    return number


def _check_depth(content: object, levels: int) -> None:
    """Raise RecursionError below so many levels, and ValueError at text that is not Unicode."""
    if levels < 0:
        raise RecursionError
    if isinstance(content, dict):
        for key, value in content.items():
            _check_depth(key, levels - 1)
            _check_depth(value, levels - 1)
    elif isinstance(content, list):
        for value in content:
            _check_depth(value, levels - 1)
    elif isinstance(content, str):
        content.encode("utf-8")


def _names_a_location(key: str, value: object) -> bool:
    if key == "auto_map":
        return False
    if value and any(choice in key for choice in _CHOICES):
        return True
    return isinstance(value, str) and not _WORD.fullmatch(value)


def _values(content: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key at any depth with its value, a list's values under the key of the list.

    Values inside `auto_map` are not listed.
    """
    yield key, content
    if isinstance(content, dict) and key != "auto_map":
        for name, value in content.items():
            yield from _values(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, key)
