"""Folders as data sets are published, made for tests; and what was read of them."""

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from cxrssl.data.tables import Source, read_source
from cxrssl.data.tables.source import Layout

BOX_COLUMNS = ["x_min", "y_min", "x_max", "y_max"]
Box = tuple[float, ...]


def made(folder: Path, files: Mapping[str, object], images: Iterable[str] = ()) -> Path:
    """Write texts, bytes, JSON for other contents, and pictures; return the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")
    for name in images:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64), 90).save(path)
    return folder


def read_as(layout: str, folder: Path, *, named: Layout = "auto") -> Source:
    """Read a folder, whose layout must be found to be this one."""
    source = read_source(folder, layout=named)
    assert source.layout == layout
    return source


def boxes(source: Source) -> dict[str, list[tuple[str, str, Box]]]:
    """Return (reader, class, box) of every image with rows, in their order; () for no box."""
    result: dict[str, list[tuple[str, str, Box]]] = {}
    table = source.table.rows
    for row in table.itertuples(index=False):
        name, reader, category = row[:3]
        box = () if row[3] != row[3] else tuple(float(value) for value in row[3:])
        result.setdefault(str(name), []).append((str(reader), str(category), box))
    return result


def patients(source: Source) -> set[frozenset[str]]:
    """Return the images of each patient."""
    images: dict[str, set[str]] = {}
    for name, patient in source.table.patients.items():
        images.setdefault(patient, set()).add(name)
    return {frozenset(names) for names in images.values()}


def package_data(name: str) -> Path:
    """Return a table that torchxrayvision ships; skip the test where it is not installed."""
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        pytest.skip("the real table is in torchxrayvision, which is not installed")
    path = Path(spec.origin).parent / "data" / name
    if not path.is_file():
        pytest.skip(f"this torchxrayvision has no {name}")
    return path
