"""Durations for people."""


def duration(seconds: float) -> str:
    """Return seconds in a fitting unit: 40 s, 12 min, 3.5 h, 4.6 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
