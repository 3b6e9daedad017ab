"""The files of a store, read with suspicion: a store may be damaged, or come from anyone.

Every function here raises a `DataError` that names the file, what is wrong with it and what to do.
Nothing outside the folder of the store is opened, and no file may ask for memory out of proportion
to the images.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.tables.rows import BOX_COLUMNS, COLUMNS, is_id

STORE_VERSION = 3
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("pixels", pa.large_binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("route", pa.string()),
    ]
)
MANIFEST, BOXES, IMAGES = "manifest.json", "boxes.parquet", "images.parquet"
IMAGE_COLUMNS = ("image_id", "part", "patient", "kind")
"""What the source says of each image: its part of the source's own division, who is shown (a hash)
and, where it has no box, whether it is normal."""

_MEND = "Ingest its source again: that redoes only what is gone or damaged."
_SHARD_NAME = re.compile(r"images-[0-9]{5,9}-of-[0-9]{5,9}\.arrow")
# A million images, each with a fault of a line, have a manifest of a third of that.
_MAX_JSON_BYTES = 1 << 28
# Readers of VinDr-CXR leave 5 rows an image; a store of a thousand is a mistake or worse.
_MAX_ROWS_AN_IMAGE = 1000
_PARTS = ("", "train", "val", "test", "unused")
_KINDS = ("", "normal", "other finding")
_PATIENT = r"[0-9a-f]{16}|"
_TEXTS = (pa.string(), pa.large_string())
# What pyarrow and pandas raise of files that are not what they seem.
_UNREADABLE = (
    *(pa.ArrowException, ArithmeticError, AttributeError, LookupError, MemoryError),
    *(OSError, RecursionError, TypeError, ValueError),
)
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Content = TypeVar("_Content")


class _Version(msgspec.Struct):
    version: int


class _Manifest(msgspec.Struct):
    """What is read of a manifest; what else it holds is kept as it is."""

    fingerprint: str
    layout: str
    size_px: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    fit: Literal["squash", "letterbox"]
    exact: bool
    classes: Annotated[list[_Name], msgspec.Meta(max_length=10_000)]
    num_images: _Count
    shards: list[str]
    failures: dict[str, str]
    made: bool = False
    warnings: dict[str, list[str]] = {}
    notes: list[str] = []


class _RecordedImage(msgspec.Struct):
    image_id: str
    source_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class _Record(msgspec.Struct):
    images: list[_RecordedImage]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the checked manifest of a store.

    Raises:
        DataError: If there is none, because its ingest has not ended, or it is of another version
            or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{folder} is not a finished store ({MANIFEST} is missing). "
            f"Run `cxrssl ingest SOURCE {folder}`."
        )
    content = _json_content(folder, MANIFEST)
    version = _checked(path, content, _Version).version
    if version != STORE_VERSION:
        raise DataError(
            f"{folder} was written as store version {version}; "
            f"this cxrssl reads {STORE_VERSION}. Ingest it again."
        )
    checked = _checked(path, content, _Manifest)
    if len(set(checked.classes)) < len(checked.classes):
        raise _damaged(path, "it has one class twice")
    for name in checked.shards:
        if not _SHARD_NAME.fullmatch(name):
            raise _damaged(
                path,
                f"shard name {name[:100]!r}: expected a file of the store itself, such as "
                "images-00000-of-00001.arrow",
            )
    manifest: dict[str, Any] = _checked(path, content, dict[str, Any])
    return {"warnings": {}, "notes": []} | manifest


def read_shards(folder: Path, manifest: dict[str, Any]) -> pa.Table:
    """Map the shards of a store into memory, and check every row but its pixels' values.

    Returns:
        A table of `SCHEMA`, a row an image, sorted by image id; [size_px, size_px] uint8 each.

    Raises:
        DataError: If a shard is missing or damaged, or there are not as many images as the
            manifest says.
    """
    tables = [
        _mapped(part(folder, name), size_px=manifest["size_px"]) for name in manifest["shards"]
    ]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    if len(table) != manifest["num_images"]:
        raise _damaged(
            folder / MANIFEST,
            f"it counts {manifest['num_images']} images, and its shards hold {len(table)}",
        )
    ids = table.column("image_id").to_pylist()
    for before, name in zip(["", *ids], ids, strict=False):
        if name <= before or not is_id(name):
            raise _damaged(folder, f"image id {name[:100]!r} is not valid, or is out of order")
    return table


def read_boxes(folder: Path, ids: Sequence[str], classes: Sequence[str]) -> pd.DataFrame:
    """Return every reader's marks, columns `data.tables.COLUMNS`, boxes in original pixels.

    Raises:
        DataError: If the file is missing or damaged, or names other images or classes than `ids`
            and `classes`.
    """
    path = part(folder, BOXES)
    with _reading(path):
        file = pq.ParquetFile(path)
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    texts = [schema.field(name).type for name in COLUMNS[:3] if name in schema.names]
    numbers = [schema.field(name).type for name in BOX_COLUMNS if name in schema.names]
    is_empty = num_rows == 0  # columns without rows have whatever type
    typed = all(kind in _TEXTS for kind in texts) and all(kind == pa.float64() for kind in numbers)
    if schema.names != list(COLUMNS) or not (is_empty or typed):
        raise _damaged(path, f"expected the columns {', '.join(COLUMNS)} as text and numbers")
    if num_rows > _MAX_ROWS_AN_IMAGE * max(1, len(ids)):
        raise DataError(
            f"{path} holds {num_rows:,} rows for {len(ids)} images; at most {_MAX_ROWS_AN_IMAGE} "
            "an image are read. Leave out the images with a crowd of boxes, and ingest again."
        )
    with _reading(path):
        rows = pd.read_parquet(path)
    _check_boxes(path, rows, ids, classes)
    return rows


def read_images(folder: Path, ids: Sequence[str]) -> pd.DataFrame:
    """Return what the source says of each image, columns `IMAGE_COLUMNS`, in the order of `ids`.

    Raises:
        DataError: If the file is missing or damaged, or is not of these images.
    """
    path = part(folder, IMAGES)
    with _reading(path):
        file = pq.ParquetFile(path)
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    typed = all(schema.field(name).type in _TEXTS for name in schema.names)
    if schema.names != list(IMAGE_COLUMNS) or not (num_rows == 0 or typed):
        raise _damaged(path, f"expected the columns {', '.join(IMAGE_COLUMNS)} as text")
    if num_rows != len(ids):
        raise _damaged(path, f"it has {num_rows} rows, and the store {len(ids)} images")
    with _reading(path):
        rows = pd.read_parquet(path)
    if rows["image_id"].tolist() != list(ids):
        raise _damaged(path, "it names other images than the shards hold")
    if not rows["part"].isin(_PARTS).all():
        raise _damaged(path, "an image is of a part other than train, val, test and unused")
    if not rows["kind"].isin(_KINDS).all():
        raise _damaged(path, "an image is of a kind other than normal and other finding")
    if not rows["patient"].map(lambda text: re.fullmatch(_PATIENT, str(text)) is not None).all():
        raise _damaged(path, "a patient is not a hash of 16 digits")
    return rows


def read_records(folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Return the sha256 of each image's file, as ingested, by image id.

    Raises:
        DataError: If the record of a shard is missing or damaged.
    """
    sha256s: dict[str, str] = {}
    for name in manifest["shards"]:
        record = Path(name).with_suffix(".json").name
        content = _json_content(folder, record)
        images = _checked(folder / record, content, _Record).images
        sha256s |= {image.image_id: image.source_sha256 for image in images}
    return sha256s


def part(folder: Path, name: str) -> Path:
    """Return the path of a file of a store.

    Raises:
        DataError: If it is missing, not a regular file, or a link that leads out of the store.
    """
    path = folder / name
    if not path.is_file():
        raise DataError(
            f"{path} is missing from the store. Ingest again: it redoes only what is gone."
        )
    if path.resolve().parent != folder.resolve():
        raise DataError(
            f"{path} is a link to a file outside the store, which is not followed. "
            "Put the file itself there, or ingest again."
        )
    return path


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why}. {_MEND}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise _damaged(path, first[:300]) from error


def _json_content(folder: Path, name: str) -> bytes:
    path = part(folder, name)
    with _reading(path):
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise DataError(
                f"{path} has {size >> 20} MiB; at most {_MAX_JSON_BYTES >> 20} are read. {_MEND}"
            )
        return path.read_bytes()


def _checked(path: Path, content: bytes, kind: type[_Content]) -> _Content:
    with _reading(path):
        return msgspec.json.decode(content, type=kind)


def _mapped(path: Path, *, size_px: int) -> pa.Table:
    """Return one shard: not a byte of its pixels is read."""
    with _reading(path), pa.memory_map(str(path)) as mapped:
        reader = pa.ipc.open_file(mapped)
        if not reader.schema.equals(SCHEMA):
            raise _damaged(path, "its columns are not those of a store")
        batches, num_bytes = [], 0
        for number in range(reader.num_record_batches):
            batches.append(reader.get_batch(number))
            num_bytes += batches[-1].nbytes
            # Compressed ones unfold in memory to whatever they like.
            if num_bytes > mapped.size():
                raise _damaged(path, "its images are larger than the file")
        table = pa.Table.from_batches(batches, schema=SCHEMA)
        table.validate(full=True)
        why = _fault_of(table, size_px)
    if why:
        raise _damaged(path, why)
    return table


def _fault_of(table: pa.Table, size_px: int) -> str:
    """Return what is wrong with the rows of a shard, nothing if they are whole."""
    if any(column.null_count for column in table.columns):
        return "a row lacks a value"
    lengths = pc.binary_length(table.column("pixels")).to_numpy()
    sides = np.stack([table.column(name).to_numpy() for name in ("width", "height")])
    if (sides != size_px).any() or (lengths != size_px * size_px).any():
        return f"an image is not of {size_px} x {size_px} pixels, one byte each"
    originals = [table.column(name).to_numpy() for name in ("original_width", "original_height")]
    if (np.stack(originals) < 1).any():
        return "an image has no original size"
    return ""


def _check_boxes(
    path: Path, rows: pd.DataFrame, ids: Sequence[str], classes: Sequence[str]
) -> None:
    """Raise a `DataError` if a row names what the store does not have, or has half a box."""
    if rows[list(COLUMNS[:3])].isna().any(axis=None):
        raise _damaged(path, "a row lacks its image, reader or category")
    if not rows["image_id"].isin(list(ids)).all():
        raise _damaged(path, "a row is of an image that the shards don't hold")
    drawn = rows["category"].ne(NO_FINDING).to_numpy(bool)
    if not rows["category"][drawn].isin(list(classes)).all():
        raise _damaged(path, f"a row is of a class that {MANIFEST} does not name")
    boxes = rows[BOX_COLUMNS].to_numpy(np.float64)[drawn]
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
        raise _damaged(path, "a box has no area")
