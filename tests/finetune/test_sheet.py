"""The sheet of training images shows what the detector is given: flipped, resized, with boxes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cxrssl.data.loaders import detection_loader
from cxrssl.data.store import Store
from cxrssl.finetune.sheet import _panel, write_training_images
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.models.detector import detector_input
from cxrssl.run.folder import RunFolder
from support import finetune_recipe


def test_panels_are_the_batches_that_train_and_their_boxes(
    store: Store, store_folder: Path
) -> None:
    recipe = finetune_recipe(store_folder)
    images, plan = training_images(store, labelled_splits(store, recipe).train, recipe)
    batch = plan.batches()[0]
    pixels, targets = next(iter(detection_loader(images, [batch], num_workers=0)))
    for visit, trained_on, target in zip(batch, pixels, targets, strict=True):
        panel = _panel(images, visit, 64)
        assert np.array_equal(panel.pixels, trained_on[0].numpy())
        assert torch.equal(
            torch.tensor([outline.box for outline in panel.outlines]).reshape(-1, 4),
            target["boxes"],
        )
        names = [store.classes[label - 1] for label in target["labels"]]
        assert [outline.label for outline in panel.outlines] == names
    assert detector_input(pixels)[0].shape[-2:] == (64, 64)


def test_a_flip_and_a_resize_move_pixels_and_boxes_alike(store: Store, store_folder: Path) -> None:
    recipe = finetune_recipe(store_folder, "data.flip_probability=0")
    images, plan = training_images(store, labelled_splits(store, recipe).train, recipe)
    visit = next(v for v in plan.batches()[0] if len(images.examples[v.row].boxes))
    straight = _panel(images, visit, 128)
    turned = _panel(replace(images, flip_probability=1.0), visit, 128)
    assert straight.pixels.shape == (128, 128)
    assert np.array_equal(turned.pixels, straight.pixels[:, ::-1])
    stored = images.examples[visit.row].boxes
    for box, outline, flipped in zip(stored, straight.outlines, turned.outlines, strict=True):
        assert np.allclose(outline.box, 2 * box)
        x0, y0, x1, y1 = outline.box
        assert np.allclose(flipped.box, (128 - x1, y0, 128 - x0, y1), atol=1e-4)


def test_the_sheet_is_small_names_nobody_and_is_written_once(
    store: Store, store_folder: Path, tmp_path: Path
) -> None:
    recipe = finetune_recipe(store_folder)
    images, plan = training_images(store, labelled_splits(store, recipe).train, recipe)
    path = tmp_path / "training_images.png"
    write_training_images(RunFolder(tmp_path, writes=False), images, plan, 64)
    assert not path.exists()  # only the main process writes
    write_training_images(RunFolder(tmp_path, writes=True), images, plan, 64)
    first = path.read_bytes()
    assert 10_000 < len(first) < 1_000_000
    for image in store.images:
        assert image.image_id.encode() not in first
    path.unlink()
    write_training_images(RunFolder(tmp_path, writes=True), images, plan, 64)
    assert path.read_bytes() == first
    path.write_bytes(b"there")
    write_training_images(RunFolder(tmp_path, writes=True), images, plan, 64)
    assert path.read_bytes() == b"there"
