"""The baseline without eyes in a report: who can be told from fixed boxes, in words and numbers."""

import numpy as np
import pytest

from cxrssl.report.html import render_report
from cxrssl.report.prior import prior_section
from cxrssl.report.results import Condition, Results, class_estimate
from made_runs import REPLICATES, made_plan, made_results
from page_content import made_content

PLAN = made_plan()


def results_beside(prior: float, *, spread: float = 0.01) -> Results:
    """Return arms of score .5 beside fixed boxes, whose draws move by themselves."""
    results = made_results(PLAN, lambda _: 0.5)
    draws = np.random.default_rng(1).normal(prior, spread, REPLICATES).tolist()
    for arm in results.arms:
        arm.result["prior"] = {
            "most_per_class": 10,
            "metrics": {name: {"value": prior} for name in ("froc_mean", "AP50")},
            "replicate_values": dict.fromkeys(("froc_mean", "AP50"), draws),
        }
    return results


def test_without_fixed_boxes_there_is_no_section() -> None:
    assert prior_section(PLAN, made_results(PLAN, lambda _: 0.5)) is None


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (0.3, "every side is better than fixed boxes"),
        (0.49, "can't be told from fixed boxes: "),
        (0.8, "WORSE than fixed boxes: "),
    ],
)
def test_a_side_is_told_from_fixed_boxes_by_the_interval_of_the_difference(
    prior: float, words: str
) -> None:
    section = prior_section(PLAN, results_beside(prior))
    assert section is not None
    assert words in section["verdict"]
    (cell, _) = section["rows"][0]["cells"]
    assert cell["value"] == pytest.approx(0.5)
    assert cell["prior"] == pytest.approx(prior)
    assert cell["delta"]["value"] == pytest.approx(0.5 - prior)
    # Two independent spreads of 0.01: 1.96 * 0.0141 to each side.
    assert cell["delta"]["high"] - cell["delta"]["low"] == pytest.approx(0.0554, rel=0.1)
    assert cell["is_apart"] == (prior != 0.49)


def test_the_page_shows_it() -> None:
    content = made_content() | {"prior": prior_section(PLAN, results_beside(0.49))}
    page = render_report(content)
    assert "A baseline without eyes" in page
    assert "can&#39;t be told from fixed boxes" in page
    assert "+0.010" in page


@pytest.mark.parametrize(
    ("high", "is_apart", "words"),
    [(0.1, True, "every side is better"), (0.9, False, "can't be told from fixed boxes")],
)
def test_where_no_draw_changes_the_difference_exact_bounds_tell(
    high: float, is_apart: bool, words: str
) -> None:
    results = results_beside(0.0)
    entries = (
        {"value": 1.0, "low": 0.867, "high": 1.0, "exact_on": "21 films"},
        {"value": 0.0, "low": 0.0, "high": high, "exact_on": "21 films"},
    )
    for arm in results.arms:
        for record, entry in zip((arm.result, arm.result["prior"]), entries, strict=True):
            record["metrics"] = dict.fromkeys(("AP50", "froc_mean"), entry)
            draws = [entry["value"]] * REPLICATES
            record["replicate_values"] = dict.fromkeys(("AP50", "froc_mean"), draws)
    section = prior_section(PLAN, results)
    assert section is not None
    (cell, _) = section["rows"][0]["cells"]
    assert (cell["delta"]["value"], cell["delta"]["low"], cell["is_apart"]) == (1.0, None, is_apart)
    assert words in section["verdict"]
    page = render_report(made_content() | {"prior": section})
    told = "no interval" if is_apart else "no interval, can&#39;t be told"
    assert f"all draws agree: {told}</span>" in page


def test_a_score_that_every_draw_gives_keeps_its_exact_bound_over_seeds() -> None:
    results = made_results(PLAN, lambda _: 1.0)
    exact = {"value": 1.0, "low": 0.867, "high": 1.0, "exact": "x", "exact_on": "21 films"}
    for arm in results.arms:
        arm.result["metrics"] = dict.fromkeys(arm.result["metrics"], exact)
        arm.result["replicate_values"] = {"AP50": [1.0] * REPLICATES}
        arm.result["per_class"] = {"Nodule": {"AP50": exact}}
    arm = results.arms[0].arm
    mean = results.mean(Condition(arm.treatment, arm.label_fraction), "AP50")
    assert mean is not None
    assert (mean.value, mean.low, mean.high) == (1.0, 0.867, 1.0)
    of_class = class_estimate(results.arms[:2], "Nodule", "AP50")
    assert of_class is not None
    assert (of_class.value, of_class.low, of_class.high) == (1.0, 0.867, 1.0)
