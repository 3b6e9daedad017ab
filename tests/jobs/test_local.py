"""Jobs: each once, failures kept to those that need them, and nothing run twice."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cxrssl.jobs.job import Job, Outcome
from cxrssl.jobs.local import run_locally


@dataclass
class Notes:
    """A watcher that remembers."""

    begun: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    ticks: int = 0

    def began(self, job: Job) -> None:
        self.begun.append(job.name)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def tick(self) -> None:
        self.ticks += 1


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


@pytest.mark.slow
def test_a_failed_job_stops_only_those_that_need_it(tmp_path: Path, images: Path) -> None:
    jobs = [
        ingest_job(tmp_path, "bad", source=tmp_path / "nowhere"),
        ingest_job(tmp_path, "child", source=images, needs=("bad",)),
        ingest_job(tmp_path, "grandchild", source=images, needs=("child",)),
        ingest_job(tmp_path, "good", source=images),
        ingest_job(tmp_path, "after", source=images, needs=("good",)),
    ]
    notes = Notes()
    faults = run_locally(jobs, tmp_path / "logs", watcher=notes, inherit=None)
    assert set(faults) == {"bad", "child", "grandchild"}
    assert faults["grandchild"] == "not run, because bad failed"
    log = tmp_path / "logs" / "bad.log"
    assert faults["bad"].startswith(f"exit code 2: Error: {tmp_path / 'nowhere'} is not a folder. ")
    assert faults["bad"].endswith(f"(full log: {log})")
    assert {one.job.name: one.ok for one in notes.outcomes} == {
        **dict.fromkeys(("bad", "child", "grandchild"), False),
        **dict.fromkeys(("good", "after"), True),
    }
    assert sorted(notes.begun) == ["after", "bad", "good"]
    assert notes.begun.index("after") > notes.begun.index("good")
    assert notes.ticks > 0

    again = Notes()
    run_locally(jobs, tmp_path / "logs", watcher=again, inherit=None)
    assert again.begun == ["bad"]
