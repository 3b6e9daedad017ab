"""Tables of VinDr-CXR as Kaggle and PhysioNet have them, `.csv` or `.csv.gz`.

Kaggle VinBigData: `image_id, class_name, class_id, rad_id, x_min, y_min, x_max, y_max`, and 14
findings.
PhysioNet: the same without `class_id`, 22 findings; its test table has no `rad_id` either, because
its boxes are what five radiologists agreed on: their reader is "consensus".

Columns `width` and `height`, where there are any, state the size of the image.
"""

import lzma
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.labels import FINDINGS, LOCAL_FINDINGS, NO_FINDING, canonical_name
from cxrssl.data.tables.rows import (
    BOX_COLUMNS,
    COLUMNS,
    Table,
    checked_rows,
    is_id,
    without_truth,
)
from cxrssl.data.tables.vindr_images import sizes_of, without_suffixes

CONSENSUS_READER = "consensus"
_MAX_NAMED = 5
# Pandas' own faults and broken encodings are ValueErrors, broken archives one of the others.
_UNREADABLE = (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, lzma.LZMAError)
_EXPECTED = ["image_id", "class_name", *BOX_COLUMNS]


def read_table(path: Path) -> Table:
    """Read a table of findings in Kaggle's or PhysioNet's form.

    A row that can't be used makes its image a fault; one whose class is unknown is left out, and
    counted in the notes. The rest is read.

    Raises:
        DataError: If the file or a column is missing, it has no rows, all classes are unknown, or
            class names and ids disagree.
    """
    raw = _read_csv(path)
    _check_columns(raw, path)
    classes = FINDINGS if "class_id" in raw.columns else LOCAL_FINDINGS
    is_consensus = "rad_id" not in raw.columns
    if is_consensus:
        raw["rad_id"] = CONSENSUS_READER
    _check_filled(raw[["image_id", "class_name", "rad_id"]], path)
    raw["image_id"], twin_faults, notes = without_suffixes(raw["image_id"])
    sizes, size_faults, size_notes = sizes_of(raw)
    raw, class_notes = _with_categories(raw, classes, path)
    unused_ids = set(raw.loc[~raw["has_class"], "image_id"])
    raw = raw[raw["has_class"]]
    rows = pd.DataFrame(
        {
            "image_id": raw["image_id"],
            "reader": raw["rad_id"],
            "category": raw["category"],
            **{column: raw[column] for column in BOX_COLUMNS},
        },
        columns=list(COLUMNS),
    )
    _check_class_ids(raw, path)
    rows, faults = checked_rows(rows, places=_lines(raw["line"]), form="corners")
    unmarked = {
        name: without_truth("all its rows have classes that are not VinDr-CXR's")
        for name in sorted(unused_ids - set(rows["image_id"]))
        if is_id(name)
    }
    # Kaggle's has both; PhysioNet's test table, agreed on by all readers, names none.
    parts = {}
    if classes is LOCAL_FINDINGS:
        parts = dict.fromkeys([*rows["image_id"], *unmarked], "test" if is_consensus else "train")
    return Table(
        rows,
        classes,
        size_faults | twin_faults | faults,
        parts,
        sizes,
        (*notes, *size_notes, *class_notes),
        unmarked,
        kinds=_kinds(rows),
    )


def has_findings(path: Path) -> bool:
    """Return whether a CSV has the columns of Kaggle's table, and most classes are VinDr-CXR's."""
    try:
        header = list(pd.read_csv(path, nrows=0).columns)
        if not set(_EXPECTED) <= set(header) or not {"rad_id", "class_id"} & set(header):
            return False
        names = pd.read_csv(path, usecols=["class_name"], dtype=str)["class_name"]
    except _UNREADABLE:
        return False
    plain = names.dropna().str.strip().str.casefold()
    found = plain[plain.ne(NO_FINDING.casefold())].unique()
    known = {name.casefold() for name in LOCAL_FINDINGS}
    return bool(len(plain)) and 2 * sum(name in known for name in found) >= len(found)


def read_physionet(folder: Path) -> Table:
    """Read all tables of a PhysioNet folder: the readers' train part, the agreed test part.

    An image that `image_labels_*.csv` lists and `annotations_*.csv` does not is one in which nobody
    found anything.

    Raises:
        DataError: As `read_table`.
    """
    parts: dict[str, str] = {}
    row_tables: list[pd.DataFrame] = []
    faults: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    notes: list[str] = []
    unmarked: dict[str, str] = {}
    for part in ("train", "test"):
        path = physionet_table(folder, part)
        table = read_table(path)
        annotated = {*table.rows["image_id"], *table.unmarked}
        normals, label_faults = _unannotated_images(path, annotated)
        rows = pd.concat([table.rows, normals], ignore_index=True)
        part_ids = {*rows["image_id"], *table.unmarked}
        repeated = sorted(part_ids & set(parts))
        if repeated:
            raise DataError(
                f"{path} and the train table both hold image {repeated[0]} and {len(repeated) - 1} "
                "more. An image is for training or for testing: take it out of one of them."
            )
        parts |= dict.fromkeys(part_ids, part)
        row_tables.append(rows)
        sizes |= table.sizes
        notes += [f"{path.name}: {note}" for note in table.notes]
        unmarked |= table.unmarked
        # A place is named by its table as well: both have a line 2.
        faults |= {k if k in parts else f"{part}-{k}": why for k, why in table.faults.items()}
        faults |= {f"{part}-labels-{key}": why for key, why in label_faults.items()}
    rows = pd.concat(row_tables, ignore_index=True)
    kinds = _kinds(rows)
    return Table(rows, LOCAL_FINDINGS, faults, parts, sizes, tuple(notes), unmarked, kinds=kinds)


def _kinds(rows: pd.DataFrame) -> dict[str, str]:
    """Return the images in which every reader found nothing, as normal."""
    found = rows.loc[rows["category"].ne(NO_FINDING), "image_id"]
    return dict.fromkeys(set(rows["image_id"]) - set(found), "normal")


def physionet_table(folder: Path, part: str, *, kind: str = "annotations") -> Path:
    """Return where a PhysioNet table lies: in `annotations/`, or beside it, zipped or not."""
    name = f"{kind}_{part}.csv"
    paths = [
        base / f"{name}{end}" for base in (folder / "annotations", folder) for end in ("", ".gz")
    ]
    return next((path for path in paths if path.is_file()), paths[0])


def _unannotated_images(
    annotations: Path, annotated: set[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return "No finding" rows of the images that only the table of image labels lists.

    And the faults of rows whose image id is none, by their lines.
    """
    path = annotations.with_name(annotations.name.replace("annotations_", "image_labels_"))
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS)), {}
    labels = _read_csv(path)
    if "image_id" not in labels.columns:
        raise DataError(f"{path} has no column image_id; it has {', '.join(labels.columns)}.")
    present = [name for name in ("image_id", "rad_id") if name in labels.columns]
    _check_filled(labels[present], path)
    labels["image_id"], suffix_faults, _ = without_suffixes(labels["image_id"])
    readers = labels["rad_id"] if "rad_id" in labels.columns else CONSENSUS_READER
    rows = pd.DataFrame({"image_id": labels["image_id"], "reader": readers})
    rows = rows.assign(category=NO_FINDING).reindex(columns=list(COLUMNS))
    rows, faults = checked_rows(rows, places=_lines(range(2, len(rows) + 2)), form="corners")
    return rows[~rows["image_id"].isin(annotated)].drop_duplicates(), suffix_faults | faults


def _lines(numbers: Iterable[int]) -> list[str]:
    return [f"line {number}" for number in numbers]


def _check_filled(required: pd.DataFrame, path: Path) -> None:
    if required.isna().any(axis=None):
        line = int(required.isna().any(axis=1).to_numpy().argmax()) + 2
        *names, last = required.columns
        columns = f"{', '.join(names)} and {last}" if names else last
        raise DataError(f"{path}, line {line}: {columns} must not be empty.")


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(
            f"{path} is not a file. The kaggle layout needs train.csv beside the folder train/, "
            "the physionet layout annotations/annotations_train.csv and annotations_test.csv."
        )
    text = dict.fromkeys(("image_id", "rad_id", "class_name"), str)
    try:
        # Ids such as "NA" are ids, and a row with too many fields is a fault, not an index.
        table = pd.read_csv(
            path,
            dtype=text,
            index_col=False,
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
        )
    except _UNREADABLE as error:
        raise DataError(
            f"{path} is not a table: {error}. Expected columns {', '.join(_EXPECTED)}."
        ) from error
    return table


def _check_columns(table: pd.DataFrame, path: Path) -> None:
    missing = [name for name in _EXPECTED if name not in table.columns]
    if "class_id" in table.columns and "rad_id" not in table.columns:
        missing.append("rad_id")
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; "
            f"it has {', '.join(map(str, table.columns))}. Expected {', '.join(_EXPECTED)}, and "
            "rad_id (Kaggle and PhysioNet's train table) and class_id (Kaggle)."
        )
    if table.empty:
        raise DataError(
            f"{path} has a header and no rows. Expected at least one row an image and reader."
        )


def _with_categories(
    raw: pd.DataFrame, classes: tuple[str, ...], path: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with columns `line`, `category` and `has_class`, and what is unknown.

    Raises:
        DataError: If no row has a class that is known.
    """
    names: dict[str, str] = {}
    first_error: DataError | None = None
    for name in raw["class_name"].unique():
        try:
            names[name] = canonical_name(name, among=classes)
        except DataError as error:
            first_error = first_error or error
    category = raw["class_name"].map(names)
    raw = raw.assign(line=np.arange(len(raw)) + 2, category=category, has_class=category.notna())
    if first_error is None:
        return raw, []
    if not names:
        raise DataError(f"{path}, line 2: {first_error}") from first_error
    counts = raw.loc[~raw["has_class"], "class_name"].value_counts()
    examples = ", ".join(f"{name!r} ({count})" for name, count in counts.head(_MAX_NAMED).items())
    more = f" and {len(counts) - _MAX_NAMED} more" if len(counts) > _MAX_NAMED else ""
    return raw, [
        f"{counts.sum()} row(s) have a class that is not one of VinDr-CXR's and are not used: "
        f"{examples}{more}"
    ]


def _check_class_ids(raw: pd.DataFrame, path: Path) -> None:
    if "class_id" not in raw.columns:
        return
    ids = {name: number for number, name in enumerate((*FINDINGS, NO_FINDING))}
    wrong = pd.to_numeric(raw["class_id"], errors="coerce").ne(raw["category"].map(ids))
    if wrong.any():
        row = raw[wrong].iloc[0]
        name = row["category"]
        raise DataError(
            f"{path}, line {row['line']}: class_id is {row['class_id']} and class_name "
            f"{name}, whose id is {ids[name]}. Correct one of them."
        )
