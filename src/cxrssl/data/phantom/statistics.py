"""What the phantom copies from VinDr-CXR: the summary numbers of its training table, to draw from.

`statistics.json` holds fractions, means, covariances and coarse quantiles only: the table's rows
are under a data-use agreement and are not shipped. `tests/vindr_statistics.py` computed it.

Shapes: K = 14 classes; four geometry values (cx, cy, log w, log h), relative to the image.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.labels import FINDINGS

FloatArray = NDArray[np.float64]

TRIO = ("R8", "R9", "R10")
"""The readers of nearly all images with findings."""

QUANTILE_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MIDLINE_CLASSES = frozenset({"Aortic enlargement", "Cardiomegaly"})
"""Classes of which a chest holds one, without a side."""


@dataclass(frozen=True)
class PlaceStatistics:
    """Where the consensus boxes of one class lie on one side, relative to the image.

    `factor` [4, 4] turns independent normal deviates into ones correlated as the values are.
    """

    fraction: float
    mean: FloatArray
    factor: FloatArray
    quantiles: FloatArray


@dataclass(frozen=True)
class ClassStatistics:
    """How often, how many, where, and how well agreed one finding is."""

    name: str
    image_fraction: float
    lesions: FloatArray
    support: FloatArray
    jitter: FloatArray
    places: tuple[PlaceStatistics, ...]


@dataclass(frozen=True)
class TableStatistics:
    """The numbers of `statistics.json`, classes in the order of `FINDINGS`."""

    classes: tuple[ClassStatistics, ...]
    trio_fraction: dict[str, float]
    other_readers: dict[str, dict[str, float]]
    solo_fractions: FloatArray
    absent_fractions: FloatArray


@lru_cache(maxsize=1)
def load_statistics() -> TableStatistics:
    """Return the shipped summary numbers; lengths and places are relative to the image."""
    text = resources.files("cxrssl.data.phantom").joinpath("statistics.json").read_text("utf-8")
    raw = json.loads(text)
    return TableStatistics(
        classes=tuple(_class_statistics(name, raw["classes"][name]) for name in FINDINGS),
        trio_fraction=raw["trio_share"],
        other_readers=raw["other_readers"],
        solo_fractions=np.array(raw["solo_share"]),
        absent_fractions=np.array(raw["absent_share"]),
    )


def _class_statistics(name: str, raw: dict[str, Any]) -> ClassStatistics:
    return ClassStatistics(
        name,
        image_fraction=raw["image_share"],
        lesions=np.array(raw["lesions"]),
        support=np.array(raw["support"]),
        jitter=np.array(raw["jitter"]),
        places=tuple(_place_statistics(side) for side in raw["sides"].values()),
    )


def _place_statistics(raw: dict[str, Any]) -> PlaceStatistics:
    covariance = np.array(raw["covariance"])
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd)
    return PlaceStatistics(
        fraction=raw["share"],
        mean=np.array(raw["mean"]),
        factor=np.linalg.cholesky(correlation),
        quantiles=np.array(raw["quantiles"]),
    )
