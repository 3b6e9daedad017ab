"""The folds of a plan: files that say which films each fold tests on, one for each ingest."""

import csv
import io
from pathlib import Path

from cxrssl.config.plan import Plan
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_text
from cxrssl.data.protocol import folds_of
from cxrssl.data.tables.source import read_source


def write_folds(plan: Plan, out: Path) -> None:
    """Write the split of each fold of a plan, as `cxrssl ingest --split` reads it.

    Raises:
        RunError: If there are fewer films or patients than folds, or other films than when the
            runs of the folder were begun.
        DataError: If the source can't be read.
    """
    if plan.data.folds is None:
        return
    for number, text in enumerate(_texts(plan, plan.data.folds), start=1):
        path = split_file(out, number)
        if not path.is_file():
            write_text(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise RunError(
                f"{path} divides other films than {plan.data.source} holds now, and runs were "
                "made with it. Name another folder with --out."
            )


def split_file(out: Path, number: int) -> Path:
    """Return the file with the split of a fold."""
    return out / "folds" / f"fold{number}.csv"


def _texts(plan: Plan, num_folds: int) -> list[str]:
    """Return the content of each fold's file."""
    data = plan.data
    assert data.source is not None  # the schema wants one
    source = read_source(
        data.source, layout=data.layout, patient_from=data.patient_from, split="none"
    )
    table = source.table
    ids = sorted(set(table.rows["image_id"]) - set(source.faults))
    fold_of = folds_of(ids, patients=table.patients, num_folds=num_folds)
    if len(set(fold_of.values())) < num_folds:
        raise RunError(
            f"data.folds is {num_folds}, and {data.source} has {len(set(fold_of.values()))} films "
            "or patients that were read. Take fewer folds."
        )
    texts = []
    for number in range(1, num_folds + 1):
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", "split"])
        writer.writerows((name, "test" if fold_of[name] == number else "train") for name in ids)
        texts.append(buffer.getvalue())
    return texts
