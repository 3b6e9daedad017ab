"""The lists of a prediction: `predictions.json` (COCO), `predictions.csv` and `failures.json`.

They are written one file's boxes after the other: those of ten thousand fit into no memory twice.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from cxrssl.core.files import replacing, write_json
from cxrssl.core.printable import plain_cell
from cxrssl.predict.record import Found, whole_text

_COLUMNS = ("file", "class", "score", "x_min", "y_min", "x_max", "y_max", "width", "height")


def write_lists(out: Path, done: Iterable[Found], *, classes: Sequence[str], source: str) -> None:
    """Write all lists; `failures.json` if a file can't be read.

    Args:
        out: Folder that they go to.
        done: Every file, in order; it is gone through several times.
        classes: Names of the categories 1..K.
        source: The detector's name.
    """
    failures = {found.file: found.failure for found in done if found.failure}
    if failures:
        write_json(out / "failures.json", failures)
    with replacing(out / "predictions.csv") as temporary, _text(temporary, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for found in _read(done):
            writer.writerows(_rows(found))
    # Last: a folder that holds it is done.
    with replacing(out / "predictions.json") as temporary, _text(temporary) as file:
        file.writelines(_coco(done, classes, source))


def _text(path: Path, *, newline: str | None = None) -> TextIO:
    return path.open("w", newline=newline, encoding="utf-8", errors="backslashreplace")


def _read(done: Iterable[Found]) -> Iterator[Found]:
    return (found for found in done if not found.failure)


def _rows(found: Found) -> Iterator[list[str | int]]:
    for finding in found.findings:
        box = [f"{side:.2f}" for side in finding.box]
        names = plain_cell(found.file), plain_cell(finding.label)
        yield [*names, f"{finding.score:.5f}", *box, found.width, found.height]


def _coco(done: Iterable[Found], classes: Sequence[str], source: str) -> Iterator[str]:
    """Yield a COCO data set in pieces, a line an entry, each annotation with its `score`.

    Its `annotations` alone are COCO results. Boxes are xywh in pixels of the file.
    """
    info = {"description": "boxes found by a detector", "detector": whole_text(source)}
    names = enumerate(map(whole_text, classes), start=1)
    categories = [{"id": number, "name": name} for number, name in names]
    number_of = {name: number for number, name in enumerate(classes, start=1)}
    yield f'{{\n"info": {_json(info)},\n"images": [\n'
    yield from _entries(
        {"id": number, "file_name": found.file, "width": found.width, "height": found.height}
        for number, found in enumerate(_read(done), start=1)
    )
    yield f'],\n"categories": {_json(categories)},\n"annotations": [\n'
    yield from _entries(_annotations(_read(done), number_of))
    yield "]\n}\n"


def _entries(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    before = ""
    for entry in entries:
        yield before + _json(entry)
        before = ",\n"
    if before:
        yield "\n"


def _json(content: object) -> str:
    return json.dumps(content, allow_nan=False)


def _annotations(done: Iterable[Found], number_of: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, found in enumerate(done, start=1):
        for finding in found.findings:
            number += 1
            x0, y0, x1, y1 = finding.box
            yield {
                "id": number,
                "image_id": image,
                "category_id": number_of[finding.label],
                "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                "area": round((x1 - x0) * (y1 - y0), 2),
                "iscrowd": 0,
                "score": round(finding.score, 5),
            }
