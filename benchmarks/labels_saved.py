"""How often intervals of "as good as with g of the labels" hold the truth, and how far g is off.

Experiments are made whose truth is known: a control's learning curve that bends in the logarithm of
the label share, and a pretrained start that reaches with 25 % of the labels what the control
reaches with 25, 35, 50 or 200 % of them. The last is beyond the data: then an interval holds it if
it is open above. Runs differ from the truth by the test images (standard error 0.02), which do much
the same to any two runs, and by the seed (half of its variance is shared by runs of one seed). Both
are printed once as one expects them and once for seeds that are nearly all of a difference.

Our intervals hold the shares at which the control is not different from the score. Compared with
them are the 2.5 and 97.5 % quantiles of g, fitted anew on every draw of the images, each with a
draw of S - 1 of S seeds. Of 100 intervals, 95 should hold the truth; with 400 experiments, 2 to
either side is chance. "Not 1x" is how often an interval leaves out that nothing is saved: 5 of 100
may where that is so. Widths and errors of g are in doublings of the labels, within the curve.

Run: python benchmarks/labels_saved.py [--seeds 3] [--experiments 400] [--replicates 300]
"""

import argparse
from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.label_curves import Scored, labels_needed

SHARES = np.array([0.0625, 0.125, 0.25, 0.5, 1.0])
OWN, TRUE = 0.25, (0.25, 0.35, 0.5, 2.0)
IMAGE_DEVIATION, SEED_CORRELATION = 0.02, 0.5


@dataclass(frozen=True)
class Noise:
    """How runs differ: correlation of what images do to two of them, deviation between seeds."""

    images: float
    seeds: float


NOISES = (Noise(images=0.9, seeds=0.01), Noise(images=0.99, seeds=0.02))


def curve(share: Floats | float) -> Floats:
    """Return the control's true score: 0.05 at 6 % of the labels, 0.25 at all of them."""
    return np.asarray(0.35 - 0.1 * np.asarray(share) ** -0.4)


def of_images(
    runs: tuple[int, ...], draws: int, correlation: float, rng: np.random.Generator
) -> Floats:
    """Return [*runs, draws] what test images do to scores, partly alike in all runs."""
    alike = rng.normal(0, np.sqrt(correlation), draws)
    own = rng.normal(0, np.sqrt(1 - correlation), (*runs, draws))
    return IMAGE_DEVIATION * (alike + own)


def experiment(
    true: float, noise: Noise, seeds: int, replicates: int, rng: np.random.Generator
) -> list[Scored]:
    """Return the scores of the pretrained start, then of the control at each share."""
    truth = np.append(curve(true), curve(SHARES))[:, None]  # [1 + shares, 1]
    runs = len(truth), seeds
    alike = rng.normal(0, np.sqrt(SEED_CORRELATION), seeds)
    own = rng.normal(0, np.sqrt(1 - SEED_CORRELATION), runs)
    values = truth + noise.seeds * (alike + own) + of_images(runs, 1, noise.images, rng)[..., 0]
    drawn = values[..., None] + of_images(runs, replicates, noise.images, rng)
    return [Scored(*both) for both in zip(values, drawn, strict=True)]


def fitted(means: Floats) -> Floats:
    """Return curves [R, K] that never fall: the greatest least mean over what surrounds a point."""
    num = means.shape[1]
    sums = np.cumsum(np.pad(means, ((0, 0), (1, 0))), axis=1)
    levels = np.full(means.shape, -np.inf)
    for first in range(num):
        least = np.full(len(means), np.inf)
        for last in range(num - 1, first - 1, -1):
            average = (sums[:, last + 1] - sums[:, first]) / (last + 1 - first)
            least = np.minimum(least, average)
            levels[:, last] = np.maximum(levels[:, last], least)
    return levels


def reached(score: Floats, means: Floats) -> Floats:
    """Return [R] where curves [R, K] first reach scores [R]; 0 and inf are beyond their ends."""
    levels, rows = fitted(means), np.arange(len(means))
    after = np.argmax(levels >= score[:, None], axis=1)
    before = np.maximum(after - 1, 0)
    low, high = levels[rows, before], levels[rows, after]
    weight = np.where(high > low, (score - low) / np.where(high > low, high - low, 1), 1)
    found = np.exp2((1 - weight) * np.log2(SHARES[before]) + weight * np.log2(SHARES[after]))
    found[score < levels[:, 0]] = 0
    found[score > levels[:, -1]] = np.inf
    return found


def quantiles(runs: list[Scored], rng: np.random.Generator) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of g over draws of images and seeds."""
    drawn = np.stack([one.replicates for one in runs])  # [1 + shares, S, R]
    _, seeds, replicates = drawn.shape
    picked = rng.integers(0, seeds, (max(1, seeds - 1), replicates))
    means = np.take_along_axis(drawn, picked[None], axis=1).mean(axis=1).T  # [R, 1 + shares]
    found = np.sort(reached(means[:, 0], means[:, 1:]))
    last = replicates - 1
    return float(found[int(0.025 * last)]), float(found[int(np.ceil(0.975 * last))])


def row(true: float, g: Floats, bounds: Floats) -> str:
    """Return what one kind of interval, [experiments, 2], came to."""
    low, high = bounds.T
    held = np.isinf(high) if true > SHARES[-1] else (low <= true) & (true <= high)
    not_one = (low > OWN) | (high < OWN)
    least, most = SHARES[0], SHARES[-1]
    width = np.log2(np.clip(high, least, most) / np.clip(low, least, most))
    off = np.log2(np.clip(g, least, most) / min(true, most))
    return (
        f"{100 * held.mean():6.1f} {100 * not_one.mean():7.1f} {100 * np.isinf(high).mean():11.1f} "
        f"{np.median(width):6.2f} {np.median(off):8.2f} {off.mean():6.2f} {off.std():7.2f}"
    )


def main() -> None:
    """Print, for each noise and truth, how often each kind of interval holds the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--experiments", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    given = parser.parse_args()
    if given.smallest:
        given.seeds, given.experiments, given.replicates = 2, 2, 20
    rng = np.random.default_rng(0)
    for noise in NOISES:
        print(
            f"{given.experiments} experiments, {given.seeds} seeds with a deviation of "
            f"{noise.seeds}, images that correlate {noise.images}; of 100 intervals"
        )
        print(
            f"{'truth':>6} {'interval':9} {'hold':>6} {'not 1x':>7} {'open above':>11} "
            f"{'width':>6} {'g: median':>8} {'mean':>5} {'spread':>7}"
        )
        for true in TRUE:
            g, ours, theirs = [], [], []
            for _ in range(given.experiments):
                runs = experiment(true, noise, given.seeds, given.replicates, rng)
                found = labels_needed(runs[0], dict(zip(SHARES.tolist(), runs[1:], strict=True)))
                g.append(found.share)
                ours.append((found.low, found.high))
                theirs.append(quantiles(runs, rng))
            for name, bounds in (("cxrssl", ours), ("quantiles", theirs)):
                print(f"{true:6.0%} {name:9} {row(true, np.array(g), np.array(bounds))}")


if __name__ == "__main__":
    main()
