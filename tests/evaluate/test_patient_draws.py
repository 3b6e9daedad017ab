"""A store with patients: draws are of patients, and a run's labels are known again."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cxrssl.config.load import to_yaml
from cxrssl.data.detection import examples_of
from cxrssl.data.licence_terms import data_record
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions
from cxrssl.evaluate.settings import settings_of
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.evaluate.training_images import overlap_remarks, training_examples
from cxrssl.finetune.splits import labelled_splits
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from support import finetune_recipe


def test_images_of_a_patient_are_drawn_together(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    rows = ["image,label,xmin,ymin,xmax,ymax,patient"]
    for number, patient in enumerate(["p", "q", "p", ""]):
        noise = np.random.default_rng(number).integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        rows.append(f"{number}.png,mass,1,2,9,9,{patient}")
    (folder / "boxes.csv").write_text("\n".join(rows))
    ingest(folder, tmp_path / "store", Settings(16), num_workers=1)
    store = Store(tmp_path / "store")
    examples = examples_of(store, fusion="consensus", iou=0.4)
    clusters = inputs_of_store(store, examples).clusters
    assert clusters is not None
    assert clusters[0] == clusters[2]
    assert len(set(clusters.tolist())) == 3, "an image without a patient is one of its own"
    assert inputs_of_store(store, examples[:2]).clusters is None, "to draw images is the same"


def test_the_labels_that_a_run_saw_are_known_where_there_are_patients(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    rows = ["image,label,xmin,ymin,xmax,ymax,patient"]
    for number in range(40):
        noise = np.random.default_rng(number).integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        rows.append(f"{number}.png,mass,1,2,9,9,p{number // 4}")
    (folder / "boxes.csv").write_text("\n".join(rows))
    ingest(folder, tmp_path / "store", Settings(16), num_workers=1)
    store, run = Store(tmp_path / "store"), tmp_path / "run"
    recipe = finetune_recipe(store.folder, "data.label_fraction=0.5", "data.normals=true")
    train = labelled_splits(store, recipe).train
    run.mkdir()
    (run / "recipe.yaml").write_text(to_yaml(recipe))
    record = {"images": data_record(store, {"train": [e.image_id for e in train]})["images"]}
    (run / "provenance.json").write_text(json.dumps(record))
    settings, _ = settings_of(run)
    examples = examples_of(store, fusion="consensus", iou=0.2)
    chosen, words = training_examples(store, examples, run, settings, "corrected")
    assert [e.image_id for e in chosen] == [e.image_id for e in train]
    assert "whose labels the detector's run saw" in words
    assert overlap_remarks(store, run, labelled_splits(store, recipe).test).warnings == ()
    file = tmp_path / "split.csv"
    held_out = {e.image_id for e in train[:3]}
    rows = [f"{n},{'test' if str(n) in held_out else 'train'}" for n in range(40)]
    file.write_text("image,split\n" + "\n".join(rows))
    options = ReadOptions(patient_from="^([0-9]+)", split=str(file))
    ingest(folder, tmp_path / "other", Settings(16), options=options, num_workers=1)
    other = Store(tmp_path / "other")
    test = [e for e in examples_of(other, fusion="consensus", iou=0.2) if e.image_id in held_out]
    (warning,) = overlap_remarks(other, run, test).warnings
    assert warning.startswith("3 of the 3 images that are scored are among those whose labels")
