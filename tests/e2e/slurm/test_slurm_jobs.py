"""Jobs on a real Slurm: failures, limits, cancelling, and what the cluster refuses."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cxrssl.config.plan import SlurmSection
from cxrssl.core.errors import RunError
from cxrssl.jobs.job import Job
from cxrssl.jobs.slurm import run_on_slurm
from e2e.slurm.one_node_slurm import Cluster
from job_notes import Notes, image_folder, ingest_job

pytestmark = pytest.mark.slow

LIMITS = SlurmSection(
    partition="usual", minutes=5, gpus=0, cpus=1, memory_gb=1, most_at_once=2, requeues=0
)


class Commander(Notes):
    """Notes that run one Slurm command for each job once that job is at work.

    `commands` holds the command for a job's name, to which the job's id is added.
    """

    def __init__(
        self, cluster: Cluster, plan: Path, commands: Mapping[str, tuple[str, ...]]
    ) -> None:
        super().__init__()
        self.cluster, self.plan, self.commands = cluster, plan, dict(commands)

    def tick(self) -> None:
        for name in list(self.commands):
            if (self.plan / name).is_dir():
                self.cluster(*self.commands.pop(name), numbers(self.plan)[name])


@pytest.fixture(autouse=True)
def _on_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "images")


def long_job(plan: Path, name: str) -> Job:
    folder = plan / name
    arguments = ("phantom", str(folder), "--images", "5000", "--seed", "0")
    return Job(name, arguments, folder / "train.csv", not_resumable=folder)


def numbers(plan: Path) -> dict[str, str]:
    return dict(json.loads((plan / "slurm/queue.json").read_text()))


def assert_queue_gets_empty(cluster: Cluster) -> None:
    """What was cancelled takes a moment to end."""
    deadline = time.monotonic() + 30
    while cluster("squeue", "--noheader", "--states=PENDING,RUNNING,SUSPENDED"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_failed_job_blocks_only_those_that_need_it(
    cluster: Cluster, tmp_path: Path, images: Path
) -> None:
    plan = tmp_path / "plan"
    jobs = [
        ingest_job(plan, "grandchild", source=images, needs=("child",)),
        ingest_job(plan, "bad", source=tmp_path / "nowhere"),
        ingest_job(plan, "child", source=images, needs=("bad", "good")),
        ingest_job(plan, "good", source=images),
        ingest_job(plan, "after", source=images, needs=("good",)),
    ]
    notes = Notes()
    faults = run_on_slurm(jobs, plan, limits=LIMITS, watcher=notes)
    ids = numbers(plan)
    assert set(faults) == {"bad", "child", "grandchild"}
    assert faults["child"] == faults["grandchild"] == "not run, because bad failed"
    reason = f"Slurm job {ids['bad']}, failed: Error: {tmp_path / 'nowhere'} is not a folder."
    assert faults["bad"].startswith(reason)
    assert faults["bad"].endswith(f"(full log: {plan / 'logs' / 'bad.log'})")
    outcomes = notes.outcomes.items()
    assert {name: outcome.fault for name, outcome in outcomes if not outcome.ok} == faults
    assert {name for name, outcome in outcomes if outcome.ok} == {"good", "after"}
    assert notes.outcomes["good"].seconds >= 1
    assert [ids[name].partition("_")[2] for name in ("bad", "good")] == ["0", "1"]
    assert_queue_gets_empty(cluster)
    assert [cluster.job(ids[name])["JobState"] for name in ("child", "grandchild")] == (
        ["CANCELLED"] * 2  # by Slurm, whoever submitted them
    )

    again = Notes()
    assert set(run_on_slurm(jobs, plan, limits=LIMITS, watcher=again)) == set(faults)
    assert "good" not in again.begun
    assert numbers(plan)["bad"] != ids["bad"]


def test_a_job_that_is_cancelled_or_reaches_its_time_limit_too_often_has_failed(
    cluster: Cluster, tmp_path: Path
) -> None:
    plan = tmp_path / "plan"
    commands = {
        "cancelled": ("scancel",),
        "limited": ("scancel", "--signal=USR2"),  # as Slurm does some time before the limit
    }
    jobs = [long_job(plan, name) for name in commands]
    notes = Commander(cluster, plan, commands)
    faults = run_on_slurm(jobs, plan, limits=LIMITS, watcher=notes)
    ids = numbers(plan)
    assert faults["cancelled"].startswith(f"Slurm job {ids['cancelled']}, cancelled: ")
    assert "timed-out too many times" in faults["limited"]
    assert [cluster.job(number)["Restarts"] for number in ids.values()] == ["0", "0"]
    assert_queue_gets_empty(cluster)


def test_a_job_that_could_never_run_is_taken_out_of_the_queue(
    cluster: Cluster, tmp_path: Path, images: Path
) -> None:
    plan = tmp_path / "plan"
    jobs = [
        ingest_job(plan, "store", source=images),
        ingest_job(plan, "after", source=images, needs=("store",)),
    ]
    limits = LIMITS.model_copy(update={"minutes": 601})  # of 600 that the partition has
    faults = run_on_slurm(jobs, plan, limits=limits, watcher=Notes())
    number = numbers(plan)["store"]
    assert faults == {
        "store": f"Slurm job {number} would never run, and was cancelled: PartitionTimeLimit",
        "after": "not run, because store failed",
    }
    assert_queue_gets_empty(cluster)


def test_what_sbatch_refuses_is_said(
    cluster: Cluster, tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan"
    limits = LIMITS.model_copy(update={"partition": "nowhere"})
    jobs = [ingest_job(plan, "store", source=images)]
    with pytest.raises(RunError, match=r"invalid partition specified: nowhere[\s\S]*--set slurm"):
        run_on_slurm(jobs, plan, limits=limits, watcher=Notes())
    assert "nowhere" not in capfd.readouterr().err
