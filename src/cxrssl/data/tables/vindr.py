"""Tables of VinDr-CXR as Kaggle and PhysioNet have them, `.csv` or `.csv.gz`.

Kaggle VinBigData: `image_id, class_name, class_id, rad_id, x_min, y_min, x_max, y_max`, and 14
findings.
PhysioNet: the same without `class_id`, 22 findings; its test table has no `rad_id` either, because
its boxes are what five radiologists agreed on: their reader is "consensus".
"""

from pathlib import Path

import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.labels import FINDINGS, LOCAL_FINDINGS, NO_FINDING, canonical_name
from cxrssl.data.tables.rows import BOX_COLUMNS, COLUMNS, Table, checked_rows

CONSENSUS_READER = "consensus"
_EXPECTED = ["image_id", "class_name", *BOX_COLUMNS]


def read_table(path: Path) -> Table:
    """Read a table of findings in Kaggle's or PhysioNet's form.

    A row that can't be used makes its image a fault; the rest is read.

    Raises:
        DataError: If the file or a column is missing, it has no rows, a class is unknown, or class
            names and ids disagree.
    """
    raw = _read_csv(path)
    _check_columns(raw, path)
    classes = FINDINGS if "class_id" in raw.columns else LOCAL_FINDINGS
    agreed = "rad_id" not in raw.columns
    if agreed:
        raw["rad_id"] = CONSENSUS_READER
    _check_filled(raw[["image_id", "class_name", "rad_id"]], path)
    names = {name: _canonical(name, classes, raw, path) for name in raw["class_name"].unique()}
    rows = pd.DataFrame(
        {
            "image_id": raw["image_id"],
            "reader": raw["rad_id"],
            "category": raw["class_name"].map(names),
            **{column: raw[column] for column in BOX_COLUMNS},
        },
        columns=list(COLUMNS),
    )
    _check_class_ids(raw, rows, path)
    rows, faults = checked_rows(rows, first=2, unit="line")
    # Kaggle's has both; PhysioNet's test table, agreed on by all readers, names none.
    parts = {}
    if classes is LOCAL_FINDINGS:
        parts = dict.fromkeys(rows["image_id"], "test" if agreed else "train")
    return Table(rows, classes, faults, parts)


def read_physionet(folder: Path) -> Table:
    """Read all tables of a PhysioNet folder: the readers' train part, the agreed test part.

    An image that `image_labels_*.csv` lists and `annotations_*.csv` does not is one in which nobody
    found anything.

    Raises:
        DataError: As `read_table`.
    """
    parts: dict[str, str] = {}
    found: list[pd.DataFrame] = []
    faults: dict[str, str] = {}
    for part in ("train", "test"):
        path = physionet_table(folder, part)
        table = read_table(path)
        unmarked, odd = _unmarked(path, table.rows)
        rows = pd.concat([table.rows, unmarked], ignore_index=True)
        twice = sorted(set(rows["image_id"]) & set(parts))
        if twice:
            raise DataError(
                f"{path} and the train table both hold image {twice[0]} and {len(twice) - 1} more. "
                "An image is for training or for testing: take it out of one of them."
            )
        parts |= dict.fromkeys(rows["image_id"], part)
        found.append(rows)
        # A place is named by its table as well: both have a line 2.
        faults |= {k if k in parts else f"{part}-{k}": why for k, why in table.faults.items()}
        faults |= {f"{part}-labels-{place}": why for place, why in odd.items()}
    return Table(pd.concat(found, ignore_index=True), LOCAL_FINDINGS, faults, parts)


def physionet_table(folder: Path, part: str, *, kind: str = "annotations") -> Path:
    """Return where a PhysioNet table lies: in `annotations/`, or beside it, zipped or not."""
    name = f"{kind}_{part}.csv"
    places = [
        base / f"{name}{end}" for base in (folder / "annotations", folder) for end in ("", ".gz")
    ]
    return next((place for place in places if place.is_file()), places[0])


def _unmarked(annotations: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return "No finding" rows of the images that only the table of image labels lists.

    And the faults of rows whose image id is none, by their lines.
    """
    path = annotations.with_name(annotations.name.replace("annotations_", "image_labels_"))
    if not path.is_file():
        return rows.iloc[:0], {}
    labels = _read_csv(path)
    if "image_id" not in labels.columns:
        raise DataError(f"{path} has no column image_id; it has {', '.join(labels.columns)}.")
    named = [name for name in ("image_id", "rad_id") if name in labels.columns]
    _check_filled(labels[named], path)
    readers = labels["rad_id"] if "rad_id" in labels.columns else CONSENSUS_READER
    listed = pd.DataFrame({"image_id": labels["image_id"], "reader": readers})
    listed = listed.assign(category=NO_FINDING).reindex(columns=list(COLUMNS))
    checked, faults = checked_rows(listed, first=2, unit="line")
    return checked[~checked["image_id"].isin(set(rows["image_id"]))].drop_duplicates(), faults


def _check_filled(required: pd.DataFrame, path: Path) -> None:
    if required.isna().any(axis=None):
        line = int(required.isna().any(axis=1).to_numpy().argmax()) + 2
        *names, last = required.columns
        words = f"{', '.join(names)} and {last}" if names else last
        raise DataError(f"{path}, line {line}: {words} must not be empty.")


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(
            f"{path} is no file. The kaggle layout needs train.csv beside the folder train/, the "
            "physionet layout annotations/annotations_train.csv and annotations_test.csv."
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
    except (ValueError, OSError, EOFError) as error:
        # Pandas' own faults and broken encodings are ValueErrors, a broken gzip one of the others.
        raise DataError(
            f"{path} is no table: {error}. Expected columns {', '.join(_EXPECTED)}."
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


def _canonical(name: str, classes: tuple[str, ...], raw: pd.DataFrame, path: Path) -> str:
    try:
        return canonical_name(name, among=classes)
    except DataError as error:
        line = int(raw["class_name"].eq(name).to_numpy().argmax()) + 2
        raise DataError(f"{path}, line {line}: {error}") from error


def _check_class_ids(raw: pd.DataFrame, rows: pd.DataFrame, path: Path) -> None:
    if "class_id" not in raw.columns:
        return
    ids = {name: number for number, name in enumerate((*FINDINGS, NO_FINDING))}
    wrong = pd.to_numeric(raw["class_id"], errors="coerce").ne(rows["category"].map(ids))
    if wrong.any():
        place = int(wrong.to_numpy().argmax())
        name = rows["category"].iloc[place]
        raise DataError(
            f"{path}, line {place + 2}: class_id is {raw['class_id'].iloc[place]} and class_name "
            f"{name}, whose id is {ids[name]}. Correct one of them."
        )
