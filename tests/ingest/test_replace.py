"""A store of another source or other settings is kept, or replaced once the new one is whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrssl.core.errors import DataError, RunError
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions
from cxrssl.doctor import doctor
from cxrssl.ingest import IngestSummary, ingest
from cxrssl.ingest.origin import REPLACEMENT_FOLDER, put_in_place
from cxrssl.ingest.shards import Settings


def pool(folder: Path, names: str, *, seed: int = 0) -> Path:
    """Make pictures, one for each letter."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for name in names:
        side = int(generator.integers(30, 60))
        pixels = generator.integers(0, 255, (side, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def run(source: Path, store: Path, size: int = 16, **options: object) -> IngestSummary:
    return ingest(source, store, Settings(size), num_workers=1, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def names(store: Path) -> str:
    return "".join(image.image_id for image in Store(store).images)


def test_other_settings_are_refused_with_both_and_the_store_is_untouched(tmp_path: Path) -> None:
    source, store = pool(tmp_path / "pool", "abc"), tmp_path / "store"
    run(source, store)
    before = contents(store)
    for settings, text in (
        (Settings(32), "was made with size 16, and this call has size 32"),
        (Settings(16, "letterbox"), "was made with fit squash, and this call has fit letterbox"),
        (Settings(16, exact=True), "was made with exact off, and this call has exact on"),
    ):
        with pytest.raises(RunError, match=f"{text}. .* or say --replace"):
            ingest(source, store, settings, num_workers=1)
    assert contents(store) == before
    assert run(source, store).num_reused == 3


def test_another_source_is_refused_and_replaced_when_it_is_said(tmp_path: Path) -> None:
    first, second = pool(tmp_path / "first", "abc"), pool(tmp_path / "second", "xyz", seed=1)
    store = tmp_path / "store"
    run(first, store)
    with pytest.raises(RunError, match=r"was made from another source \(a folder first\)"):
        run(second, store)
    assert names(store) == "abc"
    assert run(second, store, replace=True).num_images == 3
    assert names(store) == "xyz"
    run(second, tmp_path / "fresh")
    assert contents(store) == contents(tmp_path / "fresh")
    assert not (store / REPLACEMENT_FOLDER).exists()


def test_files_of_equal_names_are_another_source_all_the_same(tmp_path: Path) -> None:
    run(pool(tmp_path / "first", "abc"), tmp_path / "store")
    with pytest.raises(RunError, match="neither the folder nor the files are the same"):
        run(pool(tmp_path / "second", "abc", seed=1), tmp_path / "store")


def test_other_files_in_the_same_folder_are_another_source(tmp_path: Path) -> None:
    source, store = pool(tmp_path / "pool", "abc"), tmp_path / "store"
    run(source, store)
    shutil.rmtree(source)
    pool(source, "xyz")
    with pytest.raises(RunError, match="none of its images is in this one"):
        run(source, store)


def test_the_same_folder_by_another_layout_is_refused(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "store")
    with pytest.raises(RunError, match="with layout kaggle, and this call has layout images"):
        run(source, tmp_path / "store", options=ReadOptions("images"))


def test_a_source_that_grew_was_mended_or_moved_is_the_same(tmp_path: Path) -> None:
    source, store = pool(tmp_path / "pool", "abc"), tmp_path / "store"
    (source / "d.png").write_bytes(b"broken")
    assert set(run(source, store).failures) == {"d"}
    pool(source, "d", seed=5)
    assert run(source, store).failures == {}
    pool(source, "ef", seed=6)
    (source / "a.png").unlink()
    run(source, store)
    assert names(store) == "bcdef"
    source.rename(tmp_path / "moved")
    assert run(tmp_path / "moved", store).num_reused == 5
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    assert run(tmp_path / "link", store).num_reused == 5


def test_a_store_without_a_record_is_compared_by_what_there_is(tmp_path: Path) -> None:
    source, store = pool(tmp_path / "pool", "abc"), tmp_path / "store"
    run(source, store)
    (store / "origin.json").unlink()
    with pytest.raises(RunError, match="was made with size 16, and this call has size 32"):
        run(source, store, 32)
    with pytest.raises(RunError, match="was made from another source: none of its images"):
        run(pool(tmp_path / "other", "xyz"), store)
    assert run(source, store).num_reused == 3
    assert (store / "origin.json").is_file()


def test_an_ingest_that_was_cut_knows_its_source(tmp_path: Path) -> None:
    source, store = pool(tmp_path / "pool", "abc"), tmp_path / "store"
    run(source, store)
    for path in store.iterdir():
        if path.name != "origin.json":
            path.unlink()
    other = pool(tmp_path / "other", "xyz", seed=2)
    with pytest.raises(RunError, match="was made from another source"):
        run(other, store)
    run(other, store, replace=True)
    assert names(store) == "xyz"


def test_no_path_is_written_into_a_store(tmp_path: Path) -> None:
    run(pool(tmp_path / "Jane Doe", "abc"), tmp_path / "store")
    for content in contents(tmp_path / "store").values():
        assert str(tmp_path).encode() not in content
        assert b"Doe" not in content


@pytest.mark.slow
def test_a_replacement_killed_at_any_step_leaves_one_of_the_two_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pool(tmp_path / "first", "abc"), pool(tmp_path / "second", "wxyz", seed=1)
    monkeypatch.setattr("cxrssl.ingest.shards.SHARD_IMAGES", 2)
    run(first, tmp_path / "old")
    run(second, tmp_path / "new")
    shutil.copytree(tmp_path / "old", tmp_path / "ready")
    shutil.copytree(tmp_path / "new", tmp_path / "ready" / REPLACEMENT_FOLDER)
    for step in range(1, 30):
        store = tmp_path / f"killed{step}"
        shutil.copytree(tmp_path / "ready", store)
        code = (
            "import os, sys; from pathlib import Path\n"
            "from cxrssl.ingest.origin import put_in_place\n"
            "left = [int(sys.argv[2])]\n"
            "def count(kind, _):\n"
            "    if kind in ('os.rename', 'os.remove', 'os.rmdir'):\n"
            "        left[0] -= 1\n"
            "        left[0] or os.kill(os.getpid(), 9)\n"
            "sys.addaudithook(count); put_in_place(Path(sys.argv[1]))"
        )
        done = subprocess.run([sys.executable, "-c", code, str(store), str(step)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        if (store / "manifest.json").exists():
            assert names(store) in ("abc", "wxyz")
        run(second, store, replace=True)
        assert contents(store) == contents(tmp_path / "new"), step
    assert 8 < step < 29
    assert contents(store) == contents(tmp_path / "new")
    assert not (store / REPLACEMENT_FOLDER).exists()


def test_the_old_store_outlives_a_replacement_that_is_cut(tmp_path: Path) -> None:
    first, second = pool(tmp_path / "first", "abc"), pool(tmp_path / "second", "xyz", seed=1)
    store = tmp_path / "store"
    run(first, store)
    before = contents(store)

    def cut(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(second, store, replace=True, on_images=cut)
    assert contents(store) == before
    assert run(first, store).num_reused == 3
    assert run(second, store, replace=True).num_reused == 3
    assert names(store) == "xyz"


def test_put_in_place_does_nothing_where_nothing_is_whole(tmp_path: Path) -> None:
    run(pool(tmp_path / "first", "abc"), tmp_path / "store")
    (tmp_path / "store" / REPLACEMENT_FOLDER).mkdir()
    put_in_place(tmp_path / "store")
    assert names(tmp_path / "store") == "abc"


def test_a_table_without_boxes_is_refused_unless_its_images_are_wanted(tmp_path: Path) -> None:
    source = pool(tmp_path / "source", "ab")
    document = {
        "images": [{"id": n, "file_name": f"{name}.png"} for n, name in enumerate("ab")],
        "categories": [{"id": 1, "name": "Lung"}],
        "annotations": [],
    }
    (source / "coco.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"gives no box: 2 images .* say --layout images"):
        run(source, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    result = doctor(source, num_workers=1)
    assert not result["ok"]
    assert "gives no box" in result["table"][-1]
    assert (result["boxes"], result["images"]) == (0, 2)
    summary = run(source, tmp_path / "store", options=ReadOptions("images"))
    assert str(summary.marks) == "layout images: 2 images, taken without boxes"


def test_what_a_table_without_boxes_left_out_is_said(tmp_path: Path) -> None:
    source = pool(tmp_path / "source", "a")
    document = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "Lung"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1}],
    }
    (source / "coco.json").write_text(json.dumps(document))
    with pytest.raises(
        DataError, match=r"gives no box: 1 image can .* 1 annotation.s. are to be i"
    ):
        run(source, tmp_path / "store")


@pytest.mark.slow
def test_the_command_says_what_it_took_and_what_not(tmp_path: Path) -> None:
    source, store = pool(tmp_path / "source", "ab"), tmp_path / "store"
    Image.new("L", (40, 40), 255).save(source / "white.png")
    (source / "labels.csv").write_text("image,finding\na,mass\n")
    command = [sys.executable, "-m", "cxrssl", "ingest", str(source), str(store), "--size", "16"]
    environment = {**os.environ, "COLUMNS": "80"}

    def call(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, env=environment
        )

    refused = call()
    assert (refused.returncode, store.exists()) == (2, False)
    assert "labels.csv" in refused.stderr
    done = call("--layout", "images")
    assert done.returncode == 0
    assert "layout images: 3 images, taken without boxes\n" in done.stdout
    assert "note: tables that are not used: labels.csv\n" in done.stderr
    assert "warning, 1 image: the picture is blank" in done.stderr
    assert f"1 image with warnings, all listed in {store / 'manifest.json'}\n" in done.stderr
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["notes"] == ["tables that are not used: labels.csv"]
    again = call("--layout", "images", "--size", "32")
    assert again.returncode == 2
    assert "size 16, and this call has size 32" in again.stderr
    assert call("--layout", "images", "--size", "32", "--replace").returncode == 0
