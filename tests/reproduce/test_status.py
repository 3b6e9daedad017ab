"""How far a plan is: from logs as runs write them, and guesses of the time that add up."""

import json
import time
from pathlib import Path

import pytest

from cxrssl.core.duration import duration
from cxrssl.core.files import write_json, write_text
from cxrssl.jobs.job import Outcome
from cxrssl.reproduce.jobs import data_jobs, trainings
from cxrssl.reproduce.status import Status, progress_of
from made_runs import made_plan as plan


@pytest.fixture
def status(tmp_path: Path) -> Status:
    """Return a plan of 4 runs on a store of 100 images, of which nothing has run."""
    runs = trainings(plan(), tmp_path)
    jobs = [*data_jobs(plan(), tmp_path), *(run.job for run in runs)]
    path = tmp_path / "status.json"
    return Status("smoke", path, progress_of(jobs, runs, path), 2, tmp_path)


def log(folder: Path, *, step: int, num_steps: int, epoch: int) -> None:
    write_text(folder / "metrics.jsonl", json.dumps({"step": step, "epoch": epoch}) + "\n")
    write_json(folder / "length.json", {"num_steps": num_steps})


def test_a_run_is_where_its_log_says(status: Status, tmp_path: Path) -> None:
    progress = status.jobs["control-100-seed0"]
    status.begin(progress.job)
    assert progress.note == "starts"
    log(tmp_path / "control-100-seed0", step=6, num_steps=24, epoch=1)
    assert (progress.note, progress.fraction) == ("step 6 of 24, epoch 2", 0.25)
    with (tmp_path / "control-100-seed0/metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "ep')  # being written
    assert progress.fraction == 0.25
    status.write("running")
    content = json.loads((tmp_path / "status.json").read_text())
    assert content["state"] == "running"
    entry = next(job for job in content["jobs"] if job["name"] == "control-100-seed0")
    assert (entry["state"], entry["step"], entry["num_steps"]) == ("running", 6, 24)


def test_time_left_is_what_like_runs_took_by_their_work(status: Status, tmp_path: Path) -> None:
    assert status.seconds_left() is None
    write_json(tmp_path / "store/manifest.json", {"num_images": 100})
    jobs = status.jobs
    for name, seconds in (("control-100-seed0", 60.0), ("pretrain-simclr-50-seed0", 20.0)):
        status.begin(jobs[name].job)
        status.end(Outcome(jobs[name].job, seconds, ""))
    # Two runs of half the images are left, on two places: half of 60 s each.
    assert status.seconds_left() == pytest.approx(30.0)
    status.begin(jobs["ssl-50-seed0"].job)
    jobs["ssl-50-seed0"].begun = time.monotonic() - 15.0
    log(tmp_path / "ssl-50-seed0", step=5, num_steps=10, epoch=0)
    assert status.seconds_left() == pytest.approx(22.5, abs=0.5)


def test_what_an_earlier_call_has_done_is_not_counted_as_this_ones(
    status: Status, tmp_path: Path
) -> None:
    write_json(tmp_path / "store/manifest.json", {"num_images": 100})
    jobs, folder = status.jobs, tmp_path / "control-100-seed0"
    log(folder, step=92, num_steps=100, epoch=1)
    (folder / "checkpoints/step-00000090").mkdir(parents=True)
    status.begin(jobs["control-100-seed0"].job)
    jobs["control-100-seed0"].begun = time.monotonic() - 10.0
    jobs["pretrain-simclr-50-seed0"].state = "done"
    jobs["pretrain-simclr-50-seed0"].seconds = 0.001
    log(folder, step=98, num_steps=100, epoch=1)
    # 8 of 100 steps took 10 s; left are 2 of them, and two runs of half the images, on two places.
    assert status.seconds_left() == pytest.approx((2.5 + 125.0) / 2, rel=0.02)
    status.end(Outcome(jobs["control-100-seed0"].job, 12.5, ""))  # for 10 of its 100 steps
    assert status.seconds_left() == pytest.approx(125.0 / 2, rel=0.02)


def test_the_first_steps_tell_nothing(status: Status, tmp_path: Path) -> None:
    write_json(tmp_path / "store/manifest.json", {"num_images": 100})
    jobs = status.jobs
    jobs["pretrain-simclr-50-seed0"].state = "done"
    status.begin(jobs["control-100-seed0"].job)
    for step, is_known in ((4, False), (5, True)):
        log(tmp_path / "control-100-seed0", step=step, num_steps=100, epoch=0)
        assert (status.seconds_left() is not None) is is_known


def test_a_plan_that_waits_says_that_it_lives(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    status.write("running")
    first = status.path.stat().st_mtime_ns
    status.write("running")
    assert status.path.stat().st_mtime_ns == first
    later = time.monotonic() + 31
    monkeypatch.setattr("cxrssl.reproduce.status.time.monotonic", lambda: later)
    status.write("running")
    assert status.path.stat().st_mtime_ns > first


def test_seconds_of_an_earlier_call_are_remembered(status: Status, tmp_path: Path) -> None:
    name = "control-100-seed0"
    status.begin(status.jobs[name].job)
    write_text(status.jobs[name].job.product, "{}")
    status.end(Outcome(status.jobs[name].job, 61.0, ""))
    jobs = [progress.job for progress in status.jobs.values()]
    runs = [progress.training for progress in status.jobs.values() if progress.training is not None]
    again = progress_of(jobs, runs, status.path)
    assert (again[name].state, again[name].seconds) == ("done", 61.0)
    status.jobs[name].job.product.unlink()
    lost = progress_of(jobs, runs, status.path)
    assert (lost[name].state, lost[name].seconds) == ("waiting", None)


def test_a_failed_job_keeps_its_reason(status: Status, tmp_path: Path) -> None:
    job = status.jobs["ingest"].job
    status.end(Outcome(job, 1.0, "exit code 2: no room"))
    jobs = json.loads((tmp_path / "status.json").read_text())["jobs"]
    assert (
        next(entry for entry in jobs if entry["name"] == "ingest")["fault"]
        == "exit code 2: no room"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, "4 s"), (89, "89 s"), (120, "2 min"), (9000, "2.5 h"), (400000, "4.6 days")],
)
def test_a_time_is_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
