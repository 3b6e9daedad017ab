"""Numbers recomputed from the real VinDr-CXR table, as its shipped functions give them.

The table is in the package torchxrayvision and is read there: it is bound by a data-use agreement.
Sizes of images, and so COCO's size bins, are not in it.
"""

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrssl.core.labels import NO_FINDING
from cxrssl.data.fusion import Fused, Marks, fuse
from cxrssl.data.protocol import labelled_ids, split_images
from cxrssl.data.tables import read_table
from cxrssl.describe import describe
from support import ROOT

# The paper's figure 3: images of the training split, and of the oversampled epoch.
CLASS_BALANCE = {
    "Aortic enlargement": (2178, 3782),
    "Pleural thickening": (1560, 3183),
    "Pulmonary fibrosis": (1276, 2671),
    "Cardiomegaly": (1616, 2640),
    "Lung Opacity": (1057, 2490),
    "Pleural effusion": (843, 1997),
    "Other lesion": (885, 1977),
    "Nodule/Mass": (640, 1423),
    "Infiltration": (491, 1150),
    "Consolidation": (301, 926),
    "Calcification": (355, 763),
    "ILD": (314, 679),
    "Atelectasis": (161, 498),
    "Pneumothorax": (81, 324),
}
# Readers, thresholded: mean, deviation and number of overlaps. The paper's table II prints the
# first, as R09 vs R10, and the fourth, as R09 vs R11.
OVERLAPS = {
    ("R8", "R9", False): (0.580, 0.284, 1137),
    ("R8", "R9", True): (0.689, 0.152, 951),
    ("R8", "R10", False): (0.583, 0.265, 1096),
    ("R8", "R10", True): (0.674, 0.149, 943),
    ("R9", "R10", False): (0.564, 0.290, 1192),
    ("R9", "R10", True): (0.676, 0.166, 988),
}
F1 = {("R8", "R9"): (0.586, 0.550), ("R8", "R10"): (0.643, 0.601), ("R9", "R10"): (0.567, 0.528)}


@pytest.fixture(scope="module")
def path() -> Path:
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        pytest.skip("the real table is in torchxrayvision, which is not installed")
    return Path(spec.origin).parent / "data" / "vinbigdata-train.csv.gz"


@pytest.fixture(scope="module")
def published(path: Path) -> dict[str, Any]:
    return describe(path, protocol="published")


@pytest.fixture(scope="module")
def marks(path: Path) -> Marks:
    rows = read_table(path).rows
    rows = rows[rows["category"] != NO_FINDING]
    return Marks(
        rows[["x_min", "y_min", "x_max", "y_max"]].to_numpy(float),
        np.unique(rows["category"], return_inverse=True)[1],
        rows["reader"].to_numpy(str),
        np.unique(rows["image_id"], return_inverse=True)[1],
    )


def test_it_holds_15000_images_read_by_three_of_17(published: dict[str, Any]) -> None:
    assert published["images"] == 15_000
    assert published["images_by_number_of_readers"] == {"3": 15_000}
    assert list(published["images_per_reader"]) == [f"R{n}" for n in range(1, 18)]
    assert published["readers"] == 17
    assert published["boxes"] == 36_096
    assert published["images_with_findings"] == 4_394
    assert published["faults"] == {}


def test_three_readers_read_almost_all_images_with_findings(published: dict[str, Any]) -> None:
    group = published["reader_groups"][0]
    assert group["readers"] == ["R8", "R9", "R10"]
    assert round(100 * group["share"], 1) == 94.4


@pytest.mark.parametrize("protocol", ["published", "described"])
def test_the_papers_splits_have_its_sizes(path: Path, protocol: str) -> None:
    result = describe(path, protocol=protocol)  # type: ignore[arg-type]
    assert result["split"] == {"train": 3075, "val": 440, "test": 879}


def test_the_class_balance_is_that_of_figure_3(published: dict[str, Any]) -> None:
    before, after = published["train_images_per_class"], published["oversampled_images_per_class"]
    assert {name: (before[name], after[name]) for name in before} == CLASS_BALANCE
    assert published["oversampled_epoch"] == 5774
    assert published["oversampled_epoch_expected"] == 4657.9


def test_labelled_sets_have_the_sizes_of_table_1(path: Path) -> None:
    rows = read_table(path).rows
    ids = list(dict.fromkeys(rows["image_id"][rows["category"] != NO_FINDING]))
    train = [
        name for name, split in split_images(ids, protocol="published").items() if split == "train"
    ]
    sizes = [
        len(labelled_ids(train, fraction=tenths / 10, seed=0, protocol="published"))
        for tenths in range(10, 0, -1)
    ]
    assert sizes == [3075, 2767, 2460, 2152, 1845, 1537, 1230, 922, 615, 307]


def test_readers_overlap_as_in_table_2(published: dict[str, Any]) -> None:
    result = {
        (entry["a"], entry["b"], entry["thresholded"]): (
            round(entry["iou_mean"], 3),
            round(entry["iou_std"], 3),
            entry["n"],
        )
        for entry in published["inter_reader"]
    }
    assert result == OVERLAPS


def test_readers_find_each_others_boxes_this_often(published: dict[str, Any]) -> None:
    for entry in published["inter_reader"]:
        scores = round(entry["f1_at_0.4"], 3), round(entry["f1_at_0.5"], 3)
        assert scores == F1[entry["a"], entry["b"]]


def test_eval_scores_the_readers_of_the_real_table(path: Path, tmp_path: Path) -> None:
    assert path.is_file()
    script = [
        sys.executable,
        "benchmarks/human_readers.py",
        "--json",
        str(tmp_path / "readers.json"),
    ]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pairs = json.loads((tmp_path / "readers.json").read_text())["readers"]["pairs"]
    by_names = {(pair["a"], pair["b"]): pair for pair in pairs}
    for names, expected in F1.items():
        entries = [by_names[names][name] for name in ("f1_at_0.4", "f1_at_0.5")]
        assert tuple(round(entry["value"], 3) for entry in entries) == expected
        assert all(entry["low"] < entry["value"] < entry["high"] for entry in entries)
        assert all(f"{value:.3f}" in done.stdout for value in expected)
    for (a, b, thresholded), (mean, std, _) in OVERLAPS.items():
        kind = "iou_above_0.2" if thresholded else "iou"
        values = [by_names[a, b][f"{kind}_{name}"]["value"] for name in ("mean", "std")]
        assert [round(value, 3) for value in values] == [mean, std]


def test_the_published_split_is_no_fair_draw(published: dict[str, Any]) -> None:
    drift = published["split_drift"]["boxes_per_image"]
    assert (round(drift["train"], 2), round(drift["test"], 2)) == (9.20, 5.51)
    assert drift["p_value"] < 0.0005
    assert drift["p_holm"] < 0.005


@pytest.mark.parametrize("protocol", ["described", "corrected"])
def test_the_other_splits_are_fair_draws(path: Path, protocol: str) -> None:
    drift = describe(path, protocol=protocol)["split_drift"]  # type: ignore[arg-type]
    tests = [drift["boxes_per_image"], *drift["per_class"].values()]
    assert len(tests) == 15
    assert min(test["p_holm"] for test in tests) > 0.05


def test_readers_agree_less_where_the_split_is_fair(path: Path) -> None:
    # Not in the paper: its test split holds the images with few boxes, on which agreeing is easier.
    result = describe(path, protocol="corrected")
    assert result["split"] == {"train": 3047, "val": 449, "test": 898}
    scores = {(e["a"], e["b"]): round(e["f1_at_0.4"], 3) for e in result["inter_reader"]}
    assert scores == {("R8", "R9"): 0.499, ("R8", "R10"): 0.547, ("R9", "R10"): 0.496}


def test_fusion_gives_the_papers_boxes(published: dict[str, Any]) -> None:
    assert published["fusion"] == {"policy": "wbf", "iou": 0.2}
    assert published["fused_boxes"] == 21_195
    shares = [round(100 * number / 21_195, 1) for number in published["support"].values()]
    assert list(published["support"]) == ["1", "2", "3"]
    assert shares == [54.0, 20.9, 25.0]


@pytest.mark.slow
def test_the_order_of_readers_moves_the_published_fusion(marks: Marks) -> None:
    ensemble_boxes = pytest.importorskip(
        "ensemble_boxes", reason="the paper's fusion, as an oracle"
    )
    shipped = fuse(marks, policy="wbf", iou=0.2)
    order = np.lexsort((np.arange(len(marks)), marks.images))
    num_boxes = num_differ = 0
    for rows in np.split(order, np.flatnonzero(np.diff(marks.images[order])) + 1):
        own = [rows[marks.readers[rows] == name] for name in dict.fromkeys(marks.readers[rows])]
        boxes, _, labels = ensemble_boxes.weighted_boxes_fusion(
            [marks.boxes[one] / 4096 for one in own],
            [np.ones(len(one)) for one in own],
            [marks.labels[one] for one in own],
            iou_thr=0.2,
        )
        num_boxes += len(boxes)
        num_differ += not _same(shipped, int(marks.images[rows[0]]), boxes * 4096, labels)
    assert num_boxes == 21_211
    assert num_differ == 77


def _same(shipped: Fused, image: int, boxes: np.ndarray, labels: np.ndarray) -> bool:
    own = shipped.images == image
    if Counter(shipped.labels[own].tolist()) != Counter(labels.astype(int).tolist()):
        return False
    order = np.lexsort((*np.round(boxes).T[::-1], labels))
    mine = np.lexsort((*np.round(shipped.boxes[own]).T[::-1], shipped.labels[own]))
    return np.allclose(boxes[order], shipped.boxes[own][mine], atol=0.05)
