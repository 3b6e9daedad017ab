"""Sizes of images: as tables and annotation files state them, and before and after a resize."""

from collections.abc import Iterable

Size = tuple[int, int]

_MAX_PX = 1e7
_NOT_STATED = {"", "0", "0.0", "-1", "-1.0", "nan", "none", "null"}


def is_resize_of(first: Size, second: Size) -> bool:
    """Return whether two (width, height) can be of one picture, resized with its aspect kept.

    Either may be the smaller: its sides are then the other's times one factor, each rounded, up or
    down, to a whole pixel.
    """
    small, large = sorted((first, second), key=lambda size: size[0] * size[1])
    return abs(small[0] * large[1] - small[1] * large[0]) < max(large)


def stated_size(width: object, height: object) -> Size | None:
    """Return (width, height) in pixels; None unless both are whole numbers from 1 to 1e7.

    Missing values, 0 and -1 are how tables say that they don't know.
    """
    sides = _side(width), _side(height)
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _side(value: object) -> int | None:
    try:
        side = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return int(side) if side.is_integer() and 1 <= side <= _MAX_PX else None


def is_unreadable(value: object) -> bool:
    """Return whether a side is stated, and is not a number of pixels that an image can have."""
    is_not_stated = str(value).strip().casefold() in _NOT_STATED
    return not is_not_stated and _side(value) is None


def unreadable_note(num_images: int) -> str:
    """Return the note on images of which a side can't be read."""
    return (
        f"width or height of {num_images} image(s) is not a whole number of pixels, and is not used"
    )


def agreed_size(sizes: Iterable[Size | None]) -> tuple[Size | None, str]:
    """Return the one size that is stated, or None; and how the table contradicts itself, or ""."""
    stated = sorted({size for size in sizes if size is not None})
    if len(stated) < 2:
        return (stated[0] if stated else None), ""
    first, second = (f"{width}x{height}" for width, height in stated[:2])
    return None, (
        f"the table states several sizes for it, {first} and {second} pixels; boxes fit one of "
        "them only. Correct the size"
    )
