"""The preview shows the views that training would be given, and trains nothing."""

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from cxrssl.cli.commands import app
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.pretrain.pool import pool_images
from cxrssl.pretrain.preview import _row, write_training_images
from cxrssl.run.folder import RunFolder
from support import pretrain_recipe


def test_a_preview_is_a_picture_and_no_run(store_folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["pretrain", "smoke", "--set", f"data.store={store_folder}"]
    arguments += ["--preview", str(sheet), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout.strip()) == (0, str(sheet)), done.output
    assert not (tmp_path / "run").exists()
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[0] > 1500  # six rows
    assert len(np.unique(pixels)) > 100


def test_the_views_shown_are_those_of_the_first_epoch(store: Store, store_folder: Path) -> None:
    views, plan = pool_images(store, pretrain_recipe(store_folder))
    index = int(plan.order(0)[0])
    image, *cuts = _row(views, index, is_named=True)
    trained_on = views[Visit(0, index)]["views"]
    for shown, pixels, outline in zip(cuts, trained_on, image.outlines, strict=True):
        assert np.array_equal(shown.pixels, pixels[0].numpy())
        assert "crop" in shown.caption
        assert shown.frame == outline.colour
    assert image.caption == store.images[views.rows[index]].image_id


def test_the_sheet_in_a_runs_folder_is_small_names_nobody_and_is_written_once(
    store: Store, store_folder: Path, tmp_path: Path
) -> None:
    recipe = pretrain_recipe(store_folder)
    images, plan = pool_images(store, recipe)
    assert [_row(images, 0, is_named=False)[0].caption] == [""]
    path = tmp_path / "training_images.png"
    write_training_images(RunFolder(tmp_path, writes=False), images, plan, recipe)
    assert not path.exists()  # only the main process writes
    write_training_images(RunFolder(tmp_path, writes=True), images, plan, recipe)
    first = path.read_bytes()
    assert 10_000 < len(first) < 1_000_000
    for image in store.images:
        assert image.image_id.encode() not in first
    path.unlink()
    write_training_images(RunFolder(tmp_path, writes=True), images, plan, recipe)
    assert path.read_bytes() == first
    path.write_bytes(b"there")
    write_training_images(RunFolder(tmp_path, writes=True), images, plan, recipe)
    assert path.read_bytes() == b"there"
