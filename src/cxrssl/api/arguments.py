"""Checks of the arguments of a call from Python: what is none of its kinds is an ArgumentError."""

import os
from collections.abc import Iterable, Sequence
from math import nan
from numbers import Integral, Real
from pathlib import Path
from typing import TypeAlias

import numpy as np

from cxrssl.core.errors import ArgumentError
from cxrssl.evaluate.points_file import PointChoice, point_choice

PathLike: TypeAlias = str | os.PathLike[str]


def _scalar(value: object) -> object:
    """Return a scalar of torch as one of Python, and anything else as it is."""
    item = getattr(value, "item", None)
    return item() if getattr(value, "shape", None) == () and callable(item) else value


def checked_number(name: str, value: object, low: float, high: float) -> float:
    """Return a number of Python, NumPy or torch that has bounds, both included.

    Raises:
        ArgumentError: If it is not a number, or lies beside them.
    """
    scalar = _scalar(value)
    number = float(scalar) if isinstance(scalar, Real) and not isinstance(scalar, bool) else nan
    if not low <= number <= high:
        raise ArgumentError(f"{name} is {value!r}; expected a number from {low:g} to {high:g}.")
    return number


def checked_integer(name: str, value: object, *, at_least: int) -> int:
    """Return an integer of Python, NumPy or torch.

    Raises:
        ArgumentError: If it is not an integer, or below its bound.
    """
    scalar = _scalar(value)
    if not isinstance(scalar, Integral) or isinstance(scalar, bool) or scalar < at_least:
        raise ArgumentError(f"{name} is {value!r}; expected an integer >= {at_least}.")
    return int(scalar)


def check_flags(**values: object) -> None:
    """Check bools, for every text is true, "no" as well.

    Raises:
        ArgumentError: If one is something else.
    """
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise ArgumentError(f"{name} is {value!r}; expected True or False.")


def check_one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Check a text that is one of several.

    Raises:
        ArgumentError: If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(f"{name} is {value!r}; expected {', '.join(choices)}.")


def checked_path(name: str, value: object) -> Path:
    """Return an argument as a path.

    Raises:
        ArgumentError: If it is not one.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise ArgumentError(f"{name} is {value!r}; expected a path.")
    if "\0" in os.fspath(value):
        raise ArgumentError(f"{name} is {value!r}; a path has no NUL in it.")
    return Path(value)


def checked_paths(name: str, value: PathLike | Iterable[PathLike], missing: str) -> list[Path]:
    """Return the paths of an argument that is one path or several.

    Raises:
        ArgumentError: If there is none, or a value is not a path.
    """
    values = [value] if isinstance(value, str | os.PathLike) else value
    if isinstance(values, bytes) or not isinstance(values, Iterable):
        raise ArgumentError(f"{name} is {value!r}; expected a path or a list of paths.")
    paths = [checked_path(f"{name}[{place}]", path) for place, path in enumerate(values)]
    if not paths:
        raise ArgumentError(f"{missing}: {name} is empty. Give a path or a list of paths.")
    return paths


def checked_text(name: str, value: object) -> str:
    """Return an argument that is text.

    Raises:
        ArgumentError: If it is something else.
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name} is {value!r}; expected text.")
    return value


def checked_texts(name: str, values: object) -> list[str]:
    """Return the texts of an argument, as a list.

    Raises:
        ArgumentError: If it is one text or no list, or a value is not a text.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArgumentError(f"{name} is {values!r}; expected a list of texts.")
    texts = list(values)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ArgumentError(f"{name}[{place}] is {text!r}; expected text.")
    return texts


def checked_point(operating_point: PathLike | None, point: object) -> PointChoice | None:
    """Return the operating point that a call names, None if it names none.

    Raises:
        ArgumentError: If one is of another kind.
        DataError: If a point is named, and no file.
    """
    path = None if operating_point is None else checked_path("operating_point", operating_point)
    return point_choice(path, None if point is None else checked_text("point", point))
