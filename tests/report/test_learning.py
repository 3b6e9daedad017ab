"""How far starts moved and how soon they were nearly there, of runs made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.files import write_json, write_text
from cxrssl.report.html import render_report
from cxrssl.report.learning import first_step, learning_section
from cxrssl.report.results import FinishedArm, Results
from made_runs import made_plan, made_results
from page_content import bare_content, made_content

# Score in validation after each 10 steps: of SSL, of its control.
SSL = (0.05, 0.181, 0.19, 0.30)
CONTROL = (0.0, 0.04, 0.17, 0.20)


def log_of(scores: tuple[float | None, ...], shift: int = 0) -> str:
    lines: list[dict[str, Any]] = [{"step": 1, "epoch": 0, "loss_classifier": 1.0, "lr": 0.1}]
    for index, score in enumerate(scores):
        step = 10 * (index + 1) + shift
        lines += [{"step": step, "epoch": index, "val_AP": score, "val_AP50": None}]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def made(tmp_path: Path, *changes: str, validated: bool = True) -> tuple[Any, Results]:
    """Return a plan of two seeds at half of the labels, each run with its log."""
    plan = made_plan("seeds=[0, 1]", "label_fractions=[0.5]", "answer.metric=AP", *changes)
    arms = []
    for finished in made_results(plan, lambda _: 0.2).arms:
        is_ssl = finished.arm.treatment == "ssl"
        folder = tmp_path / finished.arm.name
        scores = SSL if is_ssl else CONTROL
        text = log_of(scores, shift=2 * finished.arm.seed) if validated else log_of(())
        write_text(folder / "metrics.jsonl", text)
        cka = {"layer1": 0.9 if is_ssl else 0.7, "layer4": 0.5 + 0.2 * finished.arm.seed}
        arms.append(FinishedArm(finished.arm, folder, finished.result | {"cka": cka}))
    return plan, Results(arms)


def test_a_row_is_the_mean_over_runs(tmp_path: Path) -> None:
    plan, results = made(tmp_path)
    similarity = learning_section(plan, results)["similarity"]
    assert similarity["maps"] == ["layer1", "layer4"]
    rows = {row["title"]: row for row in similarity["rows"]}
    assert rows["SSL"]["values"] == pytest.approx([0.9, 0.6])
    assert rows["no SSL"]["values"] == pytest.approx([0.7, 0.6])
    assert (rows["SSL"]["runs"], rows["SSL"]["labels"], rows["SSL"]["role"]) == (2, "50 %", "ssl")


def test_steps_are_those_to_nine_tenths_of_the_controls_last_score(tmp_path: Path) -> None:
    plan, results = made(tmp_path)
    speed = learning_section(plan, results)["speed"]
    assert speed["goals"] == ["90 % of the control's last"]
    cells = {row["title"]: row["cells"] for row in speed["rows"]}
    # 0.9 * 0.20 is reached in the second validation: steps 20 and 22.
    assert cells["SSL"] == [{"step": 21, "reached": 2, "of": 2}]
    assert cells["no SSL"] == [{"step": 41, "reached": 2, "of": 2}]


def test_a_target_has_a_column_and_may_be_reached_by_some_alone(tmp_path: Path) -> None:
    plan, results = made(tmp_path, "answer.target={AP: 0.25}")
    write_text(results.arms[0].folder / "metrics.jsonl", log_of((0.1, 0.2)))
    speed = learning_section(plan, results)["speed"]
    assert speed["goals"] == ["90 % of the control's last", "mAP 0.25"]
    cells = {row["title"]: row["cells"][1] for row in speed["rows"]}
    assert cells["SSL"] == {"step": 42, "reached": 1, "of": 2}
    assert cells["no SSL"] == {"step": None, "reached": 0, "of": 2}


def test_runs_of_a_seed_that_the_control_lacks_do_not_count(tmp_path: Path) -> None:
    plan, results = made(tmp_path)
    kept = [arm for arm in results.arms if (arm.arm.treatment, arm.arm.seed) != ("control", 1)]
    speed = learning_section(plan, Results(kept))["speed"]
    cells = {row["title"]: row["cells"] for row in speed["rows"]}
    assert cells["SSL"] == [{"step": 20, "reached": 1, "of": 1}]


def test_runs_of_folds_count_one_by_one(tmp_path: Path) -> None:
    plan, results = made(tmp_path)
    arms = []
    for finished in results.arms:
        folders = tuple(tmp_path / f"{finished.arm.name}-fold{fold}" for fold in (1, 2))
        for fold, folder in enumerate(folders):
            scores = SSL if finished.arm.treatment == "ssl" else CONTROL
            write_text(folder / "metrics.jsonl", log_of(scores, shift=100 * fold))
            write_json(folder / "metrics.json", {"cka": {"layer1": 0.2 + 0.4 * fold}})
        arms.append(FinishedArm(finished.arm, folders[0], finished.result, folders))
    section = learning_section(plan, Results(arms))
    assert section["similarity"]["rows"][0]["values"] == pytest.approx([0.4])
    assert section["similarity"]["rows"][0]["runs"] == 4
    assert section["speed"]["rows"][0]["cells"] == [{"step": 70, "reached": 4, "of": 4}]


def test_what_pseudo_boxes_were_worth_is_the_mean_over_runs(tmp_path: Path) -> None:
    plan, results = made(tmp_path)
    assert learning_section(plan, results)["teachers"] is None
    for finished in results.arms:
        if finished.arm.treatment == "ssl":
            seed = finished.arm.seed
            worth = {"boxes_per_image": 0.5 + seed, "precision": 0.4, "recall": None}
            if seed:
                worth["precision"] = None  # no box of this run could be compared
            finished.result["unlabelled"] = {"images": 40, "pseudo_boxes": worth}
    (row,) = learning_section(plan, results)["teachers"]["rows"]
    assert (row["title"], row["images"], row["runs"]) == ("SSL", 40, 2)
    assert row["values"] == [1.0, 0.4, None]


def test_without_validation_or_measurement_there_is_nothing(tmp_path: Path) -> None:
    plan, results = made(tmp_path, validated=False)
    assert learning_section(plan, results)["speed"] is None
    for value in (None, {}):
        for finished in results.arms:
            finished.result["cka"] = value
        assert learning_section(plan, results) is None
    earlier = made_results(plan, lambda arm: 0.1 * arm.seed)  # runs that have no cka, and no log
    assert learning_section(plan, earlier) is None


@pytest.mark.parametrize(
    ("score", "expected"), [(0.1, 20), (0.18, 20), (0.2, 40), (0.31, None), (0.0, None)]
)
def test_the_first_step_counts_and_nothing_is_reached_by_zero(
    score: float, expected: int | None
) -> None:
    curve = [(10, 0.0), (20, 0.18), (30, 0.1), (40, 0.3)]
    assert first_step(curve, score) == expected


def test_the_page_shows_both_tables_or_no_section() -> None:
    page = render_report(made_content())
    section = page.split('<section id="learning">')[1].split("</section>")[0]
    assert section.count("<table") == 3
    assert "2,000" in section
    assert "0.530" in section
    assert "1250.5" in section
    assert "2 of 3 runs" in section
    assert "0 of 1 run<" in section
    assert "0.710" in section
    assert 'id="learning"' not in render_report(bare_content())
    content = made_content()
    content["learning"]["speed"] = content["learning"]["teachers"] = None
    assert (
        render_report(content).split('id="learning"')[1].split("</section>")[0].count("<table") == 1
    )
