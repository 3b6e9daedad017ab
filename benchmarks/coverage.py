"""How often an interval holds the truth: ours against the usual quantiles of the bootstrap.

Many made test sets are drawn from one large one, whose scores are taken as true, and each gets its
intervals. Of 95 % intervals 95 of 100 should hold the truth; with 200 sets, 92 to 98 is chance.

Run: python benchmarks/coverage.py [--images 100] [--sets 200] [--replicates 300]
"""

import argparse

import numpy as np

from cxrssl.metrics.annotations import Detections, Truth
from cxrssl.metrics.bootstrap import draws, interval, strata_of
from cxrssl.metrics.scores import ScoreTable
from evaluate import made

NAMES = ("AP", "AP50", "AP75", "AP_small", "AR100", "AP40_voc", "froc_at_1", "best_iou_mean", "ece")
NUM_CLASSES, PER_IMAGE, POPULATION = 3, 15, 40_000


def drawn(num_images: int, *, seed: int) -> tuple[Truth, Detections]:
    """Return a test set."""
    return made(num_images, seed=seed, num_classes=NUM_CLASSES, per_image=PER_IMAGE)


def values(table: ScoreTable, weights: np.ndarray) -> np.ndarray:
    """Return the scores in the order of `NAMES`."""
    overall = table(weights).overall
    return np.array([overall[name] for name in NAMES])


def main() -> None:
    """Print, for each score, how often each kind of interval holds it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=300)
    given = parser.parse_args()
    true = values(ScoreTable(*drawn(POPULATION, seed=999_999)), np.ones(POPULATION))
    hits = np.zeros((2, len(NAMES)))
    for number in range(given.sets):
        truth, found = drawn(given.images, seed=number)
        table = ScoreTable(truth, found)
        own = values(table, np.ones(given.images))
        strata = strata_of(truth.holds)
        samples = np.stack(
            [
                values(table, weights)
                for weights in draws(strata, replicates=given.replicates, seed=number)
            ]
        )
        low, high = np.nanquantile(samples, [0.025, 0.975], axis=0)
        hits[0] += (low <= true) & (true <= high)
        for place in range(len(NAMES)):
            ours = interval(own[place], samples[:, place])
            hits[1, place] += ours.low <= true[place] <= ours.high
    print(f"{given.sets} sets of {given.images} images: 95 % intervals that hold the truth, of 100")
    print(f"{'score':14} {'true':>7} {'quantiles':>10} {'cxrssl':>8}")
    for name, value, (quantiles, ours) in zip(NAMES, true, 100 * hits.T / given.sets, strict=True):
        print(f"{name:14} {value:7.3f} {quantiles:10.0f} {ours:8.0f}")


if __name__ == "__main__":
    main()
