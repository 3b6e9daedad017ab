"""The report of a plan with treatments: words, comparisons and their number, and fair pairs."""

import json
import math
from itertools import combinations
from pathlib import Path

import pytest

from cxrssl.config.arms import Arm
from cxrssl.config.difference_words import Known
from cxrssl.config.load import to_yaml
from cxrssl.config.plan import Plan
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json, write_text
from cxrssl.report import report
from cxrssl.report.answer import answer, saved_by_fraction
from cxrssl.report.treatments import comparisons_note, other_answers, treatment_section
from cxrssl.reproduce.costs import print_costs
from cxrssl.reproduce.jobs import trainings
from cxrssl.reproduce.resources import Resources
from made_runs import PROVENANCE, made_plan, made_results

EMA = "ema: {decay: 0.9}"
TEACHER = (
    "unlabelled: {batch_size: 2, burn_in_steps: 4, threshold: 0.7, weight: 1.0, ramp_steps: 0, "
    "relation_weight: 0.0, known_normals: false, pseudo_boxes: %s}"
)
AUGMENT = (
    "augment: {scale: [0.7, 1.4], shift: 0.0, rotation_degrees: 10.0, gamma: [1.0, 1.0], "
    "contrast: [1.0, 1.0], brightness: [0.0, 0.0], blur_sigma_px: [0.0, 0.0], "
    "noise_share: [0.0, 0.0], cutout: null}"
)
SECTIONS = ", ".join(
    (
        f"aug: {{title: augmentation + EMA, set: {{{AUGMENT}, {EMA}}}, controls: [plain]}}",
        f"taught: {{title: teacher, unlabelled_pool: rest, controls: [ema, shuffled], "
        f"set: {{{EMA}, {TEACHER % 'teacher'}}}}}",
        "shuffled: {title: shuffled boxes, unlabelled_pool: rest, controls: [ema], "
        f"set: {{{EMA}, {TEACHER % 'shuffled'}}}}}",
        f"ema: {{title: EMA alone, set: {{{EMA}}}, controls: [plain]}}",
        "plain: {title: plain}",
    )
)
CHANGES = (
    "initialisations=null",
    f"treatments={{{SECTIONS}}}",
    "label_fractions=[0.1, 0.2, 1.0]",
    "answer={metric: AP, label_fraction: 0.2}",
    "seeds=[0, 1, 2]",
    "finetuning.set={max_steps: 12}",
    "gallery_images=0",
)
GAINS = {"aug": 0.1, "taught": 0.05, "shuffled": -0.05, "ema": 0.0, "plain": 0.0}


def score(arm: Arm) -> float:
    """Give 0.1 at a tenth and 0.1 more at each doubling; augmentation is a doubling ahead."""
    level = 0.2 + 0.1 * math.log2(10 * arm.label_fraction)
    # Seeds differ in what a treatment gains, each by another amount.
    moves = {"aug": 0.0, "taught": 0.011, "shuffled": 0.004, "ema": 0.006, "plain": 0.0}
    return level + GAINS[arm.treatment] + moves[arm.treatment] * (arm.seed - 1)


@pytest.fixture
def plan() -> Plan:
    return made_plan(*CHANGES)


@pytest.fixture
def runs(plan: Plan, tmp_path: Path) -> Path:
    """Return the folder of a plan with five treatments, all of whose arms have finished."""
    folder = tmp_path / "runs"
    write_text(folder / "plan.yaml", to_yaml(plan))
    recipes = {run.job.name: run.recipe for run in trainings(plan, folder)}
    for finished in made_results(plan, score).arms:
        run_folder = folder / finished.arm.name
        write_text(run_folder / "recipe.yaml", to_yaml(recipes[finished.arm.name]))
        write_json(run_folder / "length.json", {"num_steps": 12})
        write_json(run_folder / "transfer.json", {"start": "random", "transfers": []})
        write_json(run_folder / "provenance.json", PROVENANCE)
        write_json(run_folder / "metrics.json", finished.result)
    return folder


def test_the_answer_reads_well_with_what_is_no_start(plan: Plan) -> None:
    results = made_results(plan, score)
    text = answer(plan, results, saved_by_fraction(plan, results))
    assert text.startswith(
        "With 40 films (160 boxes; 20 % of the labels), augmentation + EMA reaches mAP 0.400 ("
    )
    assert "; plain needs 80 films (about 320 boxes; 40 % of the labels; 95 %" in text
    assert text.endswith(" films) for that: augmentation + EMA saved labels.")


def test_every_other_treatment_with_a_control_has_a_sentence_of_the_same_form(plan: Plan) -> None:
    results = made_results(plan, score)
    taught, shuffled, ema = other_answers(plan, results)
    start = "With 40 films (160 boxes; 20 % of the labels), "
    assert taught.startswith(f"{start}teacher reaches mAP 0.350 (")
    assert "; EMA alone needs 57 films (about 226 boxes; 28 % of the labels; " in taught
    assert taught.endswith(": teacher saved labels.")
    assert "; EMA alone needs 28 films" in shuffled
    assert shuffled.endswith(": shuffled boxes cost labels.")
    assert ema.endswith(": whether EMA alone saves labels, this experiment can't tell.")


def test_a_verdict_that_does_not_outlast_the_correction_says_so(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = made_results(plan, score)
    assert "taken by itself" not in " ".join(other_answers(plan, results))
    monkeypatch.setattr(
        "cxrssl.report.treatments.holm_adjusted", lambda p_values: [0.2 for _ in p_values]
    )
    taught, shuffled, ema = other_answers(plan, results)
    clause = ", taken by itself: among 5 comparisons it may be chance (p = 0.200 after Holm)."
    assert taught.endswith(f": teacher saved labels{clause}")
    assert shuffled.endswith(f": shuffled boxes cost labels{clause}")
    assert ema.endswith("this experiment can't tell."), "what gives no verdict needs no more doubt"


def closed_testing(p_values: list[float]) -> list[float]:
    """Return p-values adjusted by Bonferroni in every set of hypotheses: Holm's procedure.

    Source: Marcus, Peritz and Gabriel 1976.
    """
    places = range(len(p_values))
    sets = [set(some) for size in places for some in combinations(places, size + 1)]
    bounds = [(some, min(1.0, len(some) * min(p_values[n] for n in some))) for some in sets]
    return [max(bound for some, bound in bounds if place in some) for place in places]


def check_markdown(text: str) -> None:
    heads = "| treatment | control | differs from it by | the control needs | difference of mAP"
    assert heads in text
    (line,) = (line for line in text.splitlines() if line.startswith("| EMA alone | plain |"))
    assert "an average of the weights (decay 0.9)" in line
    assert "| treatment | labels | images | seeds | mAP |" in text


def test_the_page_tells_the_treatments_and_their_number(runs: Path) -> None:
    page = report(runs).read_text()
    content = json.loads((runs / "report.json").read_text())
    rows = content["treatments"]["rows"]
    assert [(row["title"], row["control"], row["differs"]) for row in rows] == [
        (
            "augmentation + EMA",
            "plain",
            "augmentation (scale 0.7 to 1.4, turns up to 10 degrees); and an average of the "
            "weights (decay 0.9)",
        ),
        (
            "teacher",
            "EMA alone",
            "a teacher on the training images whose labels it does not see (2 a step, score 0.7 "
            "and more, from step 4 on, weight 1)",
        ),
        (
            "teacher",
            "shuffled boxes",
            "the teacher's pseudo boxes instead of shuffled pseudo boxes (control)",
        ),
        (
            "shuffled boxes",
            "EMA alone",
            "shuffled pseudo boxes (control) of a teacher on the training images whose labels it "
            "does not see (2 a step, score 0.7 and more, from step 4 on, weight 1)",
        ),
        ("EMA alone", "plain", "an average of the weights (decay 0.9)"),
        ("plain", "", ""),
    ]
    for row in rows:
        assert row["title"] in page
        assert row["differs"].replace("'", "&#39;") in page
    aug, plain = rows[0], rows[-1]
    assert aug["needed"] == "40 %"
    assert aug["value"] == pytest.approx(0.1)
    assert aug["low"] < aug["value"] < aug["high"]
    assert plain["value"] is None
    p_values = [row["p"] for row in rows[:-1]]
    assert [row["p_holm"] for row in rows[:-1]] == pytest.approx(closed_testing(p_values))
    assert [row["p_holm"] for row in rows[:-1]] != p_values
    note = "The plan compares 5 times a treatment with a control. Every interval and p-value is of"
    assert any(remark.startswith(note) for remark in content["remarks"])
    assert sum(remark.startswith("With 40 films") for remark in content["remarks"]) == 3
    assert "is corrected for the 5 comparisons of this table; intervals are not" in page
    assert "each treatment&#39;s control (" in page
    assert not any("recipe.yaml" in caution for caution in content["cautions"])
    check_markdown((runs / "report.md").read_text())


def test_nothing_is_said_to_be_saved_where_the_control_finds_nothing(plan: Plan) -> None:
    results = made_results(plan, lambda arm: 0.01 + GAINS[arm.treatment] / 10)
    section = treatment_section(plan, results, {}, Known())
    assert section is not None
    assert "widths" not in section["text"]
    several = treatment_section(plan, results, {}, Known(parameters={"a": 1, "b": 2}))
    assert several is not None
    assert "Another backbone has other widths, another number of param" in several["text"]
    assert section is not None
    assert {row["needed"] for row in section["rows"]} == {""}
    assert section["rows"][0]["value"] == pytest.approx(0.01)
    assert other_answers(plan, results) == []


def test_one_comparison_is_not_called_several() -> None:
    assert comparisons_note(made_plan()) == []


def test_runs_of_unequal_steps_or_data_are_refused(runs: Path) -> None:
    folder = runs / "aug-20-seed1"
    write_json(folder / "length.json", {"num_steps": 24})
    with pytest.raises(
        RunError, match="aug-20-seed1 and plain-20-seed1: the labelled steps are 24"
    ):
        report(runs)
    write_json(folder / "length.json", {"num_steps": 12})
    before = (folder / "recipe.yaml").read_text()
    write_text(folder / "recipe.yaml", before.replace("max_steps: 12", "max_steps: 24"))
    with pytest.raises(RunError, match="aug-20-seed1 and plain-20-seed1: max_steps is 24 and 12"):
        report(runs)
    write_text(folder / "recipe.yaml", before.replace("fusion: consensus", "fusion: union"))
    with pytest.raises(RunError, match=r"data\.fusion is union and consensus"):
        report(runs)


def test_a_run_without_a_recipe_is_said(runs: Path) -> None:
    for name in ("ema-10-seed0", "ema-20-seed0"):
        (runs / name / "recipe.yaml").unlink()
    page = report(runs).read_text()
    assert (
        "2 of 39 runs hold no recipe.yaml that can be read (ema-20-seed0, ema-10-seed0), " in page
    )


def test_a_dry_run_lists_the_treatments_with_their_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources = Resources({"finetune": lambda *_: 0.01}, lambda *_: None)
    apart = "treatments.ema.label_fractions=[1.0]"
    print_costs(made_plan(*CHANGES, apart), tmp_path / "runs", resources)
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "augmentation + EMA differs from plain by augmentation (scale 0.7 to 1.4, turns" in printed
    )
    assert "teacher differs from shuffled boxes by the teacher's pseudo boxes instead of" in printed
    assert "teacher and EMA alone have no label share in common, and are not compared." in printed
    assert "EMA alone differs from plain by an average of the weights (decay 0.9)." in printed
