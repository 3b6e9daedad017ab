"""A store with patients is scored with draws of patients."""

from pathlib import Path

import numpy as np
from PIL import Image

from cxrssl.data.detection import examples_of
from cxrssl.data.store import Store
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings


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
