"""A plan with folds: every film is tested on once, by a run that saw no film of its patient."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cxrssl.config.arms import arms_of, in_folds, run_arms_of
from cxrssl.config.load import to_yaml
from cxrssl.config.plan import Plan
from cxrssl.core.errors import RecipeError, RunError
from cxrssl.data.detection import examples_of, splits_of
from cxrssl.data.protocol import folds_of
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions
from cxrssl.evaluate.original import write_predictions
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.metrics.annotations import Detections
from cxrssl.report.folds import pooled_result
from cxrssl.report.results import read_results
from cxrssl.reproduce.folds import split_file, write_folds
from cxrssl.reproduce.images import PlanImages
from cxrssl.reproduce.jobs import data_jobs, trainings
from made_runs import made_plan

FOLDS = 3
PATIENTS = [f"p{number // 2}" for number in range(24)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 films of 12 patients, and one that was not read."""
    folder = tmp_path_factory.mktemp("films")
    rows = ["image,label,xmin,ymin,xmax,ymax,patient"]
    generator = np.random.default_rng(0)
    for number, patient in enumerate([*PATIENTS, ""]):
        noise = generator.integers(0, 256, (40, 40), np.uint8)
        Image.fromarray(noise).save(folder / f"f{number:02d}.png")
        if patient:
            x, y = generator.integers(0, 20, 2)
            label = ("mass", "node")[number % 2]
            rows.append(f"f{number:02d}.png,{label},{x},{y},{x + 12},{y + 10},{patient}")
    (folder / "boxes.csv").write_text("\n".join(rows))
    return folder


def plan(films: Path, *changes: str) -> Plan:
    return made_plan(f"data.source={films}", f"data.folds={FOLDS}", *changes)


def test_folds_are_of_one_size_and_keep_patients_together() -> None:
    ids = [f"i{number}" for number in range(100)]
    fold_of = folds_of(ids, patients={}, num_folds=7)
    assert set(Counter(fold_of.values()).values()) == {14, 15}
    assert fold_of == folds_of(ids[::-1], patients={}, num_folds=7)
    patients = {name: f"p{number // 3}" for number, name in enumerate(ids)}
    by_patient = folds_of(ids, patients=patients, num_folds=5)
    folds = {(patients[name], fold) for name, fold in by_patient.items()}
    assert len(folds) == len(set(patients.values()))
    assert max(Counter(by_patient.values()).values()) <= 22


def test_every_film_is_in_the_test_of_one_fold(films: Path, tmp_path: Path) -> None:
    with_folds = plan(films)
    write_folds(with_folds, tmp_path)
    tested: list[str] = []
    for fold in range(1, FOLDS + 1):
        with split_file(tmp_path, fold).open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 24
        test = [row["image"] for row in rows if row["split"] == "test"]
        tested += test
        store = tmp_path / f"store{fold}"
        options = ReadOptions(split=str(split_file(tmp_path, fold)))
        ingest(films, store, Settings(16), options=options, num_workers=1)
        splits = splits_of(Store(store), protocol="corrected", normals=True)
        assert {name for name, split in splits.items() if split == "test"} == set(test)
    assert sorted(tested) == [f"f{number:02d}" for number in range(24)]
    images = PlanImages(with_folds, tmp_path)
    assert images.splits("corrected", normals=True) == splits_of(
        Store(tmp_path / "store1"), protocol="corrected", normals=True
    )
    write_folds(with_folds, tmp_path)
    split_file(tmp_path, 2).write_text("image,split\n")
    with pytest.raises(RunError, match="divides other films"):
        write_folds(with_folds, tmp_path)


def test_each_run_is_made_once_a_fold_on_the_store_of_its_fold(films: Path, tmp_path: Path) -> None:
    with_folds = plan(films)
    runs = trainings(with_folds, tmp_path)
    without = trainings(made_plan(f"data.source={films}"), tmp_path)
    assert len(runs) == FOLDS * len(without)
    names = {run.job.name for run in runs}
    assert len(names) == len(runs)
    jobs = {job.name: job for job in data_jobs(with_folds, tmp_path)}
    for run in runs:
        fold = run.job.name.split("-fold")[1].split("-")[0]
        assert run.recipe.data.store == tmp_path / f"store-fold{fold}"
        assert f"ingest-fold{fold}" in run.job.needs
        assert all(f"fold{fold}" in need for need in run.job.needs)
        ingest_job = jobs[f"ingest-fold{fold}"]
        assert ingest_job.product.parent == run.recipe.data.store
        assert str(split_file(tmp_path, int(fold))) in ingest_job.arguments
    assert {arm.name for arm in run_arms_of(with_folds)} <= names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.split=folders"], "folds divide the films themselves"),
        (["data.source=null"], "folds need a source folder"),
        (["data.folds=1"], "greater than or equal to 2"),
        (["faults=[0.5]"], "without faults"),
    ],
)
def test_folds_that_can_not_be_are_refused(films: Path, changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan(films, *changes)


def test_a_split_of_the_source_and_folds_exclude_each_other(tmp_path: Path) -> None:
    rows = ["image,label,xmin,ymin,xmax,ymax,split"]
    for number in range(8):
        Image.new("L", (16, 16), number).save(tmp_path / f"{number}.png")
        rows.append(f"{number},mass,1,2,9,9,{('train', 'test')[number % 2]}")
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    with pytest.raises(RunError, match=r"Say data\.split=none"):
        PlanImages(plan(tmp_path), tmp_path / "out").splits("corrected", normals=True)
    images = PlanImages(plan(tmp_path, "data.split=none"), tmp_path / "out")
    assert len(images.splits("corrected", normals=True)) == 8


def test_more_folds_than_patients_are_refused(films: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"data\.folds is 15, and .* has 12 films or patients"):
        write_folds(plan(films, "data.folds=15"), tmp_path)


def test_pooled_scores_are_those_of_all_films(films: Path, tmp_path: Path) -> None:
    with_folds = plan(films, "seeds=[0]")
    ingest(films, tmp_path / "store", Settings(16), num_workers=1)
    store = Store(tmp_path / "store")
    arm = next(arm for arm in arms_of(with_folds) if arm.pretraining is None)
    fold_of = folds_of(
        [image.image_id for image in store.images if image.patient],
        patients={image.image_id: image.patient for image in store.images},
        num_folds=FOLDS,
    )
    recipes = {run.job.name: run.recipe for run in trainings(with_folds, tmp_path)}
    examples = examples_of(store, fusion="consensus", iou=0.2)
    generator, results = np.random.default_rng(1), []
    for number, run in enumerate(in_folds(with_folds, arm), start=1):
        folder = tmp_path / run.name
        folder.mkdir()
        test = [e for e in examples if fold_of.get(e.image_id) == number]
        boxes = np.concatenate([e.boxes_original_px for e in test])
        boxes = boxes + generator.normal(0, 2, boxes.shape)
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(2)
        found = Detections(
            np.arange(len(test)),
            np.concatenate([e.labels for e in test]),
            xywh,
            generator.random(len(test)).round(3),
        )
        write_predictions(folder / "predictions.json", found, test, store)
        (folder / "recipe.yaml").write_text(to_yaml(recipes[run.name]))
        counts = {"train_images": 10 + number, "train_boxes": 20}
        (folder / "metrics.json").write_text(json.dumps(counts))
        results += json.loads((folder / "predictions.json").read_text())["annotations"]
        finished = read_results(tmp_path, with_folds).arms
        assert len(finished) == (number == FOLDS), "an arm is finished with its last fold"
    result = finished[0].result
    assert result["n_images"] == 24
    assert result["train_images"] == 12
    assert result["metrics"]["AP"]["value"] == pytest.approx(judged(examples, results), abs=1e-6)
    folders = finished[0].folders
    assert len(folders) == FOLDS
    kept = tmp_path / "folds" / f"{arm.name}.json"
    before = kept.stat().st_mtime_ns
    assert pooled_result(tmp_path, arm, folders) == result
    assert kept.stat().st_mtime_ns == before, "it is not scored again"
    twice = json.loads((folders[0] / "predictions.json").read_text())
    (folders[1] / "predictions.json").write_text(json.dumps(twice))
    (folders[1] / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match="an image is in the test of two folds"):
        pooled_result(tmp_path, arm, folders)


def judged(examples: list, results: list) -> float:  # type: ignore[type-arg]
    """Return pycocotools' AP of detections on all examples that were read."""
    read = [example for example in examples if len(example.boxes)]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": example.image_id} for example in read],
        "categories": [{"id": 1, "name": "mass"}, {"id": 2, "name": "node"}],
        "annotations": [
            {
                "id": number, "image_id": example.image_id, "iscrowd": 0,
                "category_id": int(label) + 1, "bbox": [*box[:2], *(box[2:] - box[:2])],
                "area": float(np.prod(box[2:] - box[:2])),
            }
            for number, (example, box, label) in enumerate(
                (
                    (example, box, label)
                    for example in read
                    for box, label in zip(example.boxes_original_px, example.labels, strict=True)
                ),
                start=1,
            )
        ],
    }  # fmt: skip
    truth.createIndex()
    entries = [{**entry, "id": number} for number, entry in enumerate(results, start=1)]
    evaluation = COCOeval(truth, truth.loadRes(entries), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])
