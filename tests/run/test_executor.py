"""Jobs: each once, failures kept to those that need them, and nothing run twice."""

from pathlib import Path

import pytest

from cxrssl.run.executor import Job, Outcome, run_jobs


def ingest_job(folder: Path, name: str, *, source: Path, needs: tuple[str, ...] = ()) -> Job:
    """Return a real and quick command: an ingest of a folder of images."""
    arguments = ("ingest", str(source), str(folder / name), "--size", "16", "--workers", "1")
    return Job(name, arguments, folder / name / "manifest.json", needs)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("L", (20, 20), 99).save(tmp_path / "images" / "one.png")
    return tmp_path / "images"


def test_a_failed_job_stops_only_those_that_need_it(tmp_path: Path, images: Path) -> None:
    jobs = [
        ingest_job(tmp_path, "bad", source=tmp_path / "nowhere"),
        ingest_job(tmp_path, "child", source=images, needs=("bad",)),
        ingest_job(tmp_path, "grandchild", source=images, needs=("child",)),
        ingest_job(tmp_path, "good", source=images),
    ]
    ended: list[Outcome] = []
    faults = run_jobs(jobs, tmp_path / "logs", on_end=ended.append, inherit=None)
    assert set(faults) == {"bad", "child", "grandchild"}
    assert faults["grandchild"] == "not run, because bad failed"
    log = tmp_path / "logs" / "bad.log"
    assert faults["bad"].startswith(f"exit code 2: Error: {tmp_path / 'nowhere'} is no folder. ")
    assert faults["bad"].endswith(f"(all of it in {log})")
    assert {outcome.job.name: outcome.ok for outcome in ended} == {"bad": False, "good": True}

    again: list[Outcome] = []
    run_jobs(jobs, tmp_path / "logs", on_end=again.append, inherit=None)
    assert [outcome.job.name for outcome in again] == ["bad"]
