"""What a detector's configuration may say of a key: its type, and the least and largest number.

Each family has its table of keys. A recipe has the same limits (`config.detectors`), so that what
is trained can be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable

MOST_SIDE_PX = 8192
"""Of an image inside a detector, and of an anchor."""
MOST_COUNT = 20_000
"""Of channels, boxes, or samples."""
LEAST_STD, MOST_STD = 1e-3, 1_000.0
"""Of pixels in [0, 1], in which a number beyond is a slip. Far below, what a network computes is no
number, and a detector finds nothing in silence."""
MOST_QUERIES = 5_000
MOST_LAYERS = 64
MOST_RATIO = 100.0
"""Of an anchor's height to its width, or the other way round."""
MOST_RATIOS = 32
MOST_CLASSES = 10_000
_MOST_LETTERS = 1_000
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Numbers:
    """A number from `low` to `high`, or a list of such.

    Attributes:
        low: The least.
        high: The largest.
        integer: Whether it must be an integer.
        entries: Least and most of a list, None for a single number.
        or_null: Whether there may be none.
    """

    low: float
    high: float
    integer: bool = False
    entries: tuple[int, int] | None = None
    or_null: bool = False

    def admits(self, value: object) -> bool:
        """Return whether a value may stand there."""
        if value is None:
            return self.or_null
        if self.entries is None:
            return self._is_number(value)
        least, most = self.entries
        return (
            isinstance(value, list)
            and least <= len(value) <= most
            and all(map(self._is_number, value))
        )

    def _is_number(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """Return what is expected, in words."""
        kind = "whole number" if self.integer else "number"
        span = f"from {self.low:g} to {self.high:g}"
        if self.entries is None:
            return f"a {kind} {span}{' or null' if self.or_null else ''}"
        least, most = self.entries
        return f"{least if least == most else f'{least} to {most}'} {kind}s {span}"


@dataclass(frozen=True)
class Words:
    """One of some words.

    Attributes:
        words: Which.
        or_null: Whether there may be none.
    """

    words: tuple[str, ...]
    or_null: bool = False

    def admits(self, value: object) -> bool:
        """Return whether a value may stand there."""
        if value is None:
            return self.or_null
        return isinstance(value, str) and value in self.words

    def __str__(self) -> str:
        """Return what is expected, in words."""
        return " or ".join(self.words)


class Switch:
    """true or false."""

    def admits(self, value: object) -> bool:
        """Return whether a value may stand there."""
        return isinstance(value, bool)

    def __str__(self) -> str:
        """Return what is expected, in words."""
        return "true or false"


Rule = Numbers | Words | Switch

SIDE = Numbers(1, MOST_SIDE_PX, integer=True)
COUNT = Numbers(1, MOST_COUNT, integer=True)
OVERLAP = Numbers(0, 1)
SHARE = Numbers(0, 1)
MEAN, STD = Numbers(0, 1), Numbers(LEAST_STD, MOST_STD)
PROTOCOL = Words(("published", "described", "corrected"))
_FLOATS = Words(("float32", "float16", "bfloat16"), or_null=True)

UNUSED: Mapping[str, Rule] = {"dtype": _FLOATS, "torch_dtype": _FLOATS}
"""Of any `config.json`: what plain transformers follows and cxrssl does not."""
PROCESSOR: Mapping[str, Rule] = {
    "size_px": SIDE,
    "fit": Words(("squash", "letterbox")),
    "equalize": Switch(),
    "image_mean": MEAN,
    "image_std": STD,
    "do_normalize": Switch(),
    "score_threshold": SHARE,
    "findings_per_image": COUNT,
}
"""Of `preprocessor_config.json`."""


def checked(content: Mapping[str, Any], rules: Mapping[str, Rule], *, place: str) -> dict[str, Any]:
    """Return what a configuration says under the keys of a table, each in its range.

    Args:
        content: Of a JSON file; a key that is absent is left to its default.
        rules: What each key may hold.
        place: What the file is called in messages.

    Raises:
        DataError: If a value is of another type or out of its range.
    """
    named = [key for key in rules if key in content]
    faults = [
        f"{key} {shown(content[key])} (expected {rules[key]})"
        for key in named
        if not rules[key].admits(content[key])
    ]
    if faults:
        raise DataError(
            f"{place} has values that no detector of cxrssl has: "
            f"{'; '.join(faults[:_MOST_SHOWN])}. Correct it, or take the folder as it was written."
        )
    return {key: _as_typed(content[key], rules[key]) for key in named}


def class_names(content: Mapping[str, Any], *, place: str) -> dict[int, str]:
    """Return the names of classes 0..K-1 from a configuration's `id2label`.

    Raises:
        DataError: If they are not so numbered, empty, too many, or two are the same, or `label2id`
            says otherwise.
    """
    names, numbers = content.get("id2label"), content.get("label2id")
    if (
        not isinstance(names, dict)
        or not 1 <= len(names) <= MOST_CLASSES
        or set(names) != {str(label) for label in range(len(names))}
        or not all(
            isinstance(name, str) and 1 <= len(name) <= _MOST_LETTERS for name in names.values()
        )
    ):
        raise DataError(
            f"{place}: id2label is {shown(names)}; expected names of the classes by number, from "
            f'"0" on, at most {MOST_CLASSES}.'
        )
    if len(set(names.values())) < len(names):
        raise DataError(f"{place}: id2label is {shown(names)}, which has one class twice.")
    if numbers is not None and numbers != {name: int(label) for label, name in names.items()}:
        raise DataError(f"{place}: label2id is {shown(numbers)}, which is not id2label turned.")
    return {label: names[str(label)] for label in range(len(names))}


def shown(value: object) -> str:
    """Return a value of others as it may stand in a message."""
    text = printable(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as_typed(value: object, rule: Rule) -> object:
    """Return floats where a JSON file has 1 for 1.0."""
    if not isinstance(rule, Numbers) or rule.integer or value is None:
        return value
    return [float(number) for number in value] if isinstance(value, list) else float(value)  # type: ignore[arg-type]
