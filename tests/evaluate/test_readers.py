"""Readers against each other and the rest, and a model in their place: by hand on small cases."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrssl.core.errors import DataError
from cxrssl.evaluate.files import evaluate_files, evaluate_readers
from cxrssl.evaluate.intervals import Bootstrap

BOOTSTRAP = Bootstrap(100)
HERE, THERE, BESIDE = [10, 10, 20, 20], [100, 100, 20, 20], [12, 10, 20, 20]


def mark(image: int, reader: str, box: list[float] | None = None, kind: int = 1) -> dict[str, Any]:
    return {"image_id": image, "category_id": kind, "bbox": box or HERE, "reader": reader}


def document(
    marks: list[dict[str, Any]], *, num: int = 12, looked: list[str] | None = None
) -> dict[str, Any]:
    return {
        "images": [{"id": n} | ({"readers": looked} if looked else {}) for n in range(num)],
        "categories": [{"id": 1, "name": "Nodule/Mass"}, {"id": 2, "name": "ILD"}],
        "annotations": marks,
    }


def readers_of(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    path = folder / "readers.json"
    path.write_text(json.dumps(content))
    readers: dict[str, Any] = evaluate_readers(path, consensus_iou=0.2, bootstrap=BOOTSTRAP)[
        "readers"
    ]
    return readers


def with_model(
    folder: Path, marks: list[dict[str, Any]], results: list[dict[str, Any]], num: int = 12
) -> dict[str, Any]:
    contents = {"p": results, "t": document([], num=num), "r": document(marks, num=num)}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    paths = (folder / f"{name}.json" for name in contents)
    readers: dict[str, Any] = evaluate_files(*paths, consensus_iou=0.2, bootstrap=BOOTSTRAP)[
        "readers"
    ]
    return readers


def f1(scores: dict[str, Any]) -> float:
    value: float = scores["f1_at_0.4"]["value"]
    return value


def test_two_readers_who_agree_in_half_of_the_images(tmp_path: Path) -> None:
    marks = [mark(n, "R1") for n in range(12)]
    marks += [mark(n, "R2", BESIDE if n % 2 else THERE) for n in range(12)]
    readers = readers_of(tmp_path, document(marks))
    pair = readers["pairs"][0]
    assert (pair["a"], pair["b"], pair["images"]) == ("R1", "R2", 12)
    assert f1(pair) == f1(readers["between_readers"]) == pytest.approx(0.5)
    assert pair["iou_above_0.2_mean"]["value"] == pytest.approx(18 / 22)
    assert pair["iou_mean"]["value"] == pytest.approx(9 / 22)
    assert pair["f1_at_0.4"]["low"] < 0.5 < pair["f1_at_0.4"]["high"]


def test_an_image_where_one_drew_nothing_counts_if_both_looked(tmp_path: Path) -> None:
    marks = [mark(n, "R1") for n in range(12)] + [mark(n, "R2") for n in range(6)]
    everyone = readers_of(tmp_path, document(marks))
    assert everyone["looked"] == "every reader at every image"
    assert f1(everyone["pairs"][0]) == pytest.approx(12 / 18)
    content = document(marks, looked=["R1"])
    for image in content["images"][:11]:
        image["readers"] = ["R1", "R2"] if image["id"] < 6 else ["R1", "R3"]
    listed = readers_of(tmp_path, content)
    assert listed["looked"] == "as listed"
    assert listed["images"] == 11
    # R1 and R2 looked at six images together and agree; R3 drew in none of theirs.
    assert f1(listed["between_readers"]) == pytest.approx(2 * 6 / (12 + 5))
    # A pair with less than ten images is no row of its own.
    assert listed["pairs"] == []


def test_each_reader_meets_what_the_others_drew_together(tmp_path: Path) -> None:
    marks = [mark(n, reader) for n in range(12) for reader in ("R1", "R2")]
    marks += [mark(n, "R3", THERE) for n in range(12)]
    readers = readers_of(tmp_path, document(marks))
    by_reader = {row["reader"]: f1(row) for row in readers["leave_one_out"]}
    # R1 meets R2's box and R3's; R3 meets one box that two drew alike.
    assert by_reader == {"R1": pytest.approx(2 / 3), "R2": pytest.approx(2 / 3), "R3": 0}
    assert f1(readers["between_readers"]) == pytest.approx(1 / 3)


def test_a_model_is_compared_where_it_has_as_many_boxes_as_a_reader(tmp_path: Path) -> None:
    marks = [mark(n, reader) for n in range(12) for reader in ("R1", "R2")]
    results = [
        {"image_id": n, "category_id": 1, "bbox": box, "score": score}
        for n in range(12)
        for box, score in ((HERE, 0.8 + n / 100), (THERE, 0.3))
    ]
    readers = with_model(tmp_path, marks, results)
    # Readers draw twelve boxes each; the twelve strongest detections are scored 0.8 and more.
    assert readers["score_threshold"] == pytest.approx(0.8)
    assert f1(readers["model"]) == 1
    assert readers["difference"]["f1_at_0.4"]["delta"] == 0
    every_draw = "can't be told: every draw of these images gives this difference"
    assert readers["verdict"] == every_draw
    assert [f1(row["model"]) for row in readers["leave_one_out"]] == [1, 1]


@pytest.mark.parametrize(
    ("readers_agree", "model_agrees", "verdict"),
    [
        (0.9, 0.4, "the model agrees with the readers less than they do with each other"),
        (0.3, 1.0, "the model agrees with the readers more than they do with each other"),
    ],
)
def test_the_verdict_follows_the_interval(
    tmp_path: Path, readers_agree: float, model_agrees: float, verdict: str
) -> None:
    generator = np.random.default_rng(0)
    num = 100
    agree, hits = generator.random(num) < readers_agree, generator.random(num) < model_agrees
    marks = [mark(n, "R1") for n in range(num)]
    marks += [mark(n, "R2", HERE if agree[n] else THERE) for n in range(num)]
    results = [
        {"image_id": n, "category_id": 1, "bbox": HERE if hits[n] else [200, 9, 9, 9], "score": 0.5}
        for n in range(num)
    ]
    readers = with_model(tmp_path, marks, results, num)
    assert readers["verdict"] == verdict
    gap = readers["difference"]["f1_at_0.4"]
    assert gap["delta"] == pytest.approx(f1(readers["model"]) - f1(readers["between_readers"]))
    assert gap["low"] < gap["delta"] < gap["high"]


def test_a_model_that_finds_nothing_is_no_crash(tmp_path: Path) -> None:
    marks = [mark(n, reader) for n in range(12) for reader in ("R1", "R2")]
    readers = with_model(tmp_path, marks, [])
    assert f1(readers["model"]) == 0
    assert readers["model"]["iou_mean"]["value"] is None
    assert readers["score_threshold"] is None


def test_images_with_many_readers_do_not_weigh_more_between_readers_than_for_the_model(
    tmp_path: Path,
) -> None:
    # Eight readers look at easy images, of whom six agree; two at hard ones, and never agree.
    names = [f"R{k}" for k in range(1, 9)]
    marks, content = [], document([], num=20)
    for n, image in enumerate(content["images"]):
        image["readers"] = names if n < 10 else names[:2]
        for k, name in enumerate(image["readers"]):
            disagrees = (k >= 6) if n < 10 else (k == 1)
            marks.append(mark(n, name, [200 * k, 300, 20, 20] if disagrees else HERE))
    (tmp_path / "r.json").write_text(json.dumps(content | {"annotations": marks}))
    readers = evaluate_readers(tmp_path / "r.json", consensus_iou=0.2, bootstrap=BOOTSTRAP)[
        "readers"
    ]
    # Of 28 pairs 15 agree, of the others none; an image counts as often as it has readers.
    assert f1(readers["between_readers"]) == pytest.approx(8 * 15 / 28 / (8 + 2))


def test_tied_scores_are_kept_together_and_said(tmp_path: Path) -> None:
    marks = [mark(n, reader) for n in range(12) for reader in ("R1", "R2")]
    results = [
        {"image_id": n, "category_id": 1, "bbox": [40 * k, 10, 20, 20], "score": 1.0}
        for n in range(12)
        for k in range(5)
    ]
    readers = with_model(tmp_path, marks, results)
    assert (readers["model_boxes"], readers["boxes_a_reader_draws"]) == (60, 12)


def test_classes_do_not_mix(tmp_path: Path) -> None:
    marks = [mark(n, "R1", kind=1) for n in range(12)] + [mark(n, "R2", kind=2) for n in range(12)]
    assert f1(readers_of(tmp_path, document(marks))["pairs"][0]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (document([mark(0, "R1"), mark(1, "")]), "1 of 2 annotations name no reader"),
        (document([mark(0, "R1")]), "no image was looked at by two of its 1 reader"),
        (
            document([mark(0, "R9"), mark(0, "R1")], looked=["R1", "R2"]),
            "R9 drew on image 0, and is not among its readers",
        ),
    ],
)
def test_readers_that_are_not_told_apart_are_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        readers_of(tmp_path, content)


def test_a_crowd_has_no_reader(tmp_path: Path) -> None:
    marks = [mark(0, reader) | {"iscrowd": 1} for reader in ("R1", "R2")]
    with pytest.raises(DataError, match="2 annotations are crowds, which no reader draws"):
        readers_of(tmp_path, document(marks))


def test_readers_of_images_that_the_truth_lacks_are_refused(tmp_path: Path) -> None:
    marks = [mark(n, reader) for n in range(12) for reader in ("R1", "R2")]
    for name, content in (("p", []), ("t", document([], num=5)), ("r", document(marks))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"r.json: 7 image id.s. are not listed by the truth"):
        evaluate_files(
            *(tmp_path / f"{name}.json" for name in "ptr"), consensus_iou=0.2, bootstrap=BOOTSTRAP
        )
