"""Slurm without Slurm: what is made of its words, and of its silence."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cxrssl.core.errors import RunError
from cxrssl.jobs import slurm, slurm_queue, slurm_task
from cxrssl.jobs.job import Job, Outcome
from cxrssl.jobs.slurm_queue import Entry, check_idle, follow, queue

LIMITS = slurm.Limits(None, None, 5, 0, 1, 1, 1, 0)


def program(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", f'echo "$0 $@" >> {folder}/calls', *lines]) + "\n")
    path.chmod(0o755)


def calls(folder: Path, name: str) -> list[str]:
    said = (folder / "calls").read_text().splitlines()
    return [line.split(" ", 1)[1] for line in said if line.startswith(f"{folder / name} ")]


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_queue, "_TICK_S", 0.01)
    return folder


def job(folder: Path, name: str, *needs: str, trains: bool = False) -> Job:
    return Job(name, (), folder / name, needs, trains=trains)


def test_times_states_and_reasons_are_read(bin_: Path) -> None:
    program(
        bin_,
        "squeue",
        "echo '7|RUNNING|1-02:03:04|None'",
        "echo '8_0|PENDING|0:00|launch failed requeued held'",
        "echo '8_1|OUT_OF_MEMORY|59:59|OutOfMemory'",
        "echo '9|RUNNING|INVALID|None'",
        "echo '10|RUNNING|0:01|None'",
    )
    found = queue(["7", "8_0", "8_1", "9", "11"])
    assert found == {
        "7": Entry("RUNNING", "None", 93784.0),
        "8_0": Entry("PENDING", "launch failed requeued held", 0.0),
        "8_1": Entry("OUT_OF_MEMORY", "OutOfMemory", 3599.0),
        "9": Entry("RUNNING", "None", 0.0),
    }
    assert [one.has_ended for one in found.values()] == [False, False, True, False]
    assert [call.split("--jobs=")[1] for call in calls(bin_, "squeue")] == ["7,8,9,11"]
    assert queue([]) == {}
    assert len(calls(bin_, "squeue")) == 1


def test_a_moment_of_silence_is_waited_out(bin_: Path) -> None:
    fails = f"if [ $(wc -l < {bin_}/calls) -lt 3 ]; then echo 'no controller' >&2; exit 1; fi"
    program(bin_, "squeue", fails, "echo '7|RUNNING|0:05|None'")
    assert queue(["7"]) == {"7": Entry("RUNNING", "None", 5.0)}
    assert len(calls(bin_, "squeue")) == 3


@pytest.mark.parametrize(("state", "is_live"), [("PENDING", True), ("COMPLETED", False)])
def test_jobs_in_the_queue_are_not_run_on_this_machine_too(
    bin_: Path, tmp_path: Path, state: str, is_live: bool
) -> None:
    program(bin_, "squeue", f"echo '7|{state}|0:05|None'")
    check_idle(tmp_path)
    assert not (bin_ / "calls").exists()  # a plan that has never seen a cluster asks nobody
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/queue.json").write_text('{"ingest": "7"}')
    if not is_live:
        check_idle(tmp_path)
        return
    with pytest.raises(RunError, match=r"1 jobs of .* are in the Slurm queue \(7\)"):
        check_idle(tmp_path)


def test_a_long_silence_is_no_end_of_jobs(bin_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bin_, "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    monkeypatch.setattr(slurm_queue, "_SILENCE_S", 0.1)
    with pytest.raises(RunError, match=r"Unable to contact slurm controller\. The jobs go on; "):
        queue(["7"])
    program(bin_, "squeue", "sleep 5")
    monkeypatch.setattr(slurm_queue, "_ANSWER_S", 0.1)
    with pytest.raises(RunError, match="squeue took more than"):
        queue(["7"])


def test_a_job_that_slurm_has_forgotten_is_not_there(bin_: Path) -> None:
    fault = "slurm_load_jobs error: Invalid job id specified"
    program(bin_, "squeue", f"echo '{fault}' >&2; exit 1")
    assert queue(["7"]) == {}


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"sbatch, squeue, .* can't be found.*--executor local"):
        slurm.run_on_slurm([], tmp_path, limits=LIMITS, watcher=Notes())
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(RunError, match=r"pip install 'cxrssl\[slurm\]'"):
        slurm.run_on_slurm([], tmp_path, limits=LIMITS, watcher=Notes())


@pytest.mark.parametrize("name", ["a\ntouch pwned", "a\rb", "50%j", "a\\b", "a\u2028b"])
def test_a_folder_that_sbatch_would_read_otherwise_is_refused(
    bin_: Path, tmp_path: Path, name: str
) -> None:
    for command in slurm._COMMANDS:
        program(bin_, command)
    with pytest.raises(RunError, match="can't be named in a batch script"):
        slurm.run_on_slurm([job(tmp_path, "one")], tmp_path / name, limits=LIMITS, watcher=Notes())
    assert not (bin_ / "calls").exists()


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"a": 7}', '{"a": "--me"}', '{"a": "7;x"}', "[" * 99999, "\xff"]
)
def test_a_damaged_list_of_jobs_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "queue.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=r"queue\.json is damaged: expected the ids of jobs"):
        slurm_queue.noted(tmp_path)


def test_jobs_with_the_same_needs_and_machine_are_together(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "phantom"),
        job(tmp_path, "ingest", "phantom", "never-heard-of"),
        job(tmp_path, "one", "ingest", trains=True),
        job(tmp_path, "pre-a", "ingest", trains=True),
        job(tmp_path, "pre-b", "ingest", trains=True),
        job(tmp_path, "a1", "ingest", "pre-a", trains=True),
        job(tmp_path, "b1", "pre-b", "ingest", trains=True),
        job(tmp_path, "a2", "pre-a", "ingest", trains=True),
        job(tmp_path, "table", "ingest"),
    ]
    waiting = {one.name: one for one in jobs}
    groups = list(slurm._groups(waiting, already=set()))
    assert [[one.name for one in group] for group in groups] == [
        ["phantom"],
        ["ingest"],
        ["one", "pre-a", "pre-b"],
        ["table"],
        ["a1", "a2"],
        ["b1"],
    ]
    groups = list(slurm._groups(waiting, already={"phantom", "ingest", "pre-a", "a2"}))
    names = [[one.name for one in group] for group in groups]
    assert names == [["one", "pre-b"], ["table"], ["a1"], ["b1"]]
    before = slurm._ancestors(waiting["a1"], waiting)
    assert [one.name for one in before] == ["phantom", "ingest", "pre-a"]


def test_a_large_array_is_split(tmp_path: Path) -> None:
    waiting = {str(k): job(tmp_path, str(k)) for k in range(2100)}
    assert [len(group) for group in slurm._groups(waiting, already=set())] == [1000, 1000, 100]


def test_a_queued_job_is_kept_unless_what_it_needs_has_failed(bin_: Path, tmp_path: Path) -> None:
    program(
        bin_,
        "squeue",
        *("echo '1|FAILED|0:09|NonZeroExitCode'", "echo '2|PENDING|0:00|Priority'"),
        *("echo '3_0|RUNNING|0:01|None'", "echo '3_1|COMPLETED|0:01|None'"),
        "echo '4|PENDING|0:00|Dependency'",
    )
    program(bin_, "scancel")
    jobs = [
        job(tmp_path, "bad"),
        job(tmp_path, "after-bad", "bad"),
        job(tmp_path, "runs"),
        job(tmp_path, "lost"),
        job(tmp_path, "after-runs", "runs"),
        job(tmp_path, "new", "runs"),
    ]
    noted = {"bad": "1", "after-bad": "2", "runs": "3_0", "lost": "3_1", "after-runs": "4"}
    kept = slurm._in_queue({one.name: one for one in jobs}, noted)
    assert kept == {"runs": "3_0", "after-runs": "4"}
    assert calls(bin_, "scancel") == ["--quiet 2"]


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLED"])
def test_a_job_that_had_to_make_room_is_queued_again_and_a_cancelled_one_is_not(
    bin_: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    # srun passes SIGTERM on once more, to whatever the job has begun since.
    program(bin_, "scontrol", "kill -TERM $$", f"echo 'JobId=7 JobState={state} Restarts=0'")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(slurm_task, "_LOOK_S", 0.0)
    slurm_task._queue_again()
    asked = ["--oneliner show job 7"]
    assert calls(bin_, "scontrol") == [*asked, *(["requeue 7"] if state == "RUNNING" else [])]


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seconds: dict[str, float] = {}

    def began(self, job: Job) -> None:
        self.said.append(f"{job.name} began")

    def ended(self, outcome: Outcome) -> None:
        self.said.append(f"{outcome.job.name} {'done' if outcome.ok else 'failed'}")
        self.seconds[outcome.job.name] = outcome.seconds

    def tick(self) -> None:
        pass


def script(
    monkeypatch: pytest.MonkeyPatch, scenes: Sequence[dict[str, Entry]], last: Path
) -> list[int]:
    """Let Slurm say one thing after the other; with the last, a product comes."""
    left: Iterator[dict[str, Entry]] = iter(scenes)
    asked: list[int] = []

    def play(numbers: Iterator[str]) -> dict[str, Entry]:
        asked.append(len(list(numbers)))
        if len(asked) == len(scenes):
            last.touch()
        return next(left)

    monkeypatch.setattr(slurm_queue, "queue", play)
    monkeypatch.setattr(slurm_queue, "_TICK_S", 0.0)
    return asked


def test_a_job_that_is_queued_again_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(tmp_path, "one")
    runs, waits = Entry("RUNNING", "None", 40.0), Entry("PENDING", "BeginTime", 0.0)
    ends = Entry("NODE_FAIL", "None", 50.0)
    again, over = Entry("RUNNING", "None", 3.0), Entry("COMPLETED", "None", 7.0)
    scenes = [
        {"1": waits},
        {"1": runs},
        {"1": ends},
        {},
        {"1": waits},
        {"1": again},
        {"1": over},
        {},
        {},
    ]
    script(monkeypatch, scenes, one.product)
    notes = Notes()
    assert follow([one], {"one": "1"}, tmp_path, notes) == {}
    assert notes.said == ["one began", "one began", "one done"]
    # What it ran before it was cut counts.
    assert notes.seconds == {"one": 57.0}


def test_what_is_said_of_a_failure_is_the_newest_of_two_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "_GRACE_S", 0.0)
    monkeypatch.setattr(slurm_queue, "cancel", lambda _numbers: None)
    (tmp_path / "logs").mkdir()
    (tmp_path / "slurm").mkdir()
    (tmp_path / "logs/one.log").write_text("of yesterday\n")
    os.utime(tmp_path / "logs/one.log", (0, 0))
    (tmp_path / "slurm/1_submitted.pkl").touch()
    (tmp_path / "slurm/1_0_log.err").write_text("slurmstepd: no such folder\n")
    one = job(tmp_path, "one")
    scene = {"1": Entry("OUT_OF_MEMORY", "OutOfMemory", 1.0)}
    script(monkeypatch, [scene] * 99, tmp_path / "other")
    told = follow([one], {"one": "1"}, tmp_path, Notes())["one"]
    assert told.startswith("Slurm job 1, out of memory: slurmstepd: no such folder")
    (tmp_path / "logs/one.log").write_text("of today\n")
    told = follow([one], {"one": "1"}, tmp_path, Notes())["one"]
    assert told.startswith("Slurm job 1, out of memory: of today")
