"""Ids in COCO files: a number, the same number as text, or a word."""

import re

# With a leading zero it is a name ("007"), and what pandas makes of a number may end in ".0".
_INTEGER = re.compile(r"\s*(0|-?[1-9][0-9]{0,18})(\.0+)?\s*")


def normal_id(value: object) -> int | str:
    """Return an id in the one form in which equal ids are equal: 1, 1.0, "1" and "1.0" are 1.

    Args:
        value: As JSON has it.

    Raises:
        TypeError: If it is neither a number nor a text.
        ValueError: If it is a number that is not whole.
    """
    if isinstance(value, str):
        integer = _INTEGER.fullmatch(value)
        return int(integer[1]) if integer else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"an id that is neither a number nor a text: {type(value).__name__}")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"the id {value}, which is not a whole number")
    return int(value)
