"""Sizes of one picture before and after it was resized."""

Size = tuple[int, int]


def is_resize_of(first: Size, second: Size) -> bool:
    """Return whether two (width, height) can be of one picture, resized with its aspect kept.

    Either may be the smaller: its sides are then the other's times one factor, each rounded, up or
    down, to a whole pixel.
    """
    small, large = sorted((first, second), key=lambda size: size[0] * size[1])
    return abs(small[0] * large[1] - small[1] * large[0]) < max(large)
