"""Jobs that tests run, and a watcher that notes how they ran."""

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from cxrssl.jobs.job import Job, Outcome


@dataclass
class Notes:
    """A watcher that remembers the jobs that began and their outcomes."""

    begun: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ticks: int = 0

    def began(self, job: Job) -> None:
        self.begun.append(job.name)

    def ended(self, outcome: Outcome) -> None:
        assert outcome.job.name not in self.outcomes
        self.outcomes[outcome.job.name] = outcome

    def tick(self) -> None:
        self.ticks += 1


def image_folder(folder: Path) -> Path:
    """Write a folder with an image, which an ingest takes."""
    folder.mkdir()
    Image.new("L", (20, 20), 99).save(folder / "one.png")
    return folder


def ingest_job(folder: Path, name: str, *, source: Path, needs: tuple[str, ...] = ()) -> Job:
    """Return a real and quick command: an ingest of a folder of images."""
    arguments = ("ingest", str(source), str(folder / name), "--size", "16", "--workers", "1")
    return Job(name, arguments, folder / name / "manifest.json", needs)
