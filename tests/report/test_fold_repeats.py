"""Folds with a seed of their own: differences are over folds, as a paired t-test has them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cxrssl.config.plan import Plan
from cxrssl.report.answer import answer, remarks, saved_by_fraction
from cxrssl.report.cautions import cautions
from cxrssl.report.results import Condition, FinishedArm, Results
from made_runs import made_plan, made_results

FOLDS = ("data.source=films", "data.folds=5", "data.fresh_seeds=true", "protocol=corrected")
FIRST = [0.52, 0.61, 0.55, 0.49, 0.60]
SECOND = [0.50, 0.57, 0.54, 0.44, 0.55]


@pytest.fixture
def plan() -> Plan:
    return made_plan(*FOLDS, "seeds=[0]", "faults=[]")


def by_fold(plan: Plan, values: dict[str, list[float]]) -> Results:
    """Return results whose arms have these values by treatment, a little more with more labels."""
    results = made_results(plan, lambda arm: float(np.mean(values[arm.treatment])))

    def of(finished: FinishedArm) -> FinishedArm:
        more = 0.1 * finished.arm.label_fraction
        folds = [value + more for value in values[finished.arm.treatment]]
        return replace(finished, fold_values=dict.fromkeys(finished.result["metrics"], folds))

    return Results([of(finished) for finished in results.arms])


def conditions(plan: Plan) -> tuple[Condition, Condition]:
    assert plan.main is not None
    fraction = plan.answer.label_fraction
    control = plan.treatments[plan.main].controls[0]
    return Condition(plan.main, fraction), Condition(control, fraction)


def test_a_difference_is_that_of_a_paired_t_test_over_folds(plan: Plan) -> None:
    first, second = conditions(plan)
    results = by_fold(plan, {first.treatment: FIRST, second.treatment: SECOND})
    difference = results.difference(first, second, plan.answer.metric)
    expected = stats.ttest_rel(FIRST, SECOND)
    low, high = expected.confidence_interval()
    assert difference is not None
    assert difference.value == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    assert (difference.low, difference.high) == pytest.approx((low, high))
    assert difference.p == pytest.approx(expected.pvalue)
    mean = results.mean(first, plan.answer.metric)
    ends = stats.ttest_1samp(FIRST, 0).confidence_interval()
    more = 0.1 * first.label_fraction
    assert mean is not None
    assert (mean.low, mean.high) == pytest.approx((ends.low + more, ends.high + more))


def test_folds_that_all_agree_have_the_interval_of_all_their_images(plan: Plan) -> None:
    first, second = conditions(plan)
    metric = plan.answer.metric
    exact = {"value": 1.0, "low": 0.95, "high": 1.0, "exact_on": 60}
    results = by_fold(plan, {first.treatment: FIRST, second.treatment: SECOND})
    arms = [
        replace(
            arm,
            result=arm.result | {"metrics": arm.result["metrics"] | {metric: exact}},
            fold_values={metric: [1.0] * 5},
        )
        for arm in results.arms
    ]
    mean = Results(arms).mean(first, metric)
    assert mean is not None
    assert (mean.value, mean.low, mean.high) == (1.0, 0.95, 1.0)
    unlike = [replace(arm, fold_values={metric: [1.0, 1.0, 1.0, 1.0, 0.9]}) for arm in arms]
    assert Results(unlike).mean(first, metric) != mean


def test_seeds_of_the_plan_are_averaged_within_a_fold(plan: Plan) -> None:
    two = made_plan(*FOLDS, "seeds=[0, 1]", "faults=[]")
    first, second = conditions(two)
    values = {first.treatment: FIRST, second.treatment: SECOND}
    one_seed = by_fold(plan, values).scored(first, plan.answer.metric)
    both = by_fold(two, values).scored(first, two.answer.metric)
    assert one_seed is not None
    assert both is not None
    assert both.values.tolist() == pytest.approx(one_seed.values.tolist())


def test_folds_with_seeds_of_their_own_give_a_verdict_that_one_seed_does_not(plan: Plan) -> None:
    first, second = conditions(plan)
    results = by_fold(plan, {first.treatment: FIRST, second.treatment: SECOND})
    text = answer(plan, results, saved_by_fraction(plan, results))
    assert "one seed" not in text
    assert text.endswith("pretraining saved labels.")
    assert "which is more than chance" in remarks(plan, results)[0]
    texts = " ".join(cautions(plan, None, None, [], names_images=False))
    assert "means over the 5 folds" in texts
    assert "One seed" not in texts
    # The same folds with one seed for all are one training, as before.
    plain = made_plan(*FOLDS[:2], FOLDS[3], "seeds=[0]", "faults=[]")
    assert (plain.num_repeats, plan.num_repeats) == (1, 5)
    results = made_results(plain, lambda arm: 0.5 + 0.1 * arm.label_fraction)
    assert "one seed can't tell" in answer(plain, results, saved_by_fraction(plain, results))


def test_a_score_that_a_fold_lacks_is_not_known(plan: Plan) -> None:
    first, second = conditions(plan)
    results = by_fold(plan, {first.treatment: FIRST, second.treatment: SECOND})
    arms = [
        replace(arm, fold_values={plan.answer.metric: [0.5, None, 0.5, 0.5, 0.5]})
        for arm in results.arms
    ]
    assert Results(arms).scored(first, plan.answer.metric) is None
