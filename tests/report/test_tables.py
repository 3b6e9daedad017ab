"""Tables of the report, against numbers made by hand; and the files that other tools read."""

import csv
import io
import re

import numpy as np
import pytest
from scipy import stats

from cxrssl.config.arms import Arm
from cxrssl.core.errors import RunError
from cxrssl.report.faults import fault_section
from cxrssl.report.files import as_csv, as_latex, as_markdown
from cxrssl.report.results import Condition, Results, class_estimate
from cxrssl.report.tables import class_table, table_1, table_2
from made_runs import made_plan, made_result, made_results


def score(arm: Arm) -> float:
    return arm.label_fraction / 4 + 0.05 * (arm.treatment == "ssl") + 0.001 * arm.seed


def test_table_1_has_a_row_a_point_and_paired_differences() -> None:
    plan = made_plan("seeds=[0, 1, 2]")
    table = table_1(plan, made_results(plan, score))
    assert [(row["title"], row["labels"], row["seeds"]) for row in table["rows"]] == [
        ("no SSL", "100 %", 3),
        ("SSL", "50 %", 3),
        ("no SSL", "50 %", 3),
    ]
    ssl, control = table["rows"][1]["cells"][0], table["rows"][2]["cells"][0]
    assert ssl["value"] == pytest.approx(0.176)
    assert ssl["delta"] == pytest.approx(0.05)
    assert ssl["delta_low"] == pytest.approx(0.05, abs=1e-5)  # draws move both almost alike
    assert ssl["delta_low"] < ssl["delta"] < ssl["delta_high"]
    assert ssl["low"] < 0.176 - 1.9 * 0.009
    assert control["delta"] is None
    assert not table["has_paper"]
    assert {cell["paper"] for row in table["rows"] for cell in row["cells"]} == {None}


def test_the_papers_numbers_stand_where_it_has_some() -> None:
    plan = made_plan("data.source=.", name="corrected")
    rows = table_1(plan, made_results(plan, score))["rows"]
    paper = {(row["title"], row["labels"]): row["cells"][0]["paper"] for row in rows}
    assert paper[("no SSL: COCO", "100 %")] == 0.129  # its baseline
    assert paper[("no SSL: ImageNet", "100 %")] is None
    assert paper[("SSL", "90 %")] == 0.142  # its SSL 10 %
    assert paper[("SSL", "10 %")] == 0.060
    assert paper[("no SSL: COCO", "90 %")] is None  # it has no control
    described = made_plan("data.source=.", name="described")  # COCO is what its recipe starts from
    rows = table_1(described, made_results(described, score))["rows"]
    paper = {(row["title"], row["labels"]): row["cells"][0]["paper"] for row in rows}
    assert paper[("no SSL: COCO", "100 %")] == 0.129
    assert paper[("no SSL: ImageNet", "100 %")] is None
    published = made_plan("data.source=.", name="published")
    rows = table_1(published, made_results(published, score))["rows"]
    assert [row["cells"][1]["paper"] for row in rows][:3] == [0.278, 0.284, 0.292]


def test_table_2_has_both_readings_of_readers_and_detectors() -> None:
    plan = made_plan("paper=true", "data.source=.")
    results = made_results(plan, score)
    names = ("iou_mean", "iou_std", "iou_above_0.2_mean", "iou_above_0.2_std")
    pairs = [
        {"a": "R8", "b": other, "images": images}
        | {name: {"value": number / 10} for number, name in enumerate(names)}
        for other, images in (("R9", 4), ("R10", 9))
    ]
    all_pairs = {name: {"value": 0.5} for name in names}
    results.arms[0].result["readers"] = {"pairs": pairs, "images": 13, "between_readers": all_pairs}
    rows = table_2(plan, results)["rows"]
    assert rows.pop(2)["title"] == "all pairs of readers (13 images)"
    assert [row["title"] for row in rows[:2]] == ["R8 and R10 (9 images)", "R8 and R9 (4 images)"]
    assert [cell["paper"] for cell in rows[0]["cells"]] == [None, 0.674]
    assert [cell["paper"] for cell in rows[1]["cells"]] == [0.580, None]
    assert (rows[0]["cells"][1]["mean"], rows[0]["cells"][1]["std"]) == (0.2, 0.3)
    assert rows[2]["title"] == "no SSL, 100 %"
    assert rows[2]["cells"][0]["paper"] == 0.565


def test_a_class_has_the_images_part_and_the_seeds_part() -> None:
    plan = made_plan("seeds=[0, 1, 2]")
    results = made_results(plan, lambda arm: score(arm) + 0.02 * arm.seed)
    arms = results.at(Condition("ssl", 0.5))
    estimate = class_estimate(arms, "ILD", "AP")
    assert estimate is not None
    values = [0.175 + 0.021 * seed for seed in range(3)]
    images, seeds = (0.02 / 1.959964) ** 2, np.var(values, ddof=1) / 3
    freedom = 2 * ((images + seeds) / seeds) ** 2
    half = stats.t.ppf(0.975, freedom) * np.sqrt(images + seeds)
    assert (estimate.value, estimate.low) == pytest.approx((0.196, 0.196 - half))
    table = class_table(plan, results, "AP")
    assert [row["name"] for row in table["rows"]] == ["ILD", "Nodule"]  # more boxes first


def test_the_interval_of_a_class_stays_a_score() -> None:
    plan = made_plan("seeds=[0, 1]")
    for value in (0.01, 0.99):
        arms = made_results(plan, lambda _, v=value: v).at(Condition("ssl", 0.5))
        estimate = class_estimate(arms, "ILD", "AP")
        assert estimate is not None
        assert (estimate.low == 0.0, estimate.high == 1.0) == (value < 0.5, value > 0.5)


def test_arms_of_other_test_images_are_not_compared() -> None:
    plan = made_plan()
    results = made_results(plan, score)
    results.arms[1].result["truth_sha256"] = "another"
    with pytest.raises(RunError, match="different test images or draws"):
        Results(results.arms)


def test_a_score_that_some_seed_lacks_is_no_mean() -> None:
    plan = made_plan("seeds=[0, 1]")
    results = made_results(plan, lambda arm: None if arm.seed else 0.3)
    assert results.mean(Condition("ssl", 0.5), "AP") is None
    cell = table_1(plan, results)["rows"][0]["cells"][0]
    assert (cell["value"], cell["delta"]) == (None, None)


def ladder(arm: Arm) -> float:
    """Give each fault an effect of its own."""
    base = {(): 0.30, ("P4",): 0.40, ("P4", "P5"): 0.40}[arm.faults]
    dropped = 0.0 if arm.label_fraction == 1 else 0.10
    helped = 0.06 if arm.treatment == "ssl" else 0.0
    moved = 0.03 if arm.faults == ("P4", "P5") else 0.0
    return base - dropped + helped + moved


def test_each_fault_adds_its_own_part_to_the_gain() -> None:
    plan = made_plan(name="demo")
    section = fault_section(plan, made_results(plan, ladder))
    assert section is not None
    rows = section["rows"]
    assert len(rows) == 4
    gains = [float(row["cells"][3].split(" ")[0]) for row in rows]
    assert gains == [-0.040, -0.040, -0.010, -0.070]
    changes = [row["cells"][4].split(" ")[0] for row in rows]
    assert changes == ["", "+0.000", "+0.030", "-0.060"]
    assert rows[0]["cells"][5].startswith("+0.060")
    assert rows[1]["cells"][5] == "not run"
    assert rows[3]["cells"][5] == "nothing: it is the same run"
    assert fault_section(made_plan(), made_results(made_plan(), score)) is None


def test_faults_of_a_plan_that_still_runs_are_left_blank() -> None:
    plan = made_plan(name="demo")
    found = made_results(plan, ladder)
    section = fault_section(plan, Results([one for one in found.arms if not one.arm.faults]))
    assert section is not None
    assert [row["cells"][3] == "-" for row in section["rows"]] == [False, True, True, True]


def test_csv_has_every_arm_and_score() -> None:
    plan = made_plan("seeds=[0, 1]")
    found = made_results(plan, score)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(rows) == len(found.arms)
    assert float(rows[2]["AP50"]) == pytest.approx(score(found.arms[2].arm))
    assert float(rows[2]["AP50_high"]) > float(rows[2]["AP50"])
    assert as_csv(Results([])).splitlines() == [
        "treatment,label_fraction,seed,faults,train_images,train_boxes,train_reader_boxes,"
        "train_readings"
    ]


def test_a_difference_is_of_the_seeds_that_its_means_are_of() -> None:
    plan = made_plan("seeds=[0, 1, 2]")
    found = made_results(plan, score)
    fewer = Results([one for one in found.arms if one.arm.name != "control-50-seed2"])
    rows = table_1(plan, fewer)["rows"]
    assert [row["seeds"] for row in rows] == [3, 3, 2]
    assert rows[1]["cells"][0]["delta"] is None


def test_files_have_the_interval_as_it_is() -> None:
    plan = made_plan()
    table = table_1(plan, made_results(plan, lambda _: 0.005))
    assert "0.005 (0.000 to 0.02" in as_markdown("x", [], table, None)
    assert "0.005 (0.000 to 0.02" in as_latex(table)


def test_markdown_has_as_many_cells_in_each_row() -> None:
    plan = made_plan("initialisations.ssl.title='a | b_c'")
    found = made_results(plan, score)
    text = as_markdown("x < y", ["one"], table_1(plan, found), None)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert r"a \| b\_c" in text


def test_latex_escapes_what_means_something_there() -> None:
    plan = made_plan(r"initialisations.ssl.title='5 % & a_b'")
    text = as_latex(table_1(plan, made_results(plan, score)))
    assert r"5 \% \& a\_b & 50 \%" in text
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {8}


def test_a_result_has_the_shape_of_real_ones() -> None:
    assert {"metrics", "replicate_values", "truth_sha256"} <= made_result(0.5).keys()
