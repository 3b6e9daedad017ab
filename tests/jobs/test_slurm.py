"""Slurm without a cluster: checks before anything is submitted, and what is read from squeue."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from cxrssl.config.plan import SlurmSection
from cxrssl.core.errors import RunError
from cxrssl.core.lock import sole_user
from cxrssl.jobs import slurm, slurm_queue
from cxrssl.jobs.job import Job
from cxrssl.jobs.slurm import check_idle, run_on_slurm
from cxrssl.jobs.slurm_task import SlurmTask
from job_notes import Notes

LIMITS = SlurmSection(gpus=0, cpus=1, memory_gb=1)


def program(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of Slurm commands that fail; sbatch notes that it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in slurm._COMMANDS:
        program(folder, name, "exit 1")
    program(folder, "sbatch", f"touch {folder}/submitted", "echo Submitted batch job 7")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    # submitit's watcher remembers the jobs of other tests, and asks every few seconds.
    monkeypatch.setattr(slurm_queue.QueuedJob, "watcher", slurm_queue._QueueWatcher(0))
    monkeypatch.setattr(slurm, "_TICK_S", 0.01)
    monkeypatch.setattr(slurm, "_GRACE_S", 0.1)
    return folder


def make_job(folder: Path, name: str, *needs: str, trains: bool = False) -> Job:
    return Job(name, (), folder / name, needs, trains=trains)


def submitted_before(plan: Path, content: str = '{"ingest": "7"}') -> None:
    (plan / "slurm").mkdir(exist_ok=True)
    (plan / "slurm/queue.json").write_bytes(content.encode("latin-1"))


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"sbatch, squeue, .* not found.*--executor local"):
        run_on_slurm([], tmp_path, limits=LIMITS, watcher=Notes())
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(RunError, match=r"pip install 'cxrssl\[slurm\]'"):
        run_on_slurm([], tmp_path, limits=LIMITS, watcher=Notes())


@pytest.mark.parametrize("name", ["a\ntouch pwned", "a\rb", "50%j", "a\\b", "a\u2028b"])
def test_a_folder_that_sbatch_would_read_otherwise_is_refused(
    programs: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(RunError, match="can't be named in a batch script"):
        run_on_slurm([make_job(tmp_path, "x")], tmp_path / name, limits=LIMITS, watcher=Notes())
    assert not (programs / "submitted").exists()


@pytest.mark.parametrize("content", ["[1]", '{"a": 7}', '{"a": "--me"}', '{"a": "7;x"}', "\xff"])
def test_a_damaged_list_of_jobs_is_named(programs: Path, tmp_path: Path, content: str) -> None:
    submitted_before(tmp_path, content)
    with pytest.raises(RunError, match=r"queue\.json (is damaged|is not JSON|holds no mapping)"):
        check_idle(tmp_path)


@pytest.mark.parametrize(
    ("answer", "is_live"),
    [
        ("echo '7|PENDING|N/A|Priority'", True),
        ("echo '7|CONFIGURING|2026-11-28T23:00:00|None'", True),
        ("exit 1", True),
        ("echo '7|COMPLETED|2026-11-28T23:00:00|None'", False),
        ("echo '8|RUNNING|2026-11-28T23:00:00|None'", False),
    ],
)
def test_jobs_in_the_queue_are_not_run_on_this_machine_too(
    programs: Path, tmp_path: Path, answer: str, is_live: bool
) -> None:
    program(programs, "squeue", answer)
    check_idle(tmp_path)  # a plan that has never seen a cluster
    submitted_before(tmp_path)
    if not is_live:
        check_idle(tmp_path)
        return
    with pytest.raises(RunError, match=r"1 jobs of .* are in the Slurm queue.* \(7\)"):
        check_idle(tmp_path)


def test_a_queued_job_is_kept_unless_what_it_needs_has_failed(
    programs: Path, tmp_path: Path
) -> None:
    lines = ("1|FAILED|", "2|PENDING|", "3_0|RUNNING|", "3_1|COMPLETED|", "4|PENDING|")
    lines = (*(f"{line}N/A|Priority" for line in lines), "5|PENDING|N/A|PartitionTimeLimit")
    program(programs, "squeue", *(f"echo '{line}'" for line in lines))
    program(programs, "scancel", f"echo $@ >> {programs}/cancelled")
    needs = {"bad": (), "after-bad": ("bad",), "runs": (), "lost": (), "after-runs": ("runs",)}
    waiting = {name: make_job(tmp_path, name, *needs[name]) for name in needs}
    waiting |= {"never": make_job(tmp_path, "never"), "new": make_job(tmp_path, "new", "runs")}
    ids = {"bad": "1", "after-bad": "2", "runs": "3_0", "lost": "3_1", "after-runs": "4"}
    submitted_before(tmp_path, json.dumps(ids | {"never": "5"}))
    runnable = slurm._keep_runnable(waiting, slurm._queued_jobs(tmp_path))
    assert runnable == {"runs": "3_0", "after-runs": "4"}
    assert sorted((programs / "cancelled").read_text().split()) == ["2", "5"]


def test_a_long_silence_is_not_taken_for_the_end_of_jobs(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "_SILENCE_S", 0.5)
    with pytest.raises(RunError, match=r"Slurm has not answered .*\. The jobs go on\. "):
        run_on_slurm([make_job(tmp_path, "x")], tmp_path, limits=LIMITS, watcher=Notes())


def test_a_job_that_slurm_cancelled_because_another_failed_was_not_run(
    programs: Path, tmp_path: Path
) -> None:
    states = ("7|FAILED|N/A|None", "8|PENDING|N/A|DependencyNeverSatisfied", "9|CANCELLED|N/A|None")
    program(programs, "squeue", *(f"echo '{state}'" for state in states))
    count = f"$(expr 6 + $(cat {programs}/count))"
    program(
        programs,
        "sbatch",
        f"echo x >> {programs}/lines",
        f"wc -l < {programs}/lines > {programs}/count",
        f'echo "Submitted batch job {count}"',
    )
    jobs = [make_job(tmp_path, "c", "b"), make_job(tmp_path, "b", "a"), make_job(tmp_path, "a")]
    faults = run_on_slurm(jobs, tmp_path, limits=LIMITS, watcher=Notes())
    assert faults.pop("a").startswith("Slurm job 7, failed: ")
    assert faults == dict.fromkeys(("b", "c"), "not run, because a failed")


def test_the_reason_of_a_failure_is_in_the_newer_of_two_logs(
    programs: Path, tmp_path: Path
) -> None:
    error = tmp_path / "slurm/7_0_log.err"
    program(programs, "squeue", f"echo 'no room' > {error}", "echo '7|OUT_OF_MEMORY|N/A|None'")
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs/x.log"
    for changed, reason in (
        (0, f"no room (full log: {error})"),
        (2**31, f"said (full log: {log})"),
    ):
        log.write_text("said\n")
        os.utime(log, (changed, changed))
        faults = run_on_slurm([make_job(tmp_path, "x")], tmp_path, limits=LIMITS, watcher=Notes())
        assert faults == {"x": f"Slurm job 7, out of memory: {reason}"}


def test_jobs_with_the_same_needs_and_machine_are_together(tmp_path: Path) -> None:
    jobs = [
        make_job(tmp_path, "phantom"),
        make_job(tmp_path, "ingest", "phantom", "never-heard-of"),
        make_job(tmp_path, "control", "ingest", trains=True),
        make_job(tmp_path, "pre-a", "ingest", trains=True),
        make_job(tmp_path, "pre-b", "ingest", trains=True),
        make_job(tmp_path, "a1", "ingest", "pre-a", trains=True),
        make_job(tmp_path, "b1", "pre-b", "ingest", trains=True),
        make_job(tmp_path, "a2", "pre-a", "ingest", trains=True),
        make_job(tmp_path, "table", "ingest"),
    ]
    waiting = {job.name: job for job in jobs}
    groups = list(slurm._job_arrays(waiting, submitted=set()))
    assert [[job.name for job in group] for group in groups] == [
        ["phantom"],
        ["ingest"],
        ["control", "pre-a", "pre-b"],
        ["table"],
        ["a1", "a2"],
        ["b1"],
    ]
    groups = list(slurm._job_arrays(waiting, submitted={"phantom", "ingest", "pre-a", "a2"}))
    names = [[job.name for job in group] for group in groups]
    assert names == [["control", "pre-b"], ["table"], ["a1"], ["b1"]]
    many = {str(k): make_job(tmp_path, str(k)) for k in range(2100)}
    assert [len(group) for group in slurm._job_arrays(many, submitted=set())] == [1000, 1000, 100]


def test_a_job_that_was_submitted_twice_does_its_work_once(tmp_path: Path) -> None:
    task = SlurmTask(make_job(tmp_path, "product"), tmp_path)
    lock, log = tmp_path / "locks/product", tmp_path / "logs/product.log"
    lock.mkdir(parents=True)
    second = threading.Thread(target=task)
    with sole_user(lock, on_wait=lambda: None):
        second.start()
        deadline = time.monotonic() + 30
        while not log.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        task.job.product.touch()
    second.join()
    assert log.read_text() == "Waiting: this job runs already.\n"


def test_a_task_whose_command_makes_no_product_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    left_over = tmp_path / "left-over"
    left_over.mkdir()
    arguments = ("ingest", str(tmp_path / "nowhere"), str(tmp_path / "store"), "--size", "16")
    unfinished = Job("x", arguments, tmp_path / "product", not_resumable=left_over)
    with pytest.raises(RunError, match=r"^exit code 2: Error: .*nowhere is not a folder\."):
        SlurmTask(unfinished, tmp_path)()
    assert not left_over.exists()
