"""A store opens whole or not at all, whoever damaged it, and travels to other processes light."""

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.detection import marks_of
from cxrssl.data.store import SCHEMA, Store

SHARD, BOXES, MANIFEST = "images-00000-of-00001.arrow", "boxes.parquet", "manifest.json"


@pytest.fixture
def copy(store_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(store_folder, tmp_path / "copy")
    return tmp_path / "copy"


def content_of(folder: Path) -> tuple[list[bytes], Any, list[Any], dict[str, str]]:
    """Return all that is read of a store."""
    store = Store(folder)
    pixels = [store.pixels(row).tobytes() for row in range(len(store))]
    return pixels, store.findings, store.images, store.source_sha256()


def assert_refused(folder: Path, name: str, match: str) -> None:
    """Check that a damaged store is refused, and that the text names the file."""
    with pytest.raises(DataError, match=match) as refused:
        content_of(folder)
    assert name in str(refused.value)
    assert "gain" in str(refused.value)  # Ingest again, or its source again


def in_manifest(**changes: object) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: manifest | changes


@pytest.mark.parametrize(
    "change",
    [
        *(lambda _: None, lambda _: [], lambda _: 3, lambda _: {}, lambda _: {"version": 2}),
        *(in_manifest(version=x) for x in ("2", None, 1, 2.5, [])),
        *(in_manifest(shards=x) for x in (None, "a", [1], {}, [[SHARD]], [SHARD, SHARD], [])),
        *(in_manifest(shards=[x]) for x in (f"/tmp/{SHARD}", f"../copy/{SHARD}", "x.arrow")),
        *(in_manifest(shards=[x]) for x in (f"./{SHARD}", f"a/{SHARD}", f"{SHARD}\n", "", ".")),
        *(in_manifest(shards=[x]) for x in ("images-00000-of-00002.arrow", "I" * 100_000)),
        *(in_manifest(classes=x) for x in (None, "abc", [1], [None], [["a"]], {}, [], ["a", "a"])),
        *(in_manifest(classes=x) for x in ([""], ["x" * 10_000], ["lung"])),
        *(in_manifest(size_px=x) for x in (0, -1, 63, 65, 1 << 40, "64", None, 64.5)),
        *(in_manifest(fit=x) for x in ("", None, 1, "stretch")),
        *(in_manifest(num_images=x) for x in (0, 29, 31, -1, "30", None)),
        *(in_manifest(failures=x) for x in (None, [], {"a": 1})),
        *(in_manifest(fingerprint=x) for x in (None, 1, [])),
        *(in_manifest(layout=x) for x in (None, 1)),
        *(in_manifest(warnings=x) for x in (3, {"a": "b"})),
    ],
)  # fmt: skip
def test_a_manifest_that_says_what_it_should_not_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(change(manifest)))
    assert_refused(copy, str(copy), r"damaged|missing|version")


def test_an_older_manifest_without_notes_is_read(copy: Path, store: Store) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    for name in ("warnings", "notes", "made"):
        del manifest[name]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert Store(copy).images == store.images
    assert Store(copy).manifest["warnings"] == {}


@pytest.mark.parametrize("name", [SHARD, BOXES, SHARD.replace("arrow", "json")])
def test_a_part_that_is_gone_or_lies_elsewhere_is_named(
    copy: Path, tmp_path: Path, name: str
) -> None:
    (copy / name).rename(tmp_path / "outside")
    assert_refused(copy, name, "is missing from the store")
    (copy / name).symlink_to(tmp_path / "outside")
    assert_refused(copy, name, "is a link to a file outside the store")
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert_refused(copy, name, "is missing from the store")
    (copy / name).unlink()
    (copy / name).mkdir()
    assert_refused(copy, name, "is missing from the store")


def test_a_store_that_is_itself_a_link_is_read(store_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store_folder)
    assert len(Store(tmp_path / "link").source_sha256()) == 30


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table], **options: object) -> None:
    """Write a shard anew, changed."""
    with pa.memory_map(str(path)) as source:
        table = change(pa.ipc.open_file(source).read_all())
    with (
        pa.OSFile(str(path) + ".new", "wb") as sink,
        pa.ipc.new_file(sink, table.schema, **options) as writer,
    ):
        writer.write_table(table)
    Path(str(path) + ".new").rename(path)


def column(name: str, value: object) -> Callable[[pa.Table], pa.Table]:
    """Return a change of a column's first value."""

    def change(table: pa.Table) -> pa.Table:
        values = table.column(name).to_pylist()
        values[0] = value
        place = SCHEMA.get_field_index(name)
        return table.set_column(
            place, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type)
        )

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(column("pixels", b""), column("pixels", b"x" * 4095), column("pixels", None)),
        *(column("width", 32), column("height", -64), column("width", None)),
        *(column("original_width", 0), column("original_height", -5)),
        *(column("image_id", "zz"), column("image_id", "../a"), column("image_id", None)),
        column("route", None),
        *(lambda t: t.slice(1), lambda t: t.take(list(range(len(t)))[::-1])),
        *(lambda t: pa.concat_tables([t, t]), lambda t: t.drop_columns(["height"])),
        lambda t: t.rename_columns([*t.column_names[:-1], "way"]),
        lambda t: t.set_column(2, "width", t.column("width").cast(pa.int64())),
    ],
)  # fmt: skip
def test_a_shard_with_other_rows_is_refused(
    copy: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    rewritten(copy / SHARD, change)
    assert_refused(copy, str(copy), "is damaged")


def test_a_compressed_shard_is_not_unfolded_in_memory(copy: Path) -> None:
    def white(table: pa.Table) -> pa.Table:
        pixels = pa.array([b"\xff" * 4096] * len(table), pa.large_binary())
        return table.set_column(1, SCHEMA.field("pixels"), pixels)

    rewritten(copy / SHARD, white, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    assert_refused(copy, SHARD, "its images are larger than the file")


def boxes(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda path: change(pd.read_parquet(path)).to_parquet(path, index=False)


@pytest.mark.parametrize(
    "damage",
    [
        boxes(lambda rows: rows.drop(columns="reader")),
        boxes(lambda rows: rows.rename(columns={"x_min": "x"})),
        boxes(lambda rows: rows[sorted(rows.columns)]),
        boxes(lambda rows: rows.assign(more=1)),
        boxes(lambda rows: rows.assign(x_min="a")),
        boxes(lambda rows: rows.assign(x_min=np.inf)),
        boxes(lambda rows: rows.assign(x_max=rows["x_min"])),
        boxes(lambda rows: rows.assign(x_min=np.nan)),
        boxes(lambda rows: rows.assign(reader=None)),
        boxes(lambda rows: rows.assign(reader=7)),
        boxes(lambda rows: rows.assign(category="lung")),
        boxes(lambda rows: rows.assign(image_id="nobody")),
        boxes(lambda rows: pd.concat([rows] * 2000)),
        lambda path: pq.write_table(pa.table({"a": [1]}), path),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PAR1PAR1"),
        lambda path: path.write_text("image_id,reader"),
    ],
)
def test_boxes_that_are_none_are_refused(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy / BOXES)
    assert_refused(copy, BOXES, "is damaged|rows for 30 images")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"images": [{}]}', '{"images": [{"image_id": "a"}]}']
)
def test_a_record_that_is_none_is_refused(copy: Path, text: str) -> None:
    name = SHARD.replace("arrow", "json")
    (copy / name).write_text(text)
    assert_refused(copy, name, "is damaged")


@pytest.mark.slow
@pytest.mark.parametrize("name", [SHARD, BOXES, MANIFEST, SHARD.replace("arrow", "json")])
def test_whatever_is_cut_or_overwritten_opens_or_is_told(
    copy: Path, store_folder: Path, name: str
) -> None:
    data = (copy / name).read_bytes()
    rng = random.Random(name)
    num_refused = 0
    # The ends hold what describes the rest; in between lie values that no store can check.
    offsets = [*range(0, min(len(data), 400), 7), *range(max(0, len(data) - 900), len(data), 7)]
    mutants = [data[:cut] for cut in (0, 1, 8, 100, len(data) // 2, len(data) - 1)]
    for offset in offsets:
        byte = bytes([data[offset] ^ (1 << rng.randrange(8))])
        mutants.append(data[:offset] + byte + data[offset + 1 :])
        mutants.append(data[:offset] + b"\xff" * 8 + data[offset + 8 :])
    for mutant in mutants:
        (copy / name).write_bytes(mutant)
        try:
            content_of(copy)
        except DataError as error:
            num_refused += str(copy) in str(error)
    assert num_refused > len(mutants) // 8
    (copy / name).write_bytes(data)
    pixels, findings, images, hashes = content_of(copy)
    expected = content_of(store_folder)
    assert (pixels, images, hashes) == (expected[0], expected[2], expected[3])
    pd.testing.assert_frame_equal(findings, expected[1])


def first_pixels(store: Store) -> bytes:
    return store.pixels(0).tobytes()


def test_a_spawned_process_opens_the_store_itself(copy: Path) -> None:
    store = Store(copy)
    assert len(pickle.dumps(store)) < 1000
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(_first_pixels_of, (store,)) == first_pixels(store)
    sent = pickle.dumps(store)
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"fingerprint": "0" * 64}))
    with pytest.raises(DataError, match="was ingested anew while it was being read"):
        pickle.loads(sent)


def test_a_store_that_is_numbered_anew_is_so_in_another_process_too(store: Store) -> None:
    turned = store.classes[::-1]
    anew = store.numbered_as(turned)
    again = pickle.loads(pickle.dumps(anew))
    assert anew.classes == again.classes == turned != store.classes
    assert again.fingerprint == store.fingerprint
    ours, theirs = marks_of(store), marks_of(again)
    assert [store.classes[n] for n in ours.labels] == [turned[n] for n in theirs.labels]
    np.testing.assert_array_equal(ours.boxes, theirs.boxes)


def _first_pixels_of(store: Store) -> bytes:
    return first_pixels(store)
