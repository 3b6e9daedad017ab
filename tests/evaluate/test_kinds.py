"""Normal, other finding, with boxes: who is counted as what, and false positives by kind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.detection import Example, examples_of
from cxrssl.data.store import Store
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.kinds import kinds_of, normal_of

# Films 0 and 1 have a box, 2 is normal, 3 and 4 have another finding, of 5 nothing is said.
IMAGES: list[dict[str, Any]] = [{"id": n} for n in range(6)]
IMAGES[2]["kind"] = "normal"
IMAGES[3]["kind"] = IMAGES[4]["kind"] = "other finding"
BOX = [0, 0, 10, 10]
TRUTH = {
    "images": IMAGES,
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [{"image_id": n, "category_id": 1, "bbox": BOX} for n in (0, 1)],
}
# Right on 0 and 1; beside them false positives: one on 0, one on 2, three on 3 and 4, two on 5.
FALSE = [50, 50, 10, 10]
FOUND = [(0, BOX, 0.9), (1, BOX, 0.8), (0, FALSE, 0.7), (2, FALSE, 0.7)]
FOUND += [(n, FALSE, 0.7) for n in (3, 3, 4, 5, 5)]


def scores(folder: Path, truth: dict[str, Any]) -> dict[str, Any]:
    found = [{"image_id": n, "category_id": 1, "bbox": b, "score": s} for n, b, s in FOUND]
    (folder / "p.json").write_text(json.dumps(found))
    (folder / "t.json").write_text(json.dumps(truth))
    paths = folder / "p.json", folder / "t.json"
    return evaluate_files(*paths, consensus_iou=0.2, bootstrap=Bootstrap(0))


def test_false_positives_are_told_for_each_kind(tmp_path: Path) -> None:
    content = scores(tmp_path, TRUTH)
    assert content["kinds"] == {
        "with boxes": 2, "normal": 1, "other finding": 2, "without boxes": 1
    }  # fmt: skip
    last = content["operating_points"][-2]
    assert last["point"] == "8 false positives an image"
    expected = {"with boxes": 0.5, "normal": 1.0, "other finding": 1.5, "without boxes": 2.0}
    assert last["fp_per_image_by_kind"] == expected
    # As COCO has it, an image of which nothing is said counts as normal: 3 on two films.
    assert last["fp_per_normal_image"] == 1.5
    froc = content["curves"]["froc"]
    assert {kind: values[-1] for kind, values in froc["fp_per_image_by_kind"].items()} == expected


def test_a_kind_that_is_none_or_contradicts_the_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image 5 is of kind 'Normal'; expected 'normal' or"):
        scores(tmp_path, TRUTH | {"images": [*IMAGES[:5], {"id": 5, "kind": "Normal"}]})
    with pytest.raises(DataError, match=r"image 0 is of kind 'normal', and annotations name it"):
        scores(tmp_path, TRUTH | {"images": [{"id": 0, "kind": "normal"}, *IMAGES[1:]]})


def example(*, boxes: int = 0, marks: int = 0, looked: tuple[str, ...] = ()) -> Example:
    none = np.zeros(0, np.int64)
    return Example(
        0,
        "film",
        np.zeros((boxes, 4), np.float32),
        none,
        none,
        np.zeros((marks, 4), np.float32),
        none,
        ("R1",) * marks,
        none,
        looked,
    )


def test_an_image_that_nobody_marked_is_not_called_normal(store: Store) -> None:
    kinds = kinds_of(
        store,
        [
            example(boxes=1, marks=2, looked=("R1", "R2")),
            example(marks=1, looked=("R1", "R2")),  # its box is not the truth's
            example(looked=("R1",)),
            example(),
        ],
    )
    # Its source does not say more of the third than that it was read.
    assert kinds == ("with boxes", "other finding", "without boxes", "not read")
    assert normal_of(kinds).tolist() == [False, False, True, False]


def test_normal_films_of_a_store_are_those_read_as_no_finding(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    kinds = dict(zip((e.image_id for e in examples), kinds_of(store, examples), strict=True))
    marked = set(store.findings.loc[store.findings["category"].ne("No finding"), "image_id"])
    read = set(store.findings["image_id"])
    assert {name for name, kind in kinds.items() if kind == "normal"} == read - marked != set()
