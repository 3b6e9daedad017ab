"""What targets need, in films, boxes and minutes: by hand, and silent where nothing is known."""

import json
import math
from dataclasses import replace

import pytest

from cxrssl.config.arms import Arm
from cxrssl.config.plan import ReadingSection
from cxrssl.report.amounts import (
    Amount,
    amount_at,
    amount_of,
    boxes_text,
    counted,
    minutes_text,
    range_text,
)
from cxrssl.report.answer import answer, saved_by_fraction, saved_rows
from cxrssl.report.figure_data import curve_figures
from cxrssl.report.results import Results
from cxrssl.report.tables import table_1
from cxrssl.report.target_figure import target_figures
from cxrssl.report.targets import (
    Target,
    interval_text,
    target_json,
    target_remarks,
    target_rows,
    targets_of,
)
from made_runs import REPLICATES, made_plan, made_result, made_results

SHARES = "label_fractions=[0.1, 0.2, 0.5, 1.0]"
SEEDS = "seeds=[0, 1, 2]"
READING = "answer.reading={seconds_per_image: 30, seconds_per_box: 10}"
AMOUNTS = {0.5: Amount(10, 40, 90, 30), 1.0: Amount(20, 100, 200, 60)}


def law(arm: Arm) -> float:
    """0.7 is what the control tends to; at all labels it is 0.1 below. SSL has half that to go."""
    missing = 0.1 * arm.label_fraction**-0.5
    return 0.7 - missing * (0.5 if arm.treatment == "ssl" else 1.0)


# --- amounts


def test_minutes_are_of_every_reading_and_every_box_that_a_reader_drew() -> None:
    reading = ReadingSection(seconds_per_image=30, seconds_per_box=12)
    assert Amount(10, 40, 90, 30).minutes(reading) == pytest.approx((30 * 30 + 90 * 12) / 60)
    assert Amount(10, 40, 90, 30).minutes(None) is None
    assert Amount(10, 40, None, None).minutes(reading) is None


def test_amounts_are_straight_between_shares_and_proportional_beyond() -> None:
    assert amount_at(AMOUNTS, 0.75) == Amount(15, 70, 145, 45)
    assert amount_at(AMOUNTS, 0.25) == Amount(5, 20, 45, 15)
    assert amount_at(AMOUNTS, 3.0) == Amount(60, 300, 600, 180)
    older = AMOUNTS | {0.5: Amount(10, 40, None, None)}
    assert amount_at(older, 2.0) == Amount(40, 200, None, None)
    with pytest.raises(ValueError, match="no amount"):
        amount_at({}, 0.5)


def test_an_amount_is_the_mean_over_seeds_and_old_runs_lack_a_part() -> None:
    first, second = made_results(made_plan("seeds=[0, 1]"), law).arms[:2]
    more = replace(second, result=second.result | {"train_boxes": 804})
    assert amount_of([first, more]) == Amount(200, 802, 1800, 600)
    old = replace(first, result=made_result(0.3))
    assert amount_of([old, more]) == Amount(110, 442, None, None)
    assert amount_of([]) is None


def test_words_of_amounts() -> None:
    assert [counted(n, "box") for n in (0, 1, 1.6, 1025)] == [
        "0 boxes",
        "1 box",
        "2 boxes",
        "1,025 boxes",
    ]
    assert [minutes_text(m) for m in (None, 0.2, 119, 300, 60_000)] == [
        *("", "1 reader minute", "119 reader minutes", "5.0 reader hours", "1,000 reader hours")
    ]
    assert range_text(AMOUNTS, 0.5, 1.0, least=0.5) == "10 to 20 films"
    assert range_text(AMOUNTS, 0.0, 1.0, least=0.5) == "fewer than 10 to 20 films"
    assert (
        range_text(AMOUNTS, 0.5, math.inf, least=0.5) == "10 films to more than the data can tell"
    )
    reading = ReadingSection(seconds_per_image=30, seconds_per_box=10)
    assert boxes_text(AMOUNTS[0.5], reading) == "40 boxes, 30 reader minutes"
    assert boxes_text(AMOUNTS[0.5], None) == "40 boxes"


# --- targets


def test_a_target_within_and_beyond_the_curve() -> None:
    plan = made_plan(SHARES, SEEDS, READING, "answer.target={AP50: 0.62}")
    results = made_results(plan, law)
    ssl, control = targets_of(plan, results)
    # 0.05 / sqrt(n) = 0.08: n = 0.39, between two shares; 0.1 / sqrt(n) = 0.08: n = 1.5625.
    assert ssl.labels.fraction == pytest.approx(0.39, abs=0.02)
    assert control.labels.fraction == pytest.approx(1.5625, rel=0.02)
    (text, reading) = target_remarks(plan, [ssl, control])
    assert text.startswith("For mAP50 0.62: SSL needs about 81 films (325 boxes, ")
    assert "; no SSL needs about 310 films (1,300 boxes, " in text
    assert text.endswith("extrapolated beyond the 200 films measured.")
    assert "30 s an image and 10 s a box" in reading
    assert "nobody measured" in reading
    rows = target_rows(plan, [ssl, control])
    assert rows[0]["how"] == "measured"
    assert rows[1]["how"] == "extrapolated, 1.6 times what was measured"
    content = target_json(control)
    assert content["extrapolated"] is True
    assert content["films"] == pytest.approx(312, rel=0.03)
    json.dumps(content)


def test_a_curve_that_levels_off_is_said_to() -> None:
    plan = made_plan(SHARES, SEEDS, "answer.target={AP50: 0.8}")
    targets = targets_of(plan, made_results(plan, law))
    (text,) = target_remarks(plan, targets)
    assert (
        "no SSL does not reach it with the 200 films measured: its fitted curve levels off" in text
    )
    assert target_rows(plan, targets)[1]["films"] == "not reached"


def test_two_shares_give_no_extrapolation_and_one_no_curve() -> None:
    for shares in ("[0.5, 1.0]", "[0.5]"):
        plan = made_plan(
            f"label_fractions={shares}",
            SEEDS,
            "answer.target={AP50: 0.9}",
            "answer.label_fraction=0.5",
        )
        targets = targets_of(plan, made_results(plan, law))
        (text,) = target_remarks(plan, targets)
        assert "3 label shares are needed to extrapolate" in text
        assert {row["films"] for row in target_rows(plan, targets)} <= {
            *("more than 100 films", "more than 200 films")
        }
        assert list(target_figures(plan, targets))


def test_a_target_that_the_smallest_share_has_is_reached_with_fewer() -> None:
    plan = made_plan(SHARES, SEEDS, "answer.target={AP50: 0.1}")
    targets = targets_of(plan, made_results(plan, law))
    (text,) = target_remarks(plan, targets)
    assert "SSL reaches it with fewer than 20 films (95 % interval: fewer than 20 films)" in text


def test_a_plan_without_targets_and_one_that_still_runs_say_nothing_wrong() -> None:
    plan = made_plan(SHARES, SEEDS)
    assert targets_of(plan, made_results(plan, law)) == []
    assert target_remarks(plan, []) == []
    plan = made_plan(SHARES, SEEDS, "answer.target={AP50: 0.6}")
    results = made_results(plan, law)
    half = Results([f for f in results.arms if f.arm.label_fraction > 0.1])
    assert targets_of(plan, half) == []
    assert target_remarks(plan, []) == ["For mAP50 0.6: the runs that tell this are not all there."]


def test_scores_that_cannot_be_computed_have_no_target() -> None:
    plan = made_plan(SHARES, SEEDS, "answer.target={AP50: 0.6}")
    assert targets_of(plan, made_results(plan, lambda _: None)) == []


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.2, 0.5, "40 to 100 films"),
        (0.2, math.inf, "40 films or more"),
        (0.0, 0.5, "up to 100 films"),
        (0.0, 0.0, "fewer than 20 films"),
        (0.0, math.inf, "not bounded on either side"),
        (math.inf, math.inf, "more than 2,000 films"),
        (math.nan, math.nan, "not known"),
    ],
)
def test_an_interval_in_words(low: float, high: float, text: str) -> None:
    plan = made_plan(SHARES, SEEDS, "answer.target={AP50: 0.6}")
    control = targets_of(plan, made_results(plan, law))[1]
    labels = replace(control.labels, low=low, high=high)
    assert interval_text(Target(**(vars(control) | {"labels": labels}))) == text


# --- metrics of an answer


@pytest.mark.parametrize(
    ("metric", "words"),
    [("froc_mean", "FROC (mean sensitivity)"), ("AP40", "AP at IoU 0.4"), ("AR100_agnostic", "AR")],
)
def test_an_answer_is_about_the_metric_that_the_plan_names(metric: str, words: str) -> None:
    plan = made_plan(SHARES, SEEDS, f"answer.metric={metric}", READING)
    results = made_results(plan, law)
    for finished in results.arms:  # only this score differs from 0.1
        for key in ("metrics", "replicate_values"):
            others = made_result(0.1)[key]
            finished.result[key] = others | {metric: finished.result[key][metric]}
    text = answer(plan, results, saved_by_fraction(plan, results))
    assert f"SSL reaches {words} 0.629" in text
    assert "mAP" not in text
    columns = [column["label"] for column in table_1(plan, results)["columns"]]
    assert words in columns
    values = [row["cells"][columns.index(words)]["value"] for row in table_1(plan, results)["rows"]]
    assert values[0] == pytest.approx(0.6)
    assert next(iter(curve_figures(plan, results)))["caption"].startswith(words)
    (row, *_) = saved_rows(plan, saved_by_fraction(plan, results))
    assert row["amount"].startswith("20 films, 80 boxes, 60 reader minutes")


def test_scores_have_films_boxes_and_those_that_readers_drew() -> None:
    plan = made_plan(SHARES, READING)
    row = table_1(plan, made_results(plan, law))["rows"][-1]
    assert row["amount"] == "20 films, 80 boxes of 180 by readers, 60 reader minutes"
    old = made_results(made_plan(), law)
    for finished in old.arms:
        del finished.result["train_reader_boxes"], finished.result["train_readings"]
    assert table_1(plan, old)["rows"][0]["amount"] == "200 films, 800 boxes"


def test_a_targets_curve_has_the_exact_bounds_of_its_scores() -> None:
    plan = made_plan(SHARES, "seeds=[0, 1]", "answer.target={AP50: 0.6}")
    results = made_results(plan, lambda _: 1.0)
    exact = {"value": 1.0, "low": 0.607, "high": 1.0, "exact": "x", "exact_on": "6 films"}
    for arm in results.arms:
        arm.result["metrics"] = dict.fromkeys(arm.result["metrics"], exact)
        arm.result["replicate_values"] = {"AP50": [1.0] * REPLICATES}
    for target in targets_of(plan, results):
        assert {(mean.low, mean.high) for mean in target.means.values()} == {(0.607, 1.0)}
        assert target.means.keys() == target.curve.keys()
