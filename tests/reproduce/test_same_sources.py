"""A plan whose films or labels have changed since its store was made says so, and runs nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrssl.config.plan import Plan
from cxrssl.core.errors import RunError
from cxrssl.data.tables import ReadOptions
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.reproduce import reproduce
from cxrssl.reproduce.checks import write_plan
from cxrssl.reproduce.costs import print_costs
from cxrssl.reproduce.folds import split_file, write_folds
from cxrssl.reproduce.same_sources import changes_of_sources, check_same_sources
from made_runs import ANY_START, made_plan

HEAD = "image,label,xmin,ymin,xmax,ymax,patient,split"


def write_film(folder: Path, number: int, *, side: int = 20) -> None:
    noise = np.random.default_rng(number).integers(0, 256, (side, side), np.uint8)
    Image.fromarray(noise).save(folder / f"f{number}.png")


def write_table(folder: Path, change: Callable[[str], str] = str) -> None:
    rows = [
        f"f{number}.png,{('mass', 'node')[number % 2]},1,2,9,{8 + number},p{number},"
        f"{('train', 'test')[number % 3 == 0]}"
        for number in range(10)
    ]
    (folder / "boxes.csv").write_text("\n".join([HEAD, *map(change, rows), ""]))


@pytest.fixture
def made(tmp_path: Path) -> tuple[Plan, Path, Path]:
    """Return a plan with a pool whose stores are there, its folder, and its source."""
    source, pool, out = (tmp_path / name for name in ("source", "films", "out"))
    for folder, numbers in ((source, range(10)), (pool, range(20, 24))):
        folder.mkdir()
        for number in numbers:
            write_film(folder, number)
    write_table(source)
    plan = made_plan(
        f"data.source={source}", f"data.pool={pool}", "pretrainings.simclr.pool=external"
    )
    write_plan(out, plan, [])
    ingest(source, out / "store", Settings(16), num_workers=1)
    pool_options = ReadOptions("images")
    ingest(pool, out / "pool", Settings(16), options=pool_options, num_workers=1)
    return plan, out, source


def in_folds(folder: Path) -> tuple[Plan, Path, Path]:
    """Return a plan with two folds, its folder, and its source, of which nothing is stored yet."""
    source = folder / "source"
    source.mkdir()
    for number in range(10):
        write_film(source, number)
    write_table(source)
    plan = made_plan(f"data.source={source}", "data.folds=2", "data.split=none")
    return plan, folder / "out", source


def refusal(plan: Plan, out: Path) -> str:
    with pytest.raises(RunError) as error:
        check_same_sources(plan, out)
    return str(error.value)


def test_a_source_as_it_was_is_gone_on_with(made: tuple[Plan, Path, Path]) -> None:
    plan, out, source = made
    assert changes_of_sources(plan, out) == []
    for path in source.iterdir():
        path.touch()  # copied anew, say
    assert changes_of_sources(plan, out) == []


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (",1,2,9,", ",1,2,8,", "boxes"),
        ("node", "nodule", "boxes, classes"),
        ("p1,", "p2,", "patients"),
        ("p1,train", "p1,test", "split"),
    ],
)
def test_a_table_that_has_changed_is_named(
    made: tuple[Plan, Path, Path], old: str, new: str, parts: str
) -> None:
    plan, out, source = made
    write_table(source, lambda row: row.replace(old, new))
    assert refusal(plan, out) == (
        f"{source} has changed since {out / 'store'} was made of it: it has other {parts} in its "
        f"table. The runs of {out} are of what was there before. Name another folder with --out, "
        f"or delete {out} to begin anew."
    )


def test_films_that_came_went_and_changed_are_counted(made: tuple[Plan, Path, Path]) -> None:
    plan, out, source = made
    (source / "f3.png").unlink()
    for number in (4, 5):
        write_film(source, number, side=30)
    for number in (10, 11, 12):
        write_film(source, number)
    counts = "films added (3), removed (1), whose file has another size (2)"
    assert f"{source} has changed" in refusal(plan, out)
    assert f"it has {counts}" in refusal(plan, out)


def test_a_pool_that_has_changed_is_refused_too(made: tuple[Plan, Path, Path]) -> None:
    plan, out, source = made
    write_film(source.parent / "films", 24)
    text = refusal(plan, out)
    assert f"{source.parent / 'films'} has changed since {out / 'pool'} was made of it" in text
    assert "it has films added (1). The runs" in text


def test_a_table_that_is_gone_is_a_change(made: tuple[Plan, Path, Path]) -> None:
    plan, out, source = made
    (source / "boxes.csv").unlink()
    assert "it has the layout images, and had csv; other boxes, classes, s" in refusal(plan, out)
    (source / "boxes.csv").write_text("image,colour\nf1.png,red\n")
    assert "was made of it, and can't be read now: " in refusal(plan, out)


def test_a_run_and_a_dry_run_begin_with_it(made: tuple[Plan, Path, Path]) -> None:
    plan, out, source = made
    write_table(source, lambda row: row.replace("1,2,9", "1,2,8"))
    before = sorted(out.rglob("*"))
    for call in (
        lambda: reproduce(plan, out, resources=ANY_START),
        lambda: print_costs(plan, out, ANY_START),
    ):
        with pytest.raises(RunError, match="has changed since"):
            call()
    assert sorted(out.rglob("*")) == before


def test_a_store_of_an_earlier_version_is_compared_by_what_it_has(
    made: tuple[Plan, Path, Path],
) -> None:
    plan, out, source = made
    path = out / "store" / "origin.json"
    recorded = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in recorded.items() if k not in _NEW}))
    write_table(source, lambda row: row.replace("1,2,9", "1,2,8"))
    assert changes_of_sources(plan, out) == []
    write_film(source, 10)
    assert "it has other films, or films of other sizes. The" in refusal(plan, out)
    for text in ('{"table_sha256": 1, "file_bytes": []}', "[]", "{"):
        path.write_text(text)
        assert changes_of_sources(plan, out) == []
    path.unlink()
    assert changes_of_sources(plan, out) == []


_NEW = ("file_bytes", "table_sha256")


def test_a_folder_that_is_gone_or_empty_and_a_store_that_is_not_complete_are_not_compared(
    made: tuple[Plan, Path, Path],
) -> None:
    plan, out, source = made
    write_table(source, lambda row: row.replace("1,2,9", "1,2,8"))
    (out / "store" / "manifest.json").rename(out / "aside.json")
    assert changes_of_sources(plan, out) == []
    (out / "aside.json").rename(out / "store" / "manifest.json")
    refusal(plan, out)
    shutil.rmtree(source)
    assert changes_of_sources(plan, out) == []
    source.mkdir()  # where a disk is not mounted
    assert changes_of_sources(plan, out) == []


def test_a_source_is_read_as_the_plan_reads_it(tmp_path: Path) -> None:
    plan, out, source = in_folds(tmp_path)
    options = ReadOptions(split="none")
    ingest(source, out / "store", Settings(16), options=options, num_workers=1)
    assert changes_of_sources(plan, out) == []
    write_table(source, lambda row: row.replace("train", "test"))
    assert changes_of_sources(plan, out) == []
    write_table(source, lambda row: row.replace("1,2,9", "1,2,8"))
    assert "it has other boxes in its table. The" in refusal(plan, out)


def test_an_ingest_that_is_called_again_stores_the_changed_table_and_is_equal_to_it(
    made: tuple[Plan, Path, Path],
) -> None:
    plan, out, source = made
    write_table(source, lambda row: row.replace("1,2,9", "1,2,8"))
    ingest(source, out / "store", Settings(16), num_workers=1)
    assert changes_of_sources(plan, out) == []
    ingest(source, out.parent / "fresh", Settings(16), num_workers=1)
    files = [
        (folder / "origin.json").read_bytes() for folder in (out / "store", out.parent / "fresh")
    ]
    assert files[0] == files[1]


def test_stores_of_folds_are_compared_without_their_split(tmp_path: Path) -> None:
    plan, out, source = in_folds(tmp_path)
    write_folds(plan, out)
    options = ReadOptions(split=str(split_file(out, 1)))
    ingest(source, out / "store-fold1", Settings(16), options=options, num_workers=1)
    assert changes_of_sources(plan, out) == []
    write_table(source, lambda row: row.replace(",1,2,9,", ",1,2,8,"))
    assert "store-fold1 was made of it: it has other boxes in its table" in refusal(plan, out)
