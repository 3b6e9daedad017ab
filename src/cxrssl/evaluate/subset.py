"""`--only FILE`: scores on some of the images, those that a file names."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.coco.index import Index, Remarks
from cxrssl.evaluate.inputs import EvaluationInputs, Readings
from cxrssl.metrics.annotations import Detections, Flags, Integers

_MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class Subset:
    """Some of N images.

    Attributes:
        path: The file that names them.
        numbers: [n] their numbers among the N, rising.
        num_all: N.
        remarks: Names that the file has more than once.
    """

    path: Path
    numbers: Integers
    num_all: int
    remarks: Remarks

    def inputs(self, inputs: EvaluationInputs) -> EvaluationInputs:
        """Return what is evaluated, of these images alone; they are numbered anew."""
        truth = inputs.truth.select(self._has[inputs.truth.images])
        truth = replace(truth, images=self._number[truth.images], num_images=len(self.numbers))
        return EvaluationInputs(
            self._index(inputs.index),
            truth,
            None if inputs.readings is None else self._readings(inputs.readings),
            tuple(inputs.kinds[number] for number in self.numbers),
            None if inputs.clusters is None else inputs.clusters[self.numbers],
        )

    def detections(self, detections: Detections) -> Detections:
        """Return the detections on these images."""
        kept = detections.select(self._has[detections.images])
        return replace(kept, images=self._number[kept.images])

    def as_json(self) -> dict[str, Any]:
        """Return the subset as it is written."""
        return {"file": str(self.path), "n_images": len(self.numbers), "of": self.num_all}

    @property
    def _has(self) -> Flags:
        has = np.zeros(self.num_all, bool)
        has[self.numbers] = True
        return has

    @property
    def _number(self) -> Integers:
        numbers: Integers = np.cumsum(self._has) - 1
        return numbers

    def _index(self, index: Index) -> Index:
        keys = list(index.images)

        def of(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[number] for number in self.numbers) if column else ()

        return replace(
            index,
            images={keys[number]: place for place, number in enumerate(self.numbers)},
            file_names=of(index.file_names),
            readers=of(index.readers),
            sizes=of(index.sizes),
            kinds=of(index.kinds),
        )

    def _readings(self, readings: Readings) -> Readings:
        marks = readings.marks.select(self._has[readings.marks.images])
        marks = replace(marks, images=self._number[marks.images])
        looked = {name: images[self.numbers] for name, images in readings.looked.items()}
        return replace(readings, marks=marks, looked=looked)


def read_subset(path: Path, index: Index) -> Subset:
    """Read which images are to be scored.

    A text file names an image a line, by its id, its file name, or that without folders or suffix;
    a CSV file has a column `image_id`, `file` or another name of these (`csv_columns`).

    Raises:
        DataError: If the file can't be read, names no image, or one that is not there.
    """
    number_of = _numbers_by_name(index)
    lines: dict[int, int] = {}
    repeated: list[int] = []
    for line, name in _names(path):
        number = _number(path, line, name, number_of, index)
        if number in lines:
            repeated.append(line)
        lines.setdefault(number, line)
    if not lines:
        raise DataError(f"{path} names no image. Write an image id or a file name a line.")
    notes: tuple[str, ...] = ()
    if repeated:
        notes = (
            f"{path}: {len(repeated)} line(s) name an image that is named before, the first is "
            f"line {repeated[0]}; it counts once",
        )
    return Subset(path, np.array(sorted(lines), np.int64), len(index.images), Remarks(notes))


def _names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of each line that names an image, and the name."""
    # The tables' package loads pandas, which scores of files do without.
    from cxrssl.data.tables.csv_columns import image_column
    from cxrssl.data.tables.csv_files import first_row, rows_below

    _check_size(path)
    head = first_row(path)
    column = None if head is None else image_column(head.cells)
    is_table = path.suffix.lower() in (".csv", ".tsv")
    if head is None or not (is_table or (len(head.cells) > 1 and column is not None)):
        yield from ((n, name) for n, line in enumerate(_lines(path), 1) if (name := line.strip()))
        return
    if column is None:
        raise DataError(
            f"{path} has the columns {', '.join(map(repr, head.cells)) or 'none'}; expected one, "
            "and not two alike, for the image, such as image_id or file."
        )
    for line, cells in rows_below(path, head, name=str(path)):
        if column >= len(cells) or not cells[column].strip():
            raise DataError(
                f"{path}, line {line}: no {head.cells[column]}. Write it, or take the line out."
            )
        yield line, cells[column].strip()


def _check_size(path: Path) -> None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} has over {_MAX_BYTES:,} bytes; expected a list of images.")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}. Name a text file.") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}. Name a text file.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; expected a list of images.") from error


def _numbers_by_name(index: Index) -> list[dict[str, set[int]]]:
    """Return the images that a name may mean: by id, by file name, by the end of it, by stem."""
    tables: list[dict[str, set[int]]] = [defaultdict(set) for _ in range(4)]
    for (key, number), file_name in zip(index.images.items(), index.file_names, strict=True):
        tables[0][str(key)].add(number)
        if file_name is not None:
            for table, name in zip(tables[1:], _forms(file_name), strict=True):
                table[name].add(number)
    return tables


def _forms(name: str) -> tuple[str, str, str]:
    """Return a file name as it is, without folders, and without its suffix as well."""
    from cxrssl.data.tables.image_ids import plain_id

    path = PurePosixPath(name.replace("\\", "/"))
    # Not the stem: what follows a dot in a UID is no suffix.
    return name, path.name, plain_id(PurePosixPath(path.name))


def _number(
    path: Path, line: int, name: str, number_of: list[dict[str, set[int]]], index: Index
) -> int:
    for form in _forms(name):
        for table in number_of:
            hits = table.get(form, set())
            if len(hits) == 1:
                return next(iter(hits))
            if hits:
                raise DataError(
                    f"{path}, line {line}: {printable(name)} could be {len(hits)} images of "
                    f"{index.path}. Write the image id, or the whole file name."
                )
    raise DataError(
        f"{path}, line {line}: {printable(name)} is none of the {len(index.images)} images that "
        f"are scored ({index.path}). Take the line out, or mend the name."
    )
