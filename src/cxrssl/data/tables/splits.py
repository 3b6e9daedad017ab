"""A source's own division into training, validation and test images.

It comes from a column of its table, from the folders of its images (on request: tools divide at
random, and by image), or from a file beside it. Images of one patient are in one of the three.
"""

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable

_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
FOLDERS = "folders"
"""Word of a user for: by the folders train/, valid/ and test/."""
UNUSED = "unused"
"""Of an image that a source's own division leaves out."""


def split_named(text: str, *, place: str) -> str:
    """Return "train", "val" or "test" as a table names it; "" for nothing.

    Raises:
        DataError: If it is none of these.
    """
    plain = text.strip().casefold()
    if not plain:
        return ""
    if plain not in _NAMES:
        raise DataError(
            f"{place}: the split is {printable(text[:50])!r}; expected train, val or test."
        )
    return _NAMES[plain]
