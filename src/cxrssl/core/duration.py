"""Durations for people."""

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(m|h|d)(?:in|ours?|ays?)?")
_MOST_HOURS = 10_000
_HOURS_OF = {"m": 1 / 60, "h": 1.0, "d": 24.0}


def duration(seconds: float) -> str:
    """Return seconds in a fitting unit: 40 s, 12 min, 3.5 h, 4.6 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def hours_of(text: str) -> float:
    """Return the hours that a text such as "30m", "2h" or "1.5d" says.

    Raises:
        ValueError: If it says no time above 0.
    """
    match = _DURATION.fullmatch(text.strip().casefold())
    hours = float(match[1]) * _HOURS_OF[match[2]] if match else 0.0
    if not 0 < hours <= _MOST_HOURS:
        raise ValueError(
            f"{text!r} is not a time up to {_MOST_HOURS} hours; expected one such as 30m, 2h or "
            "1.5d"
        )
    return hours
