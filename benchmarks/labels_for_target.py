"""How often intervals of "labels needed for a target" hold the truth, also beyond what is measured.

Learning curves of seven kinds are made, power laws and others, so that the fitted law is wrong in
most. Each is measured with noise of the test images and of the seeds (which is greater where labels
are few in one of the settings), and asked for the score that it truly has at 0.5, 1.5, 3 and 6
times all labels. A bounded interval is one that says more than "M or more".

Compared with cxrssl's are the 2.5 and 97.5 % quantiles of a power law fitted anew to draws of the
images, each with a draw of S - 1 of S seeds, as is usual. Of 100 intervals 95 should hold the
truth; with 200 experiments, 3 to either side is chance. "Open" is how many have no upper end. The
last curve is level from half of the labels on and never reaches 0.5: an interval holds that if it
is open.

Run: python benchmarks/labels_for_target.py [--seeds 3] [--experiments 200] [--replicates 200]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.label_curves import Scored
from cxrssl.metrics.target import labels_for_target

TRUE = (0.5, 1.5, 3.0, 6.0)
SEED_CORRELATION = 0.5
EXPONENTS = np.geomspace(0.03, 4, 60)
CURVES: dict[str, Callable[[Floats], Floats]] = {
    "power law to 0.6": lambda n: 0.6 - 0.4 * (16 * n) ** -0.4,
    "power law to 1": lambda n: 1 - 0.9 * (16 * n) ** -0.15,
    "logarithm": lambda n: 0.05 + 0.1 * np.log2(16 * n),
    "stretched exponential": lambda n: 0.5 * (1 - np.exp(-((1.5 * n) ** 0.6))),
    "Hill": lambda n: 0.7 / (1 + (0.8 / n) ** 0.9),
    "sigmoid": lambda n: 0.5 / (1 + (0.4 / n) ** 1.8),
    "arctangent": lambda n: 0.4 * np.arctan(2.5 * n),
}


@dataclass(frozen=True)
class Setting:
    """Measured label shares, and deviations by test images and by seeds."""

    shares: tuple[float, ...]
    images: float
    correlation: float
    seeds: float
    grows: bool
    """Whether seeds differ more where labels are few."""


SETTINGS = (
    Setting((0.0625, 0.125, 0.25, 0.5, 1.0), 0.01, 0.97, 0.005, grows=False),
    Setting((0.0625, 0.125, 0.25, 0.5, 1.0), 0.02, 0.95, 0.02, grows=True),
    Setting((0.1, 0.3, 1.0), 0.01, 0.97, 0.005, grows=False),
    Setting((0.1, 0.3, 1.0), 0.02, 0.95, 0.02, grows=True),
)


def measured(
    curve: Callable[[Floats], Floats],
    setting: Setting,
    seeds: int,
    replicates: int,
    rng: np.random.Generator,
) -> dict[float, Scored]:
    """Return scores of a curve with the noise of a setting."""
    shares = np.array(setting.shares)
    few = np.log(shares) / np.log(shares[0])
    deviation = (setting.seeds * (0.5 + 1.1 * few * setting.grows + 0.5 * (not setting.grows)))[
        :, None
    ]
    num = len(shares)

    def images(shape: tuple[int, ...], draws: int) -> Floats:
        alike = rng.normal(0, np.sqrt(setting.correlation), draws)
        own = rng.normal(0, np.sqrt(1 - setting.correlation), (*shape, draws))
        return setting.images * (alike + own)

    alike = rng.normal(0, np.sqrt(SEED_CORRELATION), seeds)
    own = rng.normal(0, np.sqrt(1 - SEED_CORRELATION), (num, seeds))
    values = curve(shares)[:, None] + deviation * (alike + own) + images((num, seeds), 1)[..., 0]
    drawn = values[..., None] + images((num, seeds), replicates)
    return {float(s): Scored(v, d) for s, v, d in zip(shares, values, drawn, strict=True)}


def quantiles(curve: dict[float, Scored], target: float, rng: np.random.Generator) -> Floats:
    """Return the 2.5 and 97.5 % quantiles of a power law's answer over the draws."""
    drawn = np.stack([point.replicates for point in curve.values()])  # [K, S, R]
    _, seeds, draws = drawn.shape
    picked = rng.integers(0, seeds, (max(1, seeds - 1), draws))
    means = np.take_along_axis(drawn, picked[None], axis=1).mean(axis=1)  # [K, R]
    n, fits = np.array(list(curve)), []
    for exponent in EXPONENTS:
        design = np.stack([np.ones(len(n)), -(n**-exponent)], axis=1)
        level, scale = np.linalg.pinv(design) @ means
        errors = ((means - design @ np.stack([level, scale])) ** 2).sum(axis=0)
        rises = (scale > 0) & (level > target)
        ratio = np.where(rises, scale, 1) / np.where(rises, level - target, 1)
        fits.append((errors, np.where(rises, ratio ** (1 / exponent), np.inf)))
    errors, answers = (np.stack(values) for values in zip(*fits, strict=True))
    found = np.sort(answers[errors.argmin(axis=0), np.arange(draws)])
    return found[[int(0.025 * (draws - 1)), int(np.ceil(0.975 * (draws - 1)))]]


def row(true: float, answers: Floats, bounds: Floats) -> str:
    """Return what one kind of interval, [experiments, 2], came to."""
    low, high = bounds.T
    held = (low <= true * 1.001) & (high >= true / 1.001) if np.isfinite(true) else np.isinf(high)
    seen = answers[np.isfinite(answers)]
    median = f"{np.median(answers):6.2f}" if len(seen) > len(answers) / 2 else "   inf"
    return (
        f"{100 * held.mean():6.1f} {100 * np.isinf(high).mean():6.1f} {np.median(low):6.2f} "
        f"{np.median(high):6.2f} {median}"
    )


def main() -> None:
    """Print, for each setting, curve and target, how often intervals hold the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    given = parser.parse_args()
    if given.smallest:
        given.experiments, given.replicates = 1, 20
    for setting in SETTINGS:
        print(
            f"shares {setting.shares}, {given.seeds} seeds with a deviation of {setting.seeds}"
            f"{', more where labels are few' if setting.grows else ''}, images of {setting.images}"
        )
        print(
            f"{'curve':22} {'truth':>6} {'interval':9} {'hold':>6} {'open':>6} {'low':>6} "
            f"{'high':>6} {'answer':>6}   (medians, in all labels)"
        )
        for name, curve in CURVES.items():
            for true in TRUE:
                _print_case(name, curve, true, float(curve(np.array(true))), setting, given)
        _print_case("level", _level, np.inf, 0.5, setting, given)


def _level(n: Floats) -> Floats:
    return 0.45 * (1 - np.exp(-8 * np.asarray(n)))


def _print_case(
    name: str,
    curve: Callable[[Floats], Floats],
    true: float,
    target: float,
    setting: Setting,
    given: argparse.Namespace,
) -> None:
    rng = np.random.default_rng(0)
    answers, ours, theirs = [], [], []
    for _ in range(given.experiments):
        scores = measured(curve, setting, given.seeds, given.replicates, rng)
        found = labels_for_target(target, scores)
        answers.append(found.fraction)
        # "More than the farthest" holds what is farther.
        ours.append((min(found.low, found.farthest), found.high))
        theirs.append(quantiles(scores, target, rng))
    for kind, bounds in (("cxrssl", ours), ("quantiles", theirs)):
        print(f"{name:22} {true:6.1f} {kind:9} {row(true, np.array(answers), np.array(bounds))}")


if __name__ == "__main__":
    main()
