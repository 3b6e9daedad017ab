"""Weights are images drawn again, strata are kept, intervals cover and p-values are uniform."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cases import (
    HEADLINE,
    KINDS,
    Case,
    Kind,
    as_coco,
    make,
    pycoco,
    random_case,
    repeated,
    spread_scores,
)
from cxrssl.metrics.annotations import Flags, Floats, Integers
from cxrssl.metrics.bootstrap import (
    Interval,
    count_interval,
    difference_interval,
    draws,
    interval,
    p_value,
    strata_of,
)
from cxrssl.metrics.froc import FrocTable
from cxrssl.metrics.matching import Rules, match
from cxrssl.metrics.precision import PrecisionTable

DRAWN = {
    "plain": Kind(num_images=20),
    "crowds": replace(KINDS["crowds"], num_images=20),
    "sized": replace(KINDS["sized"], num_images=20),
}
# These sort images by how many hold a class, which repeating them changes.
BY_FREQUENCY = {"AP_rare", "AP_common", "AP_frequent"}

of_each_kind = pytest.mark.parametrize("kind", DRAWN)
many_random = pytest.mark.parametrize("seed", range(4))


def case_and_draw(kind: str, seed: int) -> tuple[Case, Integers]:
    case = spread_scores(random_case(DRAWN[kind], seed), seed)
    rows = np.random.default_rng(seed).integers(0, 20, 20)
    weights = np.bincount(rows, minlength=20)
    assert weights.max() > 1
    assert weights.min() == 0
    return case, weights


@many_random
@of_each_kind
def test_a_replicate_s_headline_numbers_equal_pycocotools_on_repeated_images(
    kind: str, seed: int
) -> None:
    case, counts = case_and_draw(kind, seed)
    overall = case.table(counts.astype(float)).overall
    reference = pycoco(repeated(case, counts)).stats
    assert [as_coco(overall[name]) for name in HEADLINE] == pytest.approx(reference, abs=1e-9)


@many_random
@of_each_kind
def test_every_score_of_a_replicate_is_that_of_repeated_images(kind: str, seed: int) -> None:
    case, counts = case_and_draw(kind, seed)
    weighed, again = case.table(counts.astype(float)), repeated(case, counts).scores
    for name in weighed.overall.keys() - BY_FREQUENCY:
        expected = pytest.approx(again.overall[name], abs=1e-9, nan_ok=True)
        assert weighed.overall[name] == expected, name
    for name, values in again.per_class.items():
        assert weighed.per_class[name] == pytest.approx(values, abs=1e-9, nan_ok=True)


def test_a_table_weighed_before_gives_the_same_again() -> None:
    case, counts = case_and_draw("crowds", 1)
    table = case.table
    first = table(np.ones(20)).overall
    table(counts.astype(float))
    assert table(np.ones(20)).overall == pytest.approx(first, rel=0, abs=0, nan_ok=True)


def test_classes_stay_rare_or_frequent_whatever_is_drawn() -> None:
    box = [0, 0, 10, 10]
    truth = [(n, label, box) for label, num in enumerate((10, 11)) for n in range(num)]
    case = make(truth, [(n, 0, box, 0.5) for n in range(10)], num_images=11, num_classes=2)
    overall = case.table(np.array([20.0] + [1.0] * 10)).overall
    assert overall["AP_rare"] == pytest.approx(1)
    assert overall["AP_common"] == 0


@settings(deadline=None, max_examples=60)
@given(
    holds=hnp.arrays(bool, st.tuples(st.integers(1, 25), st.integers(0, 5))),
    seed=st.integers(0, 2**32),
)
def test_a_draw_keeps_strata_and_never_loses_the_rarest_class_of_an_image(
    holds: Flags, seed: int
) -> None:
    strata = strata_of(holds)
    by_rarity = np.argsort(holds.sum(axis=0), kind="stable").tolist()
    for image, stratum in enumerate(strata):
        ranks = [rank for rank, label in enumerate(by_rarity) if holds[image, label]]
        assert stratum == min(ranks, default=holds.shape[1])
    sizes = np.bincount(strata)
    for weights in draws(strata, replicates=3, seed=seed):
        assert weights.sum() == pytest.approx(len(strata))
        if sizes[sizes > 0].min() > 1:
            sums = np.bincount(strata, weights)
            assert sums == pytest.approx(sizes)
            # Of n images at most n - 1 are drawn.
            assert all((weights[strata == stratum] == 0).any() for stratum in np.unique(strata))
            drawn = holds[weights > 0].any(axis=0)
            assert all(
                drawn[by_rarity[stratum]] for stratum in set(strata.tolist()) - {holds.shape[1]}
            )


def test_every_image_of_a_stratum_is_drawn_equally_often() -> None:
    strata = np.array([0, 1, 0, 1, 1, 2, 0, 1, 1, 1])
    total = np.sum(list(draws(strata, replicates=2000, seed=1)), axis=0)
    # Each is drawn about 2000 times, with a deviation of at most sqrt(2000 * 5/6) = 41.
    assert np.abs(total - 2000).max() < 5 * 41


@pytest.mark.parametrize("sizes", [[2] * 10, [1, 1, 1, 1, 1, 15], [1, 3, 5, 11], [20]])
def test_replicates_spread_as_much_as_other_test_sets_would(sizes: list[int]) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.stack(list(draws(strata, replicates=200, seed=0)))
    generator = np.random.default_rng(0)
    sets = generator.normal(size=(300, 20))  # values of 20 images, of which the mean is the score
    variances = (sets @ weights.T / 20).var(axis=1, ddof=1)
    # The mean of 20 values of variance 1 has variance 1/20 from set to set.
    assert variances.mean() * 20 == pytest.approx(1, abs=0.15)


def test_a_single_image_can_not_be_drawn_anew() -> None:
    assert list(draws(np.array([0]), replicates=3, seed=0)) == []
    assert interval(0.5, np.zeros(0)) == Interval(None, None)


@of_each_kind
def test_weights_that_are_not_whole_are_as_exact(kind: str) -> None:
    case, counts = case_and_draw(kind, 2)
    table = case.table
    integer = table(counts * 1.0).overall
    for factor in (20 / 19, 7 / 3, 0.1, 1e3 / 7):
        with np.errstate(invalid="raise", divide="raise"):
            parts = table(counts * factor).overall
        assert parts == pytest.approx(integer, abs=1e-9, nan_ok=True)


@many_random
@of_each_kind
def test_a_draw_equals_its_weights_in_whole_numbers(kind: str, seed: int) -> None:
    case = spread_scores(random_case(DRAWN[kind], seed), seed)
    table, strata = case.table, strata_of(case.truth.holds)
    for weights in draws(strata, replicates=20, seed=seed):
        # Each is k n / (n - 1); 2520 is a multiple of 1..10, and so of most n - 1.
        scale = 2520 * 11 * 13 * 17 * 19
        integer = np.rint(weights * scale)
        assert np.abs(integer / scale - weights).max() < 1e-12
        exact = table(integer).overall
        for name, value in table(weights).overall.items():
            # A recall of exactly 0.07 misses pycocotools' 0.07 by rounding, one in parts does not.
            most = 1 / 101 + 1e-9 if name.startswith("AP") else 1e-9
            assert value == pytest.approx(exact[name], abs=most, nan_ok=True), name


def always_together() -> Case:
    """Return class 2 in images that all hold a rarer class too; four images hold none."""
    box = [0, 0, 10, 10]
    pairs = [(0, 0), (1, 0), (2, 1), (3, 1), (0, 2), (2, 2), (4, 2), (4, 0)]
    truth = [(image, label, box) for image, label in pairs]
    # Three of class 0, two of class 1; class 2 comes with 0 twice and with 1 once.
    detections = [(image, label, box, 0.5) for image, label in pairs if label != 1]
    return make(truth, detections, num_images=9, num_classes=3)


def test_a_class_that_comes_with_rarer_ones_can_vanish_and_is_then_left_out() -> None:
    case = always_together()
    table, strata = case.table, strata_of(case.truth.holds)
    assert 2 not in strata
    absent, present = [], []
    for weights in draws(strata, replicates=200, seed=0):
        scores = table(weights)
        (absent if np.isnan(scores.per_class["AP50"][2]) else present).append(scores)
    assert absent
    assert present
    assert not np.isnan([scores.per_class["AP50"][:2] for scores in absent]).any()
    assert [s.overall["AP50"] for s in absent] == pytest.approx([(1 + 0) / 2] * len(absent))
    assert [s.overall["AP50"] for s in present] == pytest.approx([(1 + 0 + 1) / 3] * len(present))


def drawn(replicates: int, seed: int) -> list[list[float]]:
    strata = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    return [weights.tolist() for weights in draws(strata, replicates=replicates, seed=seed)]


def test_a_draw_is_the_same_for_any_number_of_them_and_another_for_another_seed() -> None:
    many = drawn(30, seed=4)
    assert drawn(7, seed=4) == many[:7]
    assert drawn(30, seed=5) != many
    assert len({tuple(weights) for weights in many}) > 20


def ends(ends_of: Interval) -> tuple[float, float]:
    assert ends_of.low is not None
    assert ends_of.high is not None
    return ends_of.low, ends_of.high


def test_an_interval_is_1_96_standard_errors_to_each_side_of_the_score_itself() -> None:
    samples = np.array([0.3, 0.4, 0.4, 0.5])
    error = np.sqrt((0.01 + 0.01) / 3)
    expected = 0.5 - 1.959964 * error, 0.5 + 1.959964 * error
    assert ends(interval(0.5, samples)) == pytest.approx(expected)
    assert ends(difference_interval(0.5, samples)) == pytest.approx(expected)


def test_an_interval_ends_at_0_and_1_and_that_of_a_difference_does_not() -> None:
    samples = np.array([0.0, 1.0])
    assert ends(interval(0.5, samples)) == (0, 1)
    low, high = ends(difference_interval(-0.5, samples))
    assert low < -1.8
    assert low + high == pytest.approx(-1)


@pytest.mark.parametrize("of", [interval, count_interval, difference_interval, p_value])
def test_95_percent_of_the_replicates_must_have_a_value(
    of: Callable[[float, Floats], Interval | float | None],
) -> None:
    absent = (Interval(None, None), None)
    samples = np.random.default_rng(0).random(100)
    samples[:5] = np.nan
    assert of(0.5, samples) == of(0.5, np.append(samples[5:], [])) not in absent
    assert of(np.nan, samples) in absent
    samples[5] = np.nan
    assert of(0.5, samples) in absent
    for few in (np.zeros(0), np.full(3, np.nan), np.ones(1)):
        assert of(0.5, few) in absent


def test_the_interval_of_a_count_is_of_quantiles_and_not_cut_at_0() -> None:
    samples = np.concatenate([np.linspace(0.02, 0.2, 195), np.full(5, 3.0)])
    low, high = ends(count_interval(0.1, samples))
    assert (low, high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
    assert 0 < low < 0.1 < high
    assert interval(0.1, samples).low == 0
    assert ends(count_interval(0.01, samples))[0] == 0.01  # the value lies inside


def coverage_of_mean(rng: np.random.Generator) -> bool:
    values = rng.exponential(size=60)
    seed = int(rng.integers(2**31))
    weights = np.stack(list(draws(np.zeros(60, np.int64), replicates=150, seed=seed)))
    low, high = ends(count_interval(values.mean(), weights @ values / 60))
    return low <= 1 <= high


def test_intervals_of_a_skewed_count_cover_it() -> None:
    rng = np.random.default_rng(0)
    fraction = np.mean([coverage_of_mean(rng) for _ in range(200)])
    assert 0.88 <= fraction <= 0.99


BOX, FAR = [10, 10, 10, 10], [50, 50, 10, 10]


def labelled_images(rng: np.random.Generator, num_images: int) -> Case:
    """Return images of which every second has a box, found seven times of ten."""
    truth = [(image, 0, BOX) for image in range(0, num_images, 2)]
    detections = [(image, 0, BOX, rng.beta(3, 2)) for image, _, _ in truth if rng.random() < 0.7]
    for image in range(num_images):
        detections += [(image, 0, FAR, rng.beta(2, 3)) for _ in range(rng.poisson(2.0))]
    return make(truth, detections, num_images=num_images)


def froc_and_precision(case: Case) -> tuple[FrocTable, PrecisionTable]:
    """Return both under one rule, which takes less time than all."""
    none = np.zeros((1, len(case.truth.images)), bool)
    rules = Rules(np.array([0.5]), none[:, 0], np.zeros(1, np.int64), none, np.array([[0, 1e10]]))
    matches = match(case.truth, case.detections, rules, most=100, by_class=True)
    table = PrecisionTable(case.truth, case.detections, matches, rules)
    return FrocTable(case.truth, case.detections, matches, rule=0), table


def both_scores(case: Case) -> Callable[[Floats], list[float]]:
    froc, precision = froc_and_precision(case)
    return lambda weights: [
        float(froc(weights).sensitivity_at((1.0,))[0]),
        float(precision(weights).sampled[0, 0]),
    ]


@pytest.mark.slow
def test_intervals_of_sensitivity_and_average_precision_cover_them() -> None:
    rng = np.random.default_rng(1)
    true = both_scores(labelled_images(rng, 20_000))(np.ones(20_000))
    covered = []
    for number in range(150):
        case = labelled_images(rng, 100)
        scores, strata = both_scores(case), strata_of(case.truth.holds)
        samples = np.array(
            [scores(weights) for weights in draws(strata, replicates=100, seed=number)]
        )
        values = scores(np.ones(100))
        intervals = [ends(interval(v, column)) for v, column in zip(values, samples.T, strict=True)]
        covered.append([low <= t <= high for (low, high), t in zip(intervals, true, strict=True)])
    fractions = np.mean(covered, axis=0)
    assert (fractions >= 0.88).all()
    assert (fractions <= 0.99).all()


def p_of(differences: Floats, seed: int) -> float:
    strata = np.zeros(len(differences), np.int64)
    weights = np.stack(list(draws(strata, replicates=150, seed=seed)))
    value = p_value(differences.mean(), weights @ differences / len(differences))
    assert value is not None
    return value


def test_p_values_of_no_difference_are_about_uniform() -> None:
    rng = np.random.default_rng(2)
    values = np.array([p_of(rng.normal(size=60), seed) for seed in range(300)])
    assert 0.02 <= (values <= 0.05).mean() <= 0.1
    assert 0.4 <= (values <= 0.5).mean() <= 0.6
    assert 0.02 <= (values > 0.95).mean() <= 0.1


def test_p_values_of_a_clear_difference_are_tiny_and_never_zero() -> None:
    differences = np.random.default_rng(3).normal(1, 1, size=60)
    assert p_of(differences, 0) == p_of(-differences, 0) == 1 / 151


def test_a_p_value_counts_draws_as_far_from_their_mean_as_the_difference_from_zero() -> None:
    # Their mean is 1, and their distances from it 0.3, 0.3, 0.1, 0.1, 0.
    samples = np.array([0.7, 1.3, 0.9, 1.1, 1.0])
    assert p_value(0.35, samples) == 1 / 6
    assert p_value(0.3, samples) == p_value(-0.3, samples) == 3 / 6
    assert p_value(0.1, samples) == p_value(-0.05, samples) == 5 / 6
    assert p_value(0.0, samples) == 1


def test_patients_are_drawn_whole_as_by_hand() -> None:
    clusters = np.array([7, 7, 3, 9, 3, 7])  # three patients: 3, 7, 9
    strata = np.array([0, 0, 0, 0, 0, 0])
    weights = list(draws(strata, replicates=4, seed=5, clusters=clusters))
    for replicate, ours in enumerate(weights):
        uniform = np.random.default_rng([5, replicate]).random(2)  # of three patients, two
        drawn = np.bincount((uniform * 3).astype(int), minlength=3) * 3 / 2
        assert ours.tolist() == [drawn[[3, 7, 9].index(patient)] for patient in clusters]


def test_a_patient_lies_in_the_stratum_of_the_rarest_class_of_all_images() -> None:
    # Patients 0 and 1 hold the rare class on one image each, 2 and 3 do not.
    clusters = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    strata = np.array([0, 1, 1, 0, 1, 1, 1, 1])
    for weights in draws(strata, replicates=20, seed=1, clusters=clusters):
        assert sorted(weights[[0, 2]].tolist()) == [0, 2]
        assert sorted(weights[[4, 6]].tolist()) == [0, 2]


def test_four_equal_films_of_each_person_are_no_more_than_one() -> None:
    values = np.random.default_rng(2).random(40)

    def spread(repeats: int, *, by_patient: bool) -> float:
        images = np.repeat(values, repeats)
        clusters = np.repeat(np.arange(40), repeats) if by_patient else None
        strata = np.zeros(len(images), np.int64)
        drawn = draws(strata, replicates=500, seed=0, clusters=clusters)
        return float(np.std([weights @ images / weights.sum() for weights in drawn]))

    assert spread(4, by_patient=True) == pytest.approx(spread(1, by_patient=False), rel=1e-9)
    assert spread(4, by_patient=False) < 0.7 * spread(4, by_patient=True)
