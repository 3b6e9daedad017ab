"""Types and ranges of the values in a detector's configuration files, which may come from anyone.

Each family has its table of keys. A recipe has the same limits (`config.detectors`), so that what
is trained can be read. With `config` the door to pydantic.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable

MOST_SIDE_PX = 8192
"""Largest side of an image inside a detector, and of an anchor."""
MOST_COUNT = 20_000
"""Largest number of channels, boxes, or samples."""
LEAST_STD, MOST_STD = 1e-3, 1_000.0
"""Limits of the standard deviation of pixels in [0, 1]; a number beyond is a slip. Far below, what
a network computes is not a number, and a detector finds nothing without any error."""
MOST_QUERIES = 5_000
MOST_LAYERS = 64
MOST_RATIO = 100.0
"""Largest ratio of an anchor's height to its width, or the other way round."""
MOST_RATIOS = 32
MOST_RADIUS = 1_000.0
"""Largest distance of a location from the middle of its box, in lengths of its level."""
MOST_POWER = 100.0
"""Largest power to which an image-level gate takes a probability."""
_MOST_SHOWN = 3

Rule = Any
"""A type that pydantic checks: strictly, so that 1 is not `true` and "1" is not 1."""


def integer(low: int, high: int) -> Rule:
    """Return the type of an integer from `low` to `high`."""
    return Annotated[int, Field(ge=low, le=high)]


def number(low: float, high: float) -> Rule:
    """Return the type of a finite number from `low` to `high`."""
    return Annotated[float, Field(ge=low, le=high, allow_inf_nan=False)]


def entries(rule: Rule, least: int, most: int) -> Rule:
    """Return the type of a list of `least` to `most` values."""
    return Annotated[list[rule], Field(min_length=least, max_length=most)]


SIDE = integer(1, MOST_SIDE_PX)
COUNT = integer(1, MOST_COUNT)
OVERLAP = FRACTION = MEAN = number(0, 1)
STD = number(LEAST_STD, MOST_STD)
PROTOCOL = Literal["published", "described", "corrected"]
_FLOATS = Literal["float32", "float16", "bfloat16"] | None

UNUSED: Mapping[str, Rule] = {"dtype": _FLOATS, "torch_dtype": _FLOATS}
"""Keys of any `config.json` that plain transformers follows and cxrssl does not."""
PROCESSOR: Mapping[str, Rule] = {
    "size_px": SIDE,
    "fit": Literal["squash", "letterbox"],
    "equalize": bool,
    "image_mean": MEAN,
    "image_std": STD,
    "do_normalize": bool,
    "score_threshold": FRACTION,
    "findings_per_image": COUNT,
}
"""Keys of `preprocessor_config.json`."""


def checked(content: Mapping[str, Any], rules: Mapping[str, Rule], *, file: str) -> dict[str, Any]:
    """Return the values of a configuration under the keys of a table, each in its range.

    Args:
        content: Content of a JSON file; a key that is absent is left to its default.
        rules: Type of each key.
        file: Name of the file in messages.

    Raises:
        DataError: If a value is of another type or out of its range.
    """
    values, faults = {}, []
    for key in (key for key in rules if key in content):
        try:
            adapter = TypeAdapter(rules[key], config=ConfigDict(strict=True))
            values[key] = adapter.validate_python(content[key])
        except ValidationError as error:
            faults.append(f"{key} is {shown(content[key])}: {error.errors()[0]['msg']}")
    if faults:
        raise DataError(
            f"{file} has values that no detector of cxrssl has: "
            f"{'; '.join(faults[:_MOST_SHOWN])}. Correct it, or take the folder as it was written."
        )
    return values


def shown(value: object) -> str:
    """Return a value from a file as it may stand in a message, at most 60 characters."""
    text = printable(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
