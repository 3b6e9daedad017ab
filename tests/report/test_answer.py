"""The answer says what the numbers say, and is silent where it must be."""

import pytest

from cxrssl.config.arms import Arm
from cxrssl.report.answer import answer, remarks, saved_by_fraction, saved_rows
from cxrssl.report.html import render_report
from cxrssl.report.results import Results
from cxrssl.report.tables import table_1, table_2
from made_runs import REPLICATES, made_plan, made_results
from page_content import made_content

FRACTIONS = "label_fractions=[0.1, 0.2, 0.5, 1.0]"


def rising(arm: Arm) -> float:
    """Give the control 0.1 at a tenth and 0.1 more at each doubling; SSL is a doubling ahead."""
    import math

    level = 0.1 + 0.1 * math.log2(10 * arm.label_fraction)
    return level + 0.1 * (arm.treatment == "ssl")


def test_twice_as_many_labels_are_found_where_ssl_is_a_doubling_ahead() -> None:
    plan = made_plan(FRACTIONS, "answer={metric: AP, label_fraction: 0.2}", "seeds=[0, 1, 2]")
    results = made_results(plan, rising)
    saved = {saving.fraction: saving for saving in saved_by_fraction(plan, results)}
    assert saved[0.1].curve.share == pytest.approx(0.2, rel=1e-6)
    assert saved[0.2].curve.share == pytest.approx(0.4, rel=1e-6)
    assert saved[0.5].curve.share == pytest.approx(1.0, rel=1e-3)
    text = answer(plan, results, list(saved.values()))
    assert text.startswith("With 40 films (160 boxes; 20 % of the labels), SSL reaches mAP 0.300 (")
    needs = (
        "no SSL needs 80 films (about 320 boxes; 40 % of the labels; 95 % interval: 80 to 80 films)"
    )
    assert needs in text
    assert text.endswith("pretraining saved labels.")


def test_a_score_beyond_the_controls_is_more_than_the_data_can_tell() -> None:
    plan = made_plan(FRACTIONS)
    results = made_results(plan, lambda arm: 0.9 if arm.treatment == "ssl" else rising(arm))
    saved = saved_by_fraction(plan, results)
    rows = saved_rows(plan, saved)
    assert {row["needed"] for row in rows} == {"more than the data can tell"}
    text = answer(plan, results, saved)
    assert "no SSL needs more than 200 films (800 boxes; 100 % of the labels; " in text
    assert "95 % interval: more than the data can tell)" in text


def test_a_score_below_the_controls_costs_labels() -> None:
    plan = made_plan(FRACTIONS, "seeds=[0, 1]")
    results = made_results(plan, lambda arm: 0.06 if arm.treatment == "ssl" else rising(arm))
    saved = saved_by_fraction(plan, results)
    assert {row["needed"] for row in saved_rows(plan, saved)} == {"less than 10 %"}
    text = answer(plan, results, saved)
    assert "no SSL needs fewer than 20 films (80 boxes; less than 10 % of the labels; " in text
    assert "95 % interval: fewer than 20 films)" in text
    assert text.endswith("pretraining cost labels.")


def test_equal_arms_save_nothing_that_can_be_told() -> None:
    plan = made_plan(FRACTIONS, "seeds=[0, 1, 2]")

    def score(arm: Arm) -> float:
        if arm.treatment == "ssl":
            return rising(arm) - 0.1 + 0.01 * arm.seed
        return rising(arm) + 0.01 * (2 - arm.seed)

    results = made_results(plan, score)
    saved = saved_by_fraction(plan, results)
    assert answer(plan, results, saved).endswith(
        "whether pretraining saves labels, this experiment can't tell."
    )
    (line,) = remarks(plan, results)
    assert line.startswith("SSL against no SSL, label for label: mAP50 +0.000 on average over 3 ")
    assert line.endswith("which may be chance.")


def exactly(results: Results, value: float, low: float) -> Results:
    """Give all arms a score that every draw of 6 films gives, with its exact bound."""
    exact = {"value": value, "low": low, "high": 1.0, "exact": "x", "exact_on": "6 films"}
    for arm in results.arms:
        arm.result["metrics"] = dict.fromkeys(arm.result["metrics"], exact)
        draws = [value] * REPLICATES
        arm.result["replicate_values"] = dict.fromkeys(arm.result["replicate_values"], draws)
        arm.result["n_images"] = 6
    return results


def test_the_answer_has_the_exact_bound_that_the_table_has() -> None:
    plan = made_plan("seeds=[0, 1]")
    results = exactly(made_results(plan, lambda _: 1.0), 1.0, 0.607)
    saved = saved_by_fraction(plan, results)
    assert "SSL reaches mAP50 1.000 (0.607 to 1.000); " in answer(plan, results, saved)
    assert [(saving.score.low, saving.score.high) for saving in saved] == [(0.607, 1.0)]
    ssl = table_1(plan, results)["rows"][1]["cells"][0]
    assert (ssl["low"], ssl["high"]) == (0.607, 1.0)


def test_the_exact_bound_is_that_of_the_seeds_that_are_counted() -> None:
    plan = made_plan("seeds=[0, 1]")
    results = exactly(made_results(plan, lambda _: 1.0), 1.0, 0.607)
    for arm in results.arms:
        if arm.arm.seed == 1:
            entry = arm.result["metrics"]["AP50"] | {"low": 0.2}
            arm.result["metrics"] = arm.result["metrics"] | {"AP50": entry}
    first = [a for a in results.arms if (a.arm.treatment, a.arm.seed) != ("control", 1)]
    (saving,) = saved_by_fraction(plan, Results(first))
    assert (saving.seeds, saving.score.low) == (1, 0.607)
    (saving,) = saved_by_fraction(plan, results)
    assert (saving.seeds, saving.score.low) == (2, 0.2)


def test_a_difference_that_no_draw_changes_has_no_interval() -> None:
    plan = made_plan("seeds=[0, 1]")
    results = exactly(made_results(plan, lambda _: 1.0), 1.0, 0.607)
    assert remarks(plan, results)[0] == (
        "SSL against no SSL, label for label: mAP50 +0.000 at one label share, the same on every "
        "draw of the 6 test films, so that they can't tell what other films would change."
    )
    ssl, control = (row["cells"][0] for row in table_1(plan, results)["rows"][1:])
    shown = ("delta", "delta_low", "delta_high", "p", "draws_agree")
    assert [ssl[name] for name in shown] == [0.0, None, None, None, True]
    assert [control[name] for name in shown] == [None, None, None, None, False]
    page = render_report(made_content() | {"table1": table_1(plan, results), "faults": None})
    assert page.count('+0.000</span></span>\n<span class="small">all draws agree: no inter') == 5
    assert "+0.000 to +0.000" not in page


def test_every_control_is_compared_with() -> None:
    plan = made_plan(
        "initialisations={ssl: {title: SSL, pretraining: simclr, controls: [a, b]}, "
        "a: {title: scratch}, b: {title: ImageNet}}",
        "seeds=[0, 1, 2]",
    )
    results = made_results(plan, lambda arm: {"ssl": 0.3, "a": 0.2, "b": 0.5}[arm.treatment])
    first, second = remarks(plan, results)
    assert "SSL against scratch, label for label: mAP50 +0.100 at one label share" in first
    assert "SSL against ImageNet, label for label: mAP50 -0.200" in second
    assert first.endswith("which is more than chance.")


def test_a_score_near_its_ceiling_is_said() -> None:
    plan = made_plan(
        "initialisations={ssl: {title: SSL, pretraining: simclr, controls: [a]}, a: {title: b}}"
    )
    texts = remarks(plan, made_results(plan, lambda _: 0.97))
    assert "mAP50 is 0.970 already with" in texts[-1]
    assert "leaves little to save" in texts[-1]
    assert len(remarks(plan, made_results(plan, lambda _: 0.9))) == len(texts) - 1


def test_one_seed_gives_no_verdict() -> None:
    plan = made_plan(FRACTIONS)
    results = made_results(plan, rising)
    saved = saved_by_fraction(plan, results)
    text = answer(plan, results, saved)
    assert text.endswith("whether pretraining saves labels, one seed can't tell.")
    (line,) = remarks(plan, results)
    assert line.endswith("which is more than other test images would change, and another seed may.")


def test_nothing_is_said_about_labels_saved_where_the_baseline_finds_nothing() -> None:
    plan = made_plan()
    results = made_results(plan, lambda _: 0.01)
    text = answer(plan, results, saved_by_fraction(plan, results))
    assert text.endswith("so nothing can be read here about labels saved.")


def without(results: Results, *names: str) -> Results:
    return Results([finished for finished in results.arms if finished.arm.name not in names])


def test_a_plan_that_still_runs_has_no_answer_yet() -> None:
    plan = made_plan(FRACTIONS, "seeds=[0, 1]")
    for missing in (["ssl-50-seed0", "ssl-50-seed1"], ["control-10-seed0", "control-10-seed1"]):
        results = without(made_results(plan, rising), *missing)
        saved = saved_by_fraction(plan, results)
        assert 0.5 not in {saving.fraction for saving in saved}
        assert answer(plan, results, saved) == (
            "The runs that answer this, with 50 % of the labels and of the control, are not all "
            "there."
        )


def test_labels_saved_rest_on_the_seeds_that_all_have() -> None:
    plan = made_plan(FRACTIONS, "seeds=[0, 1, 2]")

    def score(arm: Arm) -> float:
        return rising(arm) - 0.1 * (arm.treatment == "ssl") + 0.2 * arm.seed

    results = without(made_results(plan, score), "ssl-20-seed2", "control-20-seed1")
    saved = {saving.fraction: saving for saving in saved_by_fraction(plan, results)}
    assert saved[0.2].seeds == 1
    assert saved[0.2].curve.share == pytest.approx(0.2)
    assert saved[0.5].seeds == 2
    assert saved[0.5].curve.share == pytest.approx(0.5)
    assert "for that, by 2 of 3 seeds: " in answer(plan, results, list(saved.values()))
    (line,) = remarks(plan, results)  # seed 0 alone has ended on both sides at all shares
    assert "mAP50 +0.000 on average over 3 label shares" in line


@pytest.mark.parametrize("name", ["smoke", "demo", "paper", "described", "published", "corrected"])
def test_every_packaged_plan_that_has_ended_has_an_answer(name: str) -> None:
    plan = made_plan("data.source=.", name=name)
    results = made_results(plan, rising)
    text = answer(plan, results, saved_by_fraction(plan, results))
    assert "not all there" not in text
    assert "mAP" in text


def test_arms_with_faults_stand_for_no_others() -> None:
    plan = made_plan(name="demo")
    results = made_results(plan, rising)
    faulty = Results([finished for finished in results.arms if finished.arm.faults])
    assert faulty.plain == []
    assert remarks(plan, faulty) == []
    assert table_1(plan, faulty)["rows"] == table_2(plan, faulty)["rows"] == []


def test_a_plan_without_a_control_says_that_it_has_none() -> None:
    plan = made_plan("data.source=.", name="published")
    results = made_results(plan, rising)
    text = answer(plan, results, saved_by_fraction(plan, results))
    assert "mAP 0.532 (" in text
    assert text.endswith("without a control this plan can't say what it is worth.")


def test_a_score_that_cannot_be_computed_gives_no_answer() -> None:
    plan = made_plan()
    results = made_results(plan, lambda _: None)
    assert answer(plan, results, []).startswith("mAP50 can't be computed")
