"""A store that counts the detector's classes in another order is scored by their names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.data.detection import examples_of
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import Extras, evaluate
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.points_file import PointChoice
from cxrssl.finetune import finetune
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.predict import predict
from support import finetune_recipe, run_cxrssl

NUM, SIDE = 60, 100
# A CSV file's classes are sorted; COCO's have the order of its list.
CLASSES = ("effusion", "mass", "nodule")
COCO_ORDER = ("nodule", "effusion", "mass")
READERS = ("A", "B")
DRAWS = Bootstrap(50, 1)


def drawn() -> list[tuple[int, str, str, list[float]]]:
    """Return film, reader, class and box [x_min, y_min, x_max, y_max], sorted by film."""
    draws = np.random.default_rng(7)
    rows = []
    for film in range(NUM):
        for place, label in enumerate(CLASSES):
            if draws.random() > 0.3 + 0.2 * place:
                continue
            x, y = draws.integers(0, 40, 2).tolist()
            box = [x, y, x + 20.0 + 20 * place, y + 20.0 + 20 * place]
            rows += [(film, reader, label, [v + n for v in box]) for n, reader in enumerate("AB")]
    return rows


def films(folder: Path) -> Path:
    """Draw films on which a class is a square of its own grey level."""
    folder.mkdir()
    draws = np.random.default_rng(8)
    pixels = draws.integers(0, 60, (NUM, SIDE, SIDE)).astype(np.uint8)
    for film, _, label, box in drawn():
        x0, y0, x1, y1 = (int(value) for value in box)
        pixels[film, y0:y1, x0:x1] += 60 * (1 + CLASSES.index(label)) // 3
    for film in range(NUM):
        Image.fromarray(pixels[film]).save(folder / f"film{film:02}.png")
    return folder


def from_csv(folder: Path) -> Path:
    lines = [
        f"film{film:02}.png,{reader},{label},{','.join(map(str, box))}"
        for film, reader, label, box in drawn()
    ]
    heads = "file,reader,category,x_min,y_min,x_max,y_max"
    (films(folder) / "boxes.csv").write_text("\n".join([heads, *lines, ""]))
    return folder


def from_coco(folder: Path, names: tuple[str, ...] = COCO_ORDER) -> Path:
    boxes = [
        {
            "image_id": film,
            "reader": reader,
            "category_id": COCO_ORDER.index(label) + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for film, reader, label, box in drawn()
    ]
    has_box = {film for film, *_ in drawn()}
    document = {
        "images": [
            {"id": n, "file_name": f"film{n:02}.png", "width": SIDE, "height": SIDE}
            for n in range(NUM)
            if n in has_box
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        "annotations": boxes,
    }
    (films(folder) / "labels.json").write_text(json.dumps(document))
    return folder


def stored(source: Path, store: Path) -> Path:
    assert not ingest(source, store, Settings(64), num_workers=1).failures
    return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("orders")
    return {
        "csv": stored(from_csv(folder / "of_csv"), folder / "csv"),
        "coco": stored(from_coco(folder / "of_coco"), folder / "coco"),
    }


@pytest.fixture(scope="module")
def run(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a little on the store of the CSV file, at all scores."""
    out = tmp_path_factory.mktemp("runs") / "run"
    changes = ("model.score_threshold=0.0", "data.normals=false", "max_steps=40", "epochs=4")
    finetune(finetune_recipe(stores["csv"], *changes), out, resume=False)
    return out


def scores(run: Path, store: Path, **extras: Any) -> dict[str, Any]:  # noqa: ANN401 - as Extras
    content = evaluate(run, store, bootstrap=DRAWS, extras=Extras(**extras))
    assert content is not None
    return content


def test_the_stores_differ_in_nothing_but_the_order_of_their_classes(
    stores: dict[str, Path],
) -> None:
    csv, coco = Store(stores["csv"]), Store(stores["coco"])
    assert (csv.classes, coco.classes) == (CLASSES, COCO_ORDER)
    same = coco.numbered_as(CLASSES)
    assert same.classes == CLASSES
    assert coco.classes == COCO_ORDER
    held = [image.image_id for image in coco.images]
    ours, theirs = (
        {e.image_id: e for e in examples_of(store, fusion="consensus", iou=0.2)}
        for store in (csv, same)
    )
    for name in held:
        np.testing.assert_array_equal(ours[name].labels, theirs[name].labels)
        np.testing.assert_array_equal(ours[name].boxes, theirs[name].boxes)
    with pytest.raises(DataError, match="holds the classes nodule, effusion, mass; expected mass"):
        coco.numbered_as(("mass",))


def test_scores_are_those_of_a_store_with_the_detectors_order(
    run: Path, stores: dict[str, Path]
) -> None:
    ours, theirs = (scores(run, stores[name], choose_on="val") for name in ("csv", "coco"))
    # Something is found, and not the same of each class: names that were exchanged would show.
    froc = [ours["per_class"][name]["AP40"]["value"] for name in CLASSES]
    assert len({*froc}) == len(CLASSES)
    assert ours["prior"]["boxes"]
    assert [*theirs["per_class"]] == [*CLASSES]
    fingerprints = [
        content["chosen_points"]["chosen_on"].pop("store_fingerprint") for content in (ours, theirs)
    ]
    assert fingerprints[0] != fingerprints[1]
    notes = [content.pop("notes") for content in (ours, theirs)]
    assert [note for note in notes[1] if note not in notes[0]] == [
        f"{stores['coco']} has the detector's classes in another order; they were matched by name"
    ]
    assert ours == theirs


def test_they_are_those_that_the_run_wrote_and_pair_with_its_files(
    run: Path, stores: dict[str, Path]
) -> None:
    written = json.loads((run / "metrics.json").read_text())
    found = scores(run, stores["coco"], against=run / "predictions.json")
    assert found["prior"]["boxes"] == written["prior"]["boxes"]
    for name in CLASSES:
        for score, entry in found["per_class"][name].items():
            assert entry["value"] == written["per_class"][name][score]["value"], (name, score)
    gaps = [entry["delta"] for entry in found["against"]["metrics"].values()]
    assert {gap for gap in gaps if gap is not None} == {0.0}


@pytest.mark.slow
def test_operating_points_that_are_chosen_there_are_used_by_name(
    run: Path, stores: dict[str, Path], tmp_path: Path
) -> None:
    points = tmp_path / "points.json"
    options = ("--operating-points", points, "--replicates", 0, "--json", tmp_path / "s.json")
    done = run_cxrssl("eval", run, "--data", stores["coco"], *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(points.read_text())
    assert content["classes"] == [*CLASSES]
    assert content == json.loads((tmp_path / "s.json").read_text())["chosen_points"]
    by_class = next(point for point in content["points"] if point["name"] == "f1_by_class")
    films = stores["coco"].parent / "of_coco"
    choice = PointChoice(points, "f1_by_class")
    predict([run], [films / "film01.png"], tmp_path / "out", threshold=choice, formats=["coco"])
    shown = json.loads((tmp_path / "out/predictions.json").read_text())
    names = {entry["id"]: entry["name"] for entry in shown["categories"]}
    for found in shown["annotations"]:
        assert found["score"] >= by_class["thresholds"][names[found["category_id"]]] - 1e-6


def test_detectors_of_two_orders_are_paired_by_predictions_and_not_by_scores(
    run: Path, stores: dict[str, Path], tmp_path: Path
) -> None:
    changes = ("model.score_threshold=0.0", "data.normals=false", "max_steps=2")
    other = tmp_path / "other"
    finetune(finetune_recipe(stores["coco"], *changes), other, resume=False)
    (tmp_path / "s.json").write_text(json.dumps(scores(other, stores["csv"])))
    with pytest.raises(DataError, match=r"classes in another order \(nodule, effusion, mass; here"):
        scores(run, stores["csv"], against=tmp_path / "s.json")
    ours = scores(run, stores["csv"], against=other / "predictions.json")
    theirs = json.loads((other / "metrics.json").read_text())
    for name, entry in ours["against"]["metrics"].items():
        expected = theirs["metrics"][name]["value"]
        assert entry["other"] == pytest.approx(expected, abs=1e-9, nan_ok=True) or expected is None


def test_a_store_with_other_names_is_refused_with_what_each_side_lacks(
    run: Path, tmp_path: Path
) -> None:
    names = ("Nodule", "effusion", "mass")
    store = stored(from_coco(tmp_path / "films", names), tmp_path / "store")
    message = (
        r"run and .*store have different classes: .*run alone has nodule; .*store alone has "
        r"Nodule; both have 2 class\(es\)\. Evaluate on a store with the detector's classes"
    )
    with pytest.raises(DataError, match=message):
        evaluate(run, store)
