"""Jobs on a real Slurm: failures, limits, cancelling, and submitting twice."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from cxrssl.core.errors import RunError
from cxrssl.jobs import slurm_queue
from cxrssl.jobs.job import Job, Outcome
from cxrssl.jobs.slurm import Limits, run_on_slurm
from e2e.slurm.one_node_slurm import Cluster

pytestmark = pytest.mark.slow

LIMITS = Limits(
    partition="usual",
    account=None,
    minutes=5,
    gpus=0,
    cpus=1,
    memory_gb=1,
    most_at_once=2,
    requeues=1,
)


@dataclass
class Notes:
    """A watcher that remembers, and may do something once while it is called."""

    begun: list[str] = field(default_factory=list)
    ended_jobs: list[Outcome] = field(default_factory=list)
    once: Callable[[], bool] = lambda: True
    _did: bool = False

    def began(self, job: Job) -> None:
        self.begun.append(job.name)

    def ended(self, outcome: Outcome) -> None:
        self.ended_jobs.append(outcome)

    def tick(self) -> None:
        self._did = self._did or self.once()


@pytest.fixture(autouse=True)
def _on_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    # Nothing comes late on the disk of this machine.
    monkeypatch.setattr(slurm_queue, "_GRACE_S", 3.0)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("L", (20, 20), 99).save(tmp_path / "images" / "one.png")
    return tmp_path / "images"


def ingest(plan: Path, name: str, *, source: Path, needs: tuple[str, ...] = ()) -> Job:
    arguments = ("ingest", str(source), str(plan / name), "--size", "16", "--workers", "1")
    return Job(name, arguments, plan / name / "manifest.json", needs)


def phantom(plan: Path, *, num_images: int) -> Job:
    folder = plan / "phantom"
    arguments = ("phantom", str(folder), "--images", str(num_images), "--seed", "0")
    return Job("phantom", arguments, folder / "train.csv", not_resumable=folder)


def numbers(plan: Path) -> dict[str, str]:
    return dict(json.loads((plan / "slurm/queue.json").read_text()))


def at_work(plan: Path, name: str) -> bool:
    return (plan / "locks" / name).is_dir() and (plan / name).is_dir()


def is_empty(cluster: Cluster) -> bool:
    """Return whether nothing runs or waits; what was cancelled takes a moment to end."""
    return cluster("squeue", "--noheader", "--states=PENDING,RUNNING,SUSPENDED") == ""


def test_a_failed_job_stops_only_those_that_need_it(
    cluster: Cluster, tmp_path: Path, images: Path
) -> None:
    plan = tmp_path / "plan"
    jobs = [
        ingest(plan, "grandchild", source=images, needs=("child",)),
        ingest(plan, "bad", source=tmp_path / "nowhere"),
        ingest(plan, "child", source=images, needs=("bad", "good")),
        ingest(plan, "good", source=images),
        ingest(plan, "after", source=images, needs=("good",)),
    ]
    notes = Notes()
    faults = run_on_slurm(jobs, plan, limits=LIMITS, watcher=notes)
    ids = numbers(plan)
    assert faults == {
        "bad": f"Slurm job {ids['bad']}, failed: Error: {tmp_path / 'nowhere'} is no folder. "
        f"{faults['bad'].split('is no folder. ')[1]}",
        "child": "not run, because bad failed",
        "grandchild": "not run, because bad failed",
    }
    assert faults["bad"].endswith(f"(all of it in {plan / 'logs' / 'bad.log'})")
    ended = {one.job.name: one for one in notes.ended_jobs}
    assert {name: one.ok for name, one in ended.items()} == {
        **dict.fromkeys(("bad", "child", "grandchild"), False),
        **dict.fromkeys(("good", "after"), True),
    }
    assert len(notes.ended_jobs) == 5
    assert ended["good"].seconds >= 1
    assert [(ids[name].partition("_")[2]) for name in ("bad", "good")] == ["0", "1"]

    again = Notes()
    assert set(run_on_slurm(jobs, plan, limits=LIMITS, watcher=again)) == set(faults)
    assert "good" not in again.begun
    assert numbers(plan)["bad"] != ids["bad"]
    assert is_empty(cluster)


def test_a_job_that_was_submitted_twice_does_its_work_once(tmp_path: Path, images: Path) -> None:
    plan, source = tmp_path / "plan", tmp_path / "many"
    source.mkdir()
    for number in range(200):
        Image.new("L", (300, 300), number).save(source / f"{number}.png")
    jobs = [
        ingest(plan, "store", source=source),
        ingest(plan, "after", source=images, needs=("store",)),
    ]

    def dies_unnoted() -> bool:
        # As if it had been killed before it wrote down what sbatch said.
        (plan / "slurm/queue.json").unlink()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on_slurm(jobs, plan, limits=LIMITS, watcher=Notes(once=dies_unnoted))
    assert run_on_slurm(jobs, plan, limits=LIMITS, watcher=Notes()) == {}
    assert len(list((plan / "slurm").glob("*_submission.sh"))) == 4
    for name in ("store", "after"):
        log = (plan / f"logs/{name}.log").read_text()
        assert log.count(f"{plan / name}: ") == 1, log
        assert "Error" not in log


def test_a_cancelled_job_stays_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    job = phantom(plan, num_images=2000)

    def cancel() -> bool:
        if at_work(plan, "phantom"):
            cluster("scancel", numbers(plan)["phantom"])
        return at_work(plan, "phantom")

    faults = run_on_slurm([job], plan, limits=LIMITS, watcher=Notes(once=cancel))
    assert faults["phantom"].startswith(f"Slurm job {numbers(plan)['phantom']}, cancelled: ")
    assert cluster.job(numbers(plan)["phantom"])["Restarts"] == "0"
    assert is_empty(cluster)
    # What it has left is no start for the next, which makes less.
    assert (plan / "phantom").is_dir()
    (plan / "phantom/left-over").touch()
    less = replace(job, arguments=phantom(plan, num_images=4).arguments)
    assert run_on_slurm([less], plan, limits=LIMITS, watcher=Notes()) == {}
    assert not (plan / "phantom/left-over").exists()


def test_a_job_reaches_its_time_limit_as_often_as_it_may(cluster: Cluster, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    limits = replace(LIMITS, requeues=0)

    def warn() -> bool:
        if at_work(plan, "phantom"):
            # As Slurm does some time before the limit.
            cluster("scancel", "--signal=USR2", numbers(plan)["phantom"])
        return at_work(plan, "phantom")

    job = phantom(plan, num_images=2000)
    faults = run_on_slurm([job], plan, limits=limits, watcher=Notes(once=warn))
    assert "timed-out too many times" in faults["phantom"]
    assert is_empty(cluster)


def test_a_job_that_could_never_run_is_taken_out_of_the_queue(
    cluster: Cluster, tmp_path: Path, images: Path
) -> None:
    plan = tmp_path / "plan"
    jobs = [
        ingest(plan, "store", source=images),
        ingest(plan, "after", source=images, needs=("store",)),
    ]
    limits = replace(LIMITS, minutes=601)  # of 600 that the partition has
    faults = run_on_slurm(jobs, plan, limits=limits, watcher=Notes())
    number = numbers(plan)["store"]
    assert faults == {
        "store": f"Slurm job {number} was cancelled, for it would never run: PartitionTimeLimit",
        "after": "not run, because store failed",
    }
    assert is_empty(cluster)


def test_what_sbatch_refuses_is_said(
    tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [ingest(tmp_path / "plan", "store", source=images)]
    limits = replace(LIMITS, partition="nowhere")
    with pytest.raises(RunError, match=r"invalid partition specified: nowhere[\s\S]*--set slurm"):
        run_on_slurm(jobs, tmp_path / "plan", limits=limits, watcher=Notes())
    assert "nowhere" not in capfd.readouterr().err
