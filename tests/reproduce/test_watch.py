"""When a report is made anew: it lacks a run, or is older than one, or than the plan."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrssl.core.files import write_json, write_text
from cxrssl.reproduce.jobs import Training, trainings
from cxrssl.reproduce.watch import is_stale
from made_runs import plan

FILES = ("report.html", "report.csv", "report.md", "report.tex")


@pytest.fixture
def runs(tmp_path: Path) -> list[Training]:
    """Return the runs of a plan that has ended, with a report of them."""
    found = trainings(plan(), tmp_path)
    arms = [one.job.name for one in found if one.job.arguments[0] == "finetune"]
    assert len(arms) == len(found) - 1
    write_json(tmp_path / "report.json", {"arms": arms})
    for name in (*FILES, "plan.yaml"):
        write_text(tmp_path / name, "")
    for one in found:
        write_text(one.job.product, "{}")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    return found


def newer(path: Path) -> None:
    os.utime(path, (2, 2))


def test_a_report_of_all_runs_is_kept(runs: list[Training], tmp_path: Path) -> None:
    assert not is_stale(tmp_path, runs)


@pytest.mark.parametrize(
    "change",
    [
        *(lambda folder, name=name: (folder / name).unlink() for name in (*FILES, "report.json")),
        lambda folder: newer(folder / "plan.yaml"),
        lambda folder: newer(folder / "ssl-50-seed0/metrics.json"),
        lambda folder: newer(folder / "pretrain-simclr-50-seed0/metrics.json"),
        lambda folder: write_json(folder / "report.json", {"arms": ["ssl-50-seed0"]}),
    ],
)
def test_a_report_is_made_anew(
    change: Callable[[Path], None], runs: list[Training], tmp_path: Path
) -> None:
    change(tmp_path)
    assert is_stale(tmp_path, runs)
