"""What is said of a plan's jobs, and when a report is made: while it runs, and anew."""

import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cxrssl.core.files import write_json, write_text
from cxrssl.core.lock import sole_user
from cxrssl.jobs.job import NOT_RUN, Job, Outcome
from cxrssl.reproduce.jobs import Training, trainings
from cxrssl.reproduce.progress_table import ProgressTable
from cxrssl.reproduce.status import Progress, Status, progress_of
from cxrssl.reproduce.watch import Watch, _headline, is_stale
from made_runs import made_plan as plan

FILES = ("report.html", "report.csv", "report.md", "report.tex")


@pytest.fixture
def runs(tmp_path: Path) -> list[Training]:
    """Return the runs of a plan that has ended, with a report of them."""
    runs = trainings(plan(), tmp_path)
    arms = [run.job.name for run in runs if run.job.arguments[0] == "finetune"]
    assert len(arms) == len(runs) - 1
    write_json(tmp_path / "report.json", {"arms": arms})
    for name in (*FILES, "plan.yaml"):
        write_text(tmp_path / name, "")
    for run in runs:
        write_text(run.job.product, "{}")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    return runs


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


@pytest.fixture
def watch(tmp_path: Path) -> tuple[Watch, Status, io.StringIO]:
    runs = trainings(plan(), tmp_path)
    path = tmp_path / "status.json"
    jobs = [run.job for run in runs]
    status = Status("smoke", path, progress_of(jobs, runs, path), 1, tmp_path)
    printed = io.StringIO()
    return (
        Watch(status, ProgressTable(Console(file=printed), None), tmp_path, lock_fd=0),
        status,
        printed,
    )


def test_what_never_ran_is_not_said_one_by_one(
    watch: tuple[Watch, Status, io.StringIO], tmp_path: Path
) -> None:
    watcher, status, printed = watch
    first, second, third = [progress.job for progress in status.jobs.values()][:3]
    write_json(first.product, {"metrics": {"AP50": {"value": 0.25}}})
    watcher.ended(Outcome(first, 61.0, ""))
    watcher.ended(Outcome(second, 0.0, f"{NOT_RUN} it needs another"))
    watcher.ended(Outcome(third, 1.0, "exit code 2: no room"))
    assert printed.getvalue().splitlines() == [
        f"[1/4] {first.name} done in 61 s, AP50 0.250",
        f"[1/4] {third.name} FAILED in 1 s: exit code 2: no room",
    ]
    assert [progress.state for progress in status.jobs.values()] == [
        "done",
        "failed",
        "failed",
        "waiting",
    ]


def test_a_plan_whose_jobs_all_wait_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrssl.reproduce.progress_table._QUIET_S", 0.0)
    printed = io.StringIO()
    table = ProgressTable(Console(file=printed), None)
    ingest = Progress(Job("ingest", (), Path("store")), training=None)
    for running in ([], [ingest]):
        table.show(running, done=1, total=3, seconds_left=None)
    assert printed.getvalue().splitlines() == [
        "[1/3] at work: none yet, all wait",
        "[1/3] at work: ingest at work",
    ]


def test_the_status_says_how_a_call_ended(watch: tuple[Watch, Status, io.StringIO]) -> None:
    watcher, status, _ = watch

    def state() -> str:
        return str(json.loads(status.path.read_text())["state"])

    with watcher:
        assert state() == "running"
    assert state() == "ended"
    with pytest.raises(KeyboardInterrupt), watcher:
        raise KeyboardInterrupt
    assert state() == "stopped"


def test_one_report_is_written_at_a_time_and_not_outlived(
    watch: tuple[Watch, Status, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, status, _ = watch
    begun: list[subprocess.Popen[bytes]] = []

    def begin(_: Path, __: int) -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen(["sleep", "60"]))
        return begun[-1]

    monkeypatch.setattr("cxrssl.reproduce.watch._begin_report", begin)
    now, start = [time.monotonic()], time.monotonic()
    monkeypatch.setattr("cxrssl.reproduce.watch.time.monotonic", lambda: now[0])
    job = next(iter(status.jobs.values())).job
    with watcher:
        for after, is_new, reports in ((179, True, 0), (181, True, 1), (9000, True, 1)):
            now[0] = start + after
            if is_new:
                watcher.ended(Outcome(job, 1.0, "exit code 2"))
            watcher.tick()
            assert len(begun) == reports
        begun[0].kill()
        begun[0].wait()
        watcher.tick()
        assert len(begun) == 2
        now[0] += 600  # nothing new
        begun[1].kill()
        begun[1].wait()
        watcher.tick()
        assert len(begun) == 2
        now[0] += 400
        watcher.tick()
        assert len(begun) == 3
    assert begun[2].poll() is not None


# As after a kill, nobody waits for the report.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_report_that_outlives_a_killed_call_keeps_the_folder_held(
    watch: tuple[Watch, Status, io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, slow = tmp_path / "number", tmp_path / "slow"
    write_text(slow, f"#!/bin/sh\necho $$ > {number}\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr("cxrssl.reproduce.watch.sys.executable", str(slow))
    monkeypatch.setattr("cxrssl.reproduce.watch._REPORT_AT_LEAST_EVERY_S", 0.0)
    with sole_user(tmp_path, on_wait=lambda: None) as lock_fd:
        Watch(
            watch[1], ProgressTable(Console(file=watch[2]), None), tmp_path, lock_fd=lock_fd
        ).tick()
    deadline = time.monotonic() + 30
    while not (number.is_file() and number.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waited: list[bool] = []

    def on_wait() -> None:
        waited.append(True)
        os.kill(int(number.read_text()), signal.SIGKILL)

    with sole_user(tmp_path, on_wait=on_wait):
        assert waited


def test_the_loss_of_a_pretraining_stands_beside_chance_where_its_method_has_one(
    tmp_path: Path,
) -> None:
    product = tmp_path / "metrics.json"
    write_json(product, {"loss": 1.25, "chance_loss": 2.0})
    assert _headline(product) == ", loss 1.250 (chance 2.000)"
    write_json(product, {"loss": 1.25})
    assert _headline(product) == ", loss 1.250"
