"""How often intervals hold the truth, and p-values call two equal detectors different.

Many made test sets are drawn from one large one, whose scores are taken as true. Each gets its 95 %
intervals, ours and the usual quantiles of the bootstrap: 95 of 100 should hold the truth. On each a
second detector that is as good by design is compared with the first: 5 of 100 p-values should be
below 0.05. With 200 sets, three to either side is chance.

Run: python benchmarks/coverage.py [--images 100] [--sets 200] [--replicates 300]
"""

import argparse

import numpy as np

from cxrssl.metrics.bootstrap import draws, interval, p_value, strata_of
from cxrssl.metrics.scores import ScoreTable
from evaluate import detections, true_boxes

NAMES = ("AP", "AP50", "AP75", "AP_small", "AR100", "AP40_voc", "froc_at_1", "best_iou_mean", "ece")
PER_IMAGE, POPULATION = 20, 30_000


def values(table: ScoreTable, weights: np.ndarray) -> np.ndarray:
    """Return the scores in the order of `NAMES`."""
    overall = table(weights).overall
    return np.array([overall[name] for name in NAMES])


def tables(num_images: int, *, seed: int) -> tuple[ScoreTable, ScoreTable]:
    """Return two detectors on one test set."""
    truth = true_boxes(num_images, seed=seed)
    first, second = (
        detections(truth, seed=2 * seed + number, per_image=PER_IMAGE) for number in (0, 1)
    )
    return ScoreTable(truth, first), ScoreTable(truth, second)


def main() -> None:
    """Print, for each score, how often each kind of interval holds it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=300)
    given = parser.parse_args()
    true = values(tables(POPULATION, seed=999_999)[0], np.ones(POPULATION))
    hits = np.zeros((3, len(NAMES)))
    for number in range(given.sets):
        both = tables(given.images, seed=number)
        ones = np.ones(given.images)
        own = [values(table, ones) for table in both]
        strata = strata_of(both[0].truth.holds)
        drawn = list(draws(strata, replicates=given.replicates, seed=number))
        samples = [np.stack([values(table, one) for one in drawn]) for table in both]
        low, high = np.nanquantile(samples[0], [0.025, 0.975], axis=0)
        hits[0] += (low <= true) & (true <= high)
        for place in range(len(NAMES)):
            ours = interval(own[0][place], samples[0][:, place])
            p = p_value(own[0][place] - own[1][place], samples[0][:, place] - samples[1][:, place])
            hits[1, place] += ours.low is not None and ours.low <= true[place] <= ours.high
            hits[2, place] += p is not None and p < 0.05
    print(f"{given.sets} sets of {given.images} images, of 100: intervals that hold the truth, and")
    print("p-values below 0.05 for detectors that are equally good")
    print(f"{'score':14} {'true':>7} {'quantiles':>10} {'cxrssl':>8} {'p < 0.05':>9}")
    for name, value, (quantiles, ours, wrong) in zip(
        NAMES, true, 100 * hits.T / given.sets, strict=True
    ):
        print(f"{name:14} {value:7.3f} {quantiles:10.0f} {ours:8.0f} {wrong:9.0f}")


if __name__ == "__main__":
    main()
