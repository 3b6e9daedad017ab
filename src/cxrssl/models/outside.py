"""JSON that describes a network and may come from anyone: read, and refused if it names a place.

transformers and timm follow paths, repositories and code that a configuration names; here it may
hold numbers, switches, plain words, and the names of its classes.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cxrssl.core.errors import DataError

EXPECTED = "Expected the detector/ folder of a finished `cxrssl finetune` run."
_WORD = re.compile(r"[\w.+-]*", re.ASCII)
# They choose code, or weights other than those beside them, even by a plain word.
_CHOICES = ("implementation", "quantization", "kwargs", "pretrained")
# Names of classes are free: "Nodule/Mass" is one.
_LABELS = ("id2label", "label2id")
_NUMBERS = (
    *("size_px", "image_mean", "image_std", "score_threshold"),
    *("detections_per_image", "findings_per_image", "num_queries"),
)


def plain_json(path: Path, *, auto_map: Mapping[str, str], source: str) -> dict[str, Any]:
    """Return the content of a configuration.

    Args:
        path: The file.
        auto_map: The code that it may name: that which lies beside it and is not run here.
        source: What its folder is called in messages.

    Raises:
        DataError: If it is no such JSON, or names a place, code or other weights.
    """
    place = f"{source}: {path.name}"
    content = read_mapping(path, source=source, expected=EXPECTED)
    named = [
        f"{key} {value!r}"
        for key, value in _values({key: content[key] for key in content if key not in _LABELS})
        if _is_place(key, value)
    ]
    if content.get("auto_map", auto_map) != auto_map:
        named.append(f"auto_map {content['auto_map']!r}")
    if named:
        raise DataError(
            f"{place} says {', '.join(named[:3])[:300]}: that could be a path, a repository or "
            f"code, and none is followed. {EXPECTED}"
        )
    wrong = [name for name in _NUMBERS if name in content and not _is_number(content[name])]
    wrong += [name for name in _LABELS if not isinstance(content.get(name) or {}, dict)]
    if wrong:
        raise DataError(f"{place} has no sense in {', '.join(wrong)}. {EXPECTED}")
    return content


def read_mapping(path: Path, *, source: str, expected: str) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises:
        DataError: If it is none, or no mapping; `expected` says what it should be.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{source}: {path.name} is no JSON ({error}). {expected}") from error
    if not isinstance(content, dict):
        raise DataError(f"{source}: {path.name} holds no mapping. {expected}")
    return content


def _is_place(key: str, value: object) -> bool:
    if key == "auto_map":
        return False
    if value and any(choice in key for choice in _CHOICES):
        return True
    return isinstance(value, str) and not _WORD.fullmatch(value)


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0  # type: ignore[arg-type, operator]


def _values(content: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key at any depth with what it holds, a list's values under the key of the list.

    What `auto_map` holds is not gone through.
    """
    yield key, content
    if isinstance(content, dict) and key != "auto_map":
        for name, value in content.items():
            yield from _values(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, key)
