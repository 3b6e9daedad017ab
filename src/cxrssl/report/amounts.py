"""Films, boxes and reader minutes behind a share of the labels, in numbers and in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from cxrssl.config.plan import ReadingSection
from cxrssl.report.results import Condition, FinishedArm, Results
from cxrssl.report.wording import BEYOND, label_percent

_KEYS = {
    "films": "train_images",
    "boxes": "train_boxes",
    "reader_boxes": "train_reader_boxes",
    "readings": "train_readings",
}
_LONG_MIN = 120


@dataclass(frozen=True)
class Amount:
    """Labels that detectors were trained on, mean over seeds.

    Attributes:
        films: Labelled training films.
        boxes: Boxes that the detector was trained on, after readers' boxes were fused.
        reader_boxes: Boxes that readers drew; None if a run did not record it.
        readings: How often a reader looked at a film; None if a run did not record it.
    """

    films: float
    boxes: float
    reader_boxes: float | None
    readings: float | None

    def minutes(self, reading: ReadingSection | None) -> float | None:
        """Return the minutes of all readers; None if their pace or their work is not known."""
        if reading is None or self.readings is None or self.reader_boxes is None:
            return None
        images, boxes = reading.seconds_per_image, reading.seconds_per_box
        return (self.readings * images + self.reader_boxes * boxes) / 60


Amounts = Mapping[float, Amount]
"""By fraction of the labels."""


def amount_of(arms: Sequence[FinishedArm]) -> Amount | None:
    """Return what arms of one condition were trained on, None without arms."""
    if not arms:
        return None

    def mean(key: str) -> float | None:
        values = [arm.result.get(key) for arm in arms]
        return None if None in values else float(np.mean(np.array(values, np.float64)))

    films, boxes, reader_boxes, readings = (mean(key) for key in _KEYS.values())
    assert films is not None  # `read_results` has seen both
    assert boxes is not None
    return Amount(films, boxes, reader_boxes, readings)


def amounts_of(results: Results, conditions: Sequence[Condition]) -> dict[float, Amount]:
    """Return the amounts of conditions of one treatment, of those that have an arm."""
    amounts = {c.label_fraction: amount_of(results.at(c)) for c in conditions}
    return {fraction: amount for fraction, amount in amounts.items() if amount is not None}


def amount_at(amounts: Amounts, fraction: float) -> Amount:
    """Return the amount at any fraction: straight between those that are known and 0, and beyond.

    Raises:
        ValueError: If none is known.
    """
    if not amounts:
        raise ValueError("no amount is known")
    known = sorted(amounts)

    def value(name: str) -> float | None:
        values = [getattr(amounts[one], name) for one in known]
        if None in values:
            return None
        beyond = max(1.0, fraction / known[-1])
        return float(beyond * np.interp(fraction, [0.0, *known], [0.0, *values]))

    films, boxes, reader_boxes, readings = (value(field.name) for field in fields(Amount))
    assert films is not None
    assert boxes is not None
    return Amount(films, boxes, reader_boxes, readings)


def counted(number: float, noun: str) -> str:
    """Return a rounded number of things, such as `1 film` or `1,025 films`."""
    rounded = round(number)
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{rounded:,} {noun if rounded == 1 else plural}"


def to_two_digits(amount: Amount) -> Amount:
    """Return an amount that is known no better than to two digits, for an extrapolation."""

    def rounded(number: float | None) -> float | None:
        return None if number is None else float(f"{number:.2g}")

    films, boxes = rounded(amount.films), rounded(amount.boxes)
    assert films is not None
    assert boxes is not None
    return Amount(films, boxes, rounded(amount.reader_boxes), rounded(amount.readings))


def minutes_text(minutes: float | None) -> str:
    """Return a time of readers, empty if it is not known."""
    if minutes is None:
        return ""
    if minutes < _LONG_MIN:
        return counted(max(1, minutes), "reader minute")
    return (
        f"{minutes / 60:,.1f} reader hours"
        if minutes < 600
        else f"{minutes / 60:,.0f} reader hours"
    )


def boxes_text(amount: Amount, reading: ReadingSection | None) -> str:
    """Return boxes, and the minutes of readers where they are known."""
    parts = [counted(amount.boxes, "box"), minutes_text(amount.minutes(reading))]
    return ", ".join(part for part in parts if part)


def share_text(amounts: Amounts, fraction: float) -> str:
    """Return a measured share as `8 films (31 boxes; 20 % of the labels)`."""
    amount, share = amounts.get(fraction), f"{label_percent(fraction)} of the labels"
    if amount is None:
        return share
    return f"{counted(amount.films, 'film')} ({counted(amount.boxes, 'box')}; {share})"


def end_text(amounts: Amounts, fraction: float, *, least: float) -> str:
    """Return an end of an interval in films; 0 is fewer than the least share, inf beyond all."""
    if math.isnan(fraction):
        return "not known"
    if math.isinf(fraction):
        return BEYOND
    if fraction <= 0:
        return f"fewer than {counted(amount_at(amounts, least).films, 'film')}"
    return counted(amount_at(amounts, fraction).films, "film")


def range_text(amounts: Amounts, low: float, high: float, *, least: float) -> str:
    """Return both ends of an interval in films, the noun once where both have a number."""
    first, last = (end_text(amounts, end, least=least) for end in (low, high))
    if first == last and not 0 < low < math.inf:
        return first
    if last.endswith((" film", " films")):
        first = first.removesuffix(" films").removesuffix(" film")
    return f"{first} to {last}"
