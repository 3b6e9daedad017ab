"""How many films, or patients, each score rests on: for exact bounds."""

import numpy as np

from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.evaluate.intervals import Films
from cxrssl.metrics.annotations import Flags, Integers
from cxrssl.metrics.definitions import COUNTS, DEFINITIONS, PER_CLASS
from cxrssl.metrics.scores import AREAS_PX2, FREQUENCY_ENDS, SIZES

_NO_RATES = frozenset({"ece", "best_iou_std", "best_iou_above_0.2_std"})
"""Not a mean over films, so that a number of films says nothing of them."""


def films_of(inputs: EvaluationInputs) -> dict[str, Films]:
    """Return what each overall score rests on: the films that hold a box it is about.

    Films without such boxes are not counted, so that the bound is rather too wide.
    """
    truth, clusters = inputs.truth, inputs.clusters
    counts, holds = ~truth.crowd, truth.holds

    def with_boxes(rows: Flags) -> Flags:
        has = np.zeros(truth.num_images, bool)
        has[truth.images[rows & counts]] = True
        return has

    images = dict.fromkeys(DEFINITIONS.keys() - _NO_RATES, with_boxes(counts))
    for name, (low, high) in zip(SIZES, AREAS_PX2[1:].tolist(), strict=True):
        of_size = with_boxes((truth.areas >= low) & (truth.areas <= high))
        images |= {f"AP_{name}": of_size, f"AR_{name}": of_size}
    images["AR_small1000_agnostic"] = images["AR_small"]
    for name, (low, high) in FREQUENCY_ENDS.items():
        num = holds.sum(axis=0)
        of_frequency = holds[:, (num >= low) & (num <= high)]
        images[f"AP_{name}"] = of_frequency.sum(axis=1) > 0
    for k in (1, 2, 3):
        is_behind = truth.support >= 3 if k == 3 else truth.support == k
        images[f"AP50_support_{k}"] = with_boxes(is_behind)
    images |= dict.fromkeys(COUNTS, inputs.normal)
    return {name: _films(of_name, clusters) for name, of_name in images.items()}


def films_of_class(inputs: EvaluationInputs, label: int) -> dict[str, Films]:
    """Return what each score of a class rests on: the films that hold the class."""
    return dict.fromkeys(PER_CLASS, _films(inputs.truth.holds[:, label], inputs.clusters))


def _films(images: Flags, clusters: Integers | None) -> Films:
    if clusters is None:
        return Films(int(images.sum()))
    return Films(len(np.unique(clusters[images])), "patients")
