"""Writes a made, multi-reader chest radiograph data set in the layout of Kaggle VinBigData.

`OUT/train/<image_id>.dicom`, `OUT/train.csv` (a row a reader's box, or one "No finding" row for a
reader who saw nothing) and `OUT/phantom.json`. The images teach nothing about patients: they exist
so that every command runs, and can be checked, without real data.
"""

import csv
import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from cxrssl.core.errors import DataError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.labels import FINDINGS, NO_FINDING, class_id
from cxrssl.core.processes import defer_signals, end_with_parent, process_pool
from cxrssl.data.dicom.write import FileIdentity, write_dicom
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import ImagePlan, PhantomSettings, image_rng, plan_image
from cxrssl.data.phantom.storage import choose_form, stored_pixels

GENERATOR_VERSION = 2
COLUMNS = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
MIN_SIDE_PX = 128
_CHEST_MM = 380.0

Row = tuple[str | int, ...]


@dataclass(frozen=True)
class PhantomSummary:
    """What was made; `boxes_by_class` counts readers' boxes, not consensus."""

    num_images: int
    num_normal_images: int
    num_readers: int
    num_boxes: int
    boxes_by_class: dict[str, int]


def make_phantom(
    out: Path,
    *,
    num_images: int,
    seed: int,
    normal_share: float = 0.3,
    min_side_px: int = 800,
    max_side_px: int = 1200,
    num_workers: int = 1,
    on_image: Callable[[], None] | None = None,
) -> PhantomSummary:
    """Make a data set; every byte is a function of seed, settings and image index.

    Neither the number of workers nor the number of images changes an image: a longer data set
    starts with the shorter one.

    Args:
        out: Folder to make, or an empty one.
        num_images: How many radiographs, >= 1.
        seed: Decides everything drawn, >= 0.
        normal_share: Fraction in [0, 1] of images without a finding. VinDr-CXR has 0.707; the
            default is lower so that small data sets have something to learn.
        min_side_px: Shortest side of an image, >= 128.
        max_side_px: Longest side of an image.
        num_workers: Processes that draw and write.
        on_image: Called after each image, in order, in this process.

    Raises:
        DataError: If a number is out of range, or `out` exists and is not an empty folder.
    """
    settings = PhantomSettings(seed, normal_share, min_side_px, max_side_px)
    _check(settings, num_images=num_images, num_workers=num_workers)
    _check_free(out)
    (out / "train").mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for image_rows in _made_images(out / "train", settings, num_images, num_workers):
        rows += image_rows
        if on_image is not None:
            on_image()
    summary = _summarise(rows)
    _write_counts(out / "phantom.json", settings, summary)
    _write_table(out / "train.csv", in_table_order(rows, seed=seed))
    return summary


def table_rows(plan: ImagePlan) -> list[Row]:
    """Return an image's rows of `train.csv`; a reader without a box has one empty row."""
    rows: list[Row] = []
    for reader in plan.readers:
        marks = [mark for mark in plan.marks if mark.reader == reader]
        rows += [
            (plan.image_id, mark.name, class_id(mark.name), reader, *mark.box_px) for mark in marks
        ]
        if not marks:
            rows.append((plan.image_id, NO_FINDING, class_id(NO_FINDING), reader, "", "", "", ""))
    return rows


def in_table_order(rows: list[Row], *, seed: int) -> list[Row]:
    """Return rows in the random order of VinDr-CXR's table, where an image's are far apart.

    An image of many rows is then likely to come first. So the order of first appearance goes by
    size, and a split by it is not a fair draw: fault P4 of the paper's published code. More images
    leave the order of those there are as it is.
    """

    def place(row: Row) -> bytes:
        return hashlib.sha256(f"{seed}/{row}".encode()).digest()

    return sorted(rows, key=place)


def make_image(folder: Path, settings: PhantomSettings, index: int) -> list[Row]:
    """Write one radiograph into `folder` and return its rows."""
    plan = plan_image(settings, index)
    brightness = paint_image(plan, settings.seed)
    pixels, form = stored_pixels(brightness, choose_form(settings.seed, index))
    rng = image_rng(settings.seed, index, "identity")
    identity = FileIdentity(
        key=f"cxrssl phantom {settings.seed} {index}",
        patient=f"PHANTOM-{plan.image_id[:8].upper()}",
        modality="DX" if rng.random() < 0.5 else "CR",
        date=f"{rng.integers(2018, 2021)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
        spacing_mm=_CHEST_MM / plan.width_px,
    )
    write_dicom(folder / f"{plan.image_id}.dicom", pixels, form=form, identity=identity)
    return table_rows(plan)


def _made_images(
    folder: Path, settings: PhantomSettings, num_images: int, num_workers: int
) -> Iterator[list[Row]]:
    make = partial(make_image, folder, settings)
    if num_workers == 1:
        yield from map(make, range(num_images))
        return
    # A fresh interpreter a worker: forking a process that runs threads can hang.
    context = multiprocessing.get_context("spawn")
    num_processes = min(num_workers, num_images)
    with process_pool(num_processes, context=context, initializer=end_with_parent) as pool:
        with defer_signals():
            images = [pool.submit(make, number) for number in range(num_images)]
        for image in images:
            yield image.result()


def _check(settings: PhantomSettings, *, num_images: int, num_workers: int) -> None:
    normal, lowest, highest = settings.normal_share, settings.min_side_px, settings.max_side_px
    checks: dict[str, tuple[float, bool, str]] = {
        "num_images": (num_images, num_images >= 1, "at least 1"),
        "seed": (settings.seed, settings.seed >= 0, "0 or more"),
        "normal_share": (normal, 0 <= normal <= 1, "a fraction from 0 to 1"),
        "min_side_px": (lowest, lowest >= MIN_SIDE_PX, f"at least {MIN_SIDE_PX}"),
        "max_side_px": (highest, highest >= lowest, f"at least min_side_px, {lowest}"),
        "num_workers": (num_workers, num_workers >= 1, "at least 1"),
    }
    for name, (value, fits, expected) in checks.items():
        if not fits:
            raise DataError(f"{name} is {value}; expected {expected}. Choose another value.")


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; expected a folder to make. Choose another name.")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(
            f"{out} is not empty; a phantom is made into a new folder. "
            "Choose another folder, or delete this one if it is an unfinished phantom."
        )


def _summarise(rows: list[Row]) -> PhantomSummary:
    images = {row[0] for row in rows}
    with_findings = {row[0] for row in rows if row[1] != NO_FINDING}
    counts = Counter(str(row[1]) for row in rows if row[1] != NO_FINDING)
    return PhantomSummary(
        num_images=len(images),
        num_normal_images=len(images) - len(with_findings),
        num_readers=len({row[3] for row in rows}),
        num_boxes=sum(counts.values()),
        boxes_by_class={name: counts[name] for name in FINDINGS},
    )


def _write_counts(path: Path, settings: PhantomSettings, summary: PhantomSummary) -> None:
    content = {
        "generator": "cxrssl.data.phantom",
        "generator_version": GENERATOR_VERSION,
        "settings": asdict(settings),
        "counts": asdict(summary),
    }
    write_json(path, content)


def _write_table(path: Path, rows: list[Row]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
