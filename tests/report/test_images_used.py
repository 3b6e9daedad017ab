"""The report's images: a row a share of the labels, seeds taken together, every reason in words."""

from pathlib import Path
from typing import Any

from cxrssl.config.arms import arms_of
from cxrssl.report.html import render_report
from cxrssl.report.images_used import images_used
from cxrssl.report.results import FinishedArm, Results
from made_runs import made_plan, made_result
from page_content import made_content


def usage(*, train: int, boxes: int, left_out: dict[str, int]) -> dict[str, Any]:
    used = {"train": train, "test": 26}
    return {
        "stored": 346,
        "used": used,
        "boxes": {"train": boxes, "test": 1},
        "left_out": left_out,
        "marks": 0,
        "marks_left_out": 0,
        "not_stored": 0,
    }


def results() -> Results:
    plan = made_plan("seeds=[0, 1]", "label_fractions=[0.5, 1.0]", "faults=[]")
    finished = []
    for arm in arms_of(plan):
        normal = {"without a finding (data.normals is false)": 217}
        hidden = {"whose labels are not seen (data.label_fraction is 0.5)": 51}
        record = (
            usage(train=103, boxes=1200, left_out=normal)
            if arm.label_fraction == 1
            else usage(train=52, boxes=600 + 7 * arm.seed, left_out=normal | hidden)
        )
        result = made_result(0.3) | {"usage": record}
        finished.append(FinishedArm(arm, Path("runs/x") / arm.name, result))
    return Results(finished)


def test_each_share_of_the_labels_has_a_row_of_what_was_used_and_left_out() -> None:
    section = images_used(results())
    assert section is not None
    assert (section["stored"], section["not_stored"]) == (346, 0)
    none = {"images": "0", "boxes": "0"}
    test = {"images": "26", "boxes": "1"}
    assert section["rows"] == [
        {
            "labels": "50 %",
            "parts": [{"images": "52", "boxes": "600 to 607"}, none, test],
            "num_left_out": "268",
            "left_out": "217 without a finding (data.normals is false); 51 whose labels are not "
            "seen (data.label_fraction is 0.5)",
        },
        {
            "labels": "100 %",
            "parts": [{"images": "103", "boxes": "1,200"}, none, test],
            "num_left_out": "217",
            "left_out": "217 without a finding (data.normals is false)",
        },
    ]
    page = render_report(made_content() | {"images_used": section})
    assert "217 without a finding (data.normals is false); 51 whose labels" in page
    assert '<a href="#images">Images</a>' in page


def test_folds_are_told_together_each_film_in_the_test_of_one() -> None:
    finished = results().arms[0]
    folds = [usage(train=8 + n, boxes=90, left_out={"for validation": 4 - n}) for n in (0, 1)]
    folders = (Path("runs/x/fold1"), Path("runs/x/fold2"))
    result = {name: v for name, v in finished.result.items() if name != "usage"}
    pooled = FinishedArm(finished.arm, folders[0], result | {"usages": folds}, folders)
    section = images_used(Results([pooled]))
    assert section is not None
    assert section["folds"] == 2
    assert section["rows"][0]["parts"][0]["images"] == "8 to 9"
    assert section["rows"][0]["left_out"] == "3 to 4 for validation"
    page = render_report(made_content() | {"images_used": section})
    assert "every film is in the test of one of them" in page


def test_runs_of_earlier_versions_say_nothing() -> None:
    plan = made_plan()
    arm = arms_of(plan)[0]
    before = Results([FinishedArm(arm, Path("runs/x"), made_result(0.3))])
    assert images_used(before) is None
    assert 'id="images"' not in render_report(made_content() | {"images_used": None})
