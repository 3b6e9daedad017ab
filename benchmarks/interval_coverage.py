"""How often intervals hold the truth, and p-values call two equal detectors different.

Many made test sets are drawn, and each gets its 95 % intervals: ours, and the usual quantiles of
the bootstrap. Of 100, 95 should hold the score that such sets have on average. Fewer hold the score
of one very large set, which is another number: the average precision of few boxes is too great. On
each set a second detector that is as good by design is compared with the first: 5 of 100 p-values
should be below 0.05. With 200 sets, three to either side is chance.

Run: python benchmarks/interval_coverage.py [--images 100] [--sets 200] [--replicates 300]
"""

import argparse

import numpy as np
from scoring import detections, true_boxes

from cxrssl.metrics.bootstrap import draws, interval, p_value, strata_of
from cxrssl.metrics.scores import ScoreTable

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
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    given = parser.parse_args()
    population = POPULATION
    if given.smallest:
        given.images, given.sets, given.replicates, population = 20, 2, 20, 50
    large = values(tables(population, seed=999_999)[0], np.ones(population))
    own, bounds, p_values = [], [], []
    for number in range(given.sets):
        both = tables(given.images, seed=number)
        scores = [values(table, np.ones(given.images)) for table in both]
        strata = strata_of(both[0].truth.holds)
        drawn = list(draws(strata, replicates=given.replicates, seed=number))
        samples = [np.stack([values(table, one) for one in drawn]) for table in both]
        ours = [interval(*pair) for pair in zip(scores[0], samples[0].T, strict=True)]
        quantiles = np.nanquantile(samples[0], [0.025, 0.975], axis=0)
        own.append(scores[0])
        bounds.append([quantiles, [[one.low for one in ours], [one.high for one in ours]]])
        gaps = scores[0] - scores[1], (samples[0] - samples[1]).T
        p_values.append([p_value(*pair) for pair in zip(*gaps, strict=True)])
    low, high = np.moveaxis(np.array(bounds, float), 2, 0)  # [sets, 2, names] each
    average = np.mean(own, axis=0)
    shares = [
        100 * ((low <= true) & (true <= high)).mean(axis=0)[kind]
        for true in (average, large)
        for kind in (0, 1)
    ]
    wrong = 100 * (np.array(p_values, float) < 0.05).mean(axis=0)
    print(f"{given.sets} sets of {given.images} images, of 100: intervals that hold the average of")
    print("such sets, and the score of a large one; p < 0.05 for detectors that are equally good")
    print(f"{'':14} {'average':>16} {'':>9} {'large set':>16}")
    print(
        f"{'score':14} {'value':>7} {'cxrssl':>7} {'quantiles':>10} {'value':>7} {'cxrssl':>7} "
        f"{'quantiles':>10} {'p < 0.05':>9}"
    )
    columns = (NAMES, average, shares[1], shares[0], large, shares[3], shares[2], wrong)
    for name, a, b, c, d, e, f, g in zip(*columns, strict=True):
        print(f"{name:14} {a:7.3f} {b:7.0f} {c:10.0f} {d:7.3f} {e:7.0f} {f:10.0f} {g:9.0f}")


if __name__ == "__main__":
    main()
