"""The smoke plan on a real Slurm, cut in every way a cluster has: the numbers of a local run."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.slurm.one_node_slurm import Cluster

pytestmark = pytest.mark.slow

ASKED = {"gpus": 0, "cpus": 1, "memory_gb": 1, "minutes": 30, "most_at_once": 2}
ALL, PRETRAIN, HALF, SSL = (
    *("control-100-seed0", "pretrain-simclr-50-seed0", "control-50-seed0", "ssl-50-seed0"),
)
SECRET = "hf_nobody-may-read-this"


def command(*options: str) -> list[str]:
    settings = [part for key, value in ASKED.items() for part in ("--set", f"slurm.{key}={value}")]
    return [sys.executable, "-m", "cxrssl", "reproduce", "smoke", *settings, *options]


def until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@dataclass(frozen=True)
class Ran:
    """What has become of the plan.

    Attributes:
        runs: Its folder.
        queued: What squeue said when all was submitted, by id.
        ids: Slurm's, by job, when all was submitted.
        printed: By the second call.
        restarts: How often Slurm started a job anew, by name.
    """

    runs: Path
    queued: dict[str, tuple[str, str]]
    ids: dict[str, str]
    printed: str
    restarts: dict[str, int]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    done = subprocess.run(command(), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs/smoke"


@pytest.fixture(scope="module")
def ran(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Run the plan; cut each job that trains in another way, and kill the one who submits."""
    folder = tmp_path_factory.mktemp("on-slurm")
    with ExitStack() as callers:
        runs = folder / "runs/smoke"
        noted = runs / "slurm/queue.json"

        def call(number: int) -> subprocess.Popen[bytes]:
            out = callers.enter_context((folder / f"call-{number}.txt").open("wb"))
            process = subprocess.Popen(
                command("--executor", "slurm"),
                cwd=folder,
                env=cluster.environment | {"HF_TOKEN": SECRET},
                stdout=out,
                stderr=out,
            )
            callers.callback(process.kill)
            return process

        first = call(1)
        until(lambda: noted.is_file() and len(json.loads(noted.read_text())) == 6, "submitted")
        ids = json.loads(noted.read_text())
        queued = dict(waiting(cluster))
        cut(cluster, runs, ids, [PRETRAIN, ALL])
        assert first.poll() is None
        first.kill()
        first.wait()
        assert not (runs / ALL / "metrics.json").is_file()
        second = call(2)
        cut(cluster, runs, ids, [HALF, SSL])
        code = second.wait(timeout=600)
        printed = (folder / "call-2.txt").read_text()
        assert code == 0, printed
        restarts = {name: int(cluster.job(number)["Restarts"]) for name, number in ids.items()}
        yield Ran(runs, queued, ids, printed, restarts)


def cut(cluster: Cluster, runs: Path, ids: dict[str, str], names: list[str]) -> None:
    """Cut jobs one after the other, each as soon as it is where it is to be cut."""
    urgent = ("sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null")
    ways = {
        # As when a node fails, or an administrator wants it.
        PRETRAIN: ("scontrol", "requeue", ids[PRETRAIN]),
        ALL: ("scontrol", "requeue", ids[ALL]),
        # As when the time limit is near.
        HALF: ("scancel", "--signal=USR2", ids[HALF]),
        # Someone more important wants all CPUs; SIGTERM, and half a minute to end.
        SSL: (*urgent, "--wrap=:"),
    }
    for name in names:
        works, trained = runs / "locks" / name, runs / name / "checkpoints"
        if name in (ALL, HALF):
            until(lambda trained=trained: list(trained.glob("step-*[0-9]")), f"{name} trains")
        elif name == SSL:
            # Ended before its command runs, a job has nobody to queue it again: it fails.
            until((runs / name / "recipe.yaml").is_file, f"{name} runs")
        else:
            until(works.is_dir, f"{name} runs")
        cluster(*ways[name])


def waiting(cluster: Cluster) -> Iterator[tuple[str, tuple[str, str]]]:
    for line in cluster("squeue", "--noheader", "--array", "--format=%i|%K|%E").splitlines():
        number, task, needs = line.split("|")
        yield number, (task, re.sub(r"\(.*?\)", "", needs))


def test_jobs_wait_in_arrays_for_what_they_need_alone(ran: Ran) -> None:
    ids = ran.ids
    array = ids[ALL].split("_")[0]
    assert [ids[name] for name in (ALL, PRETRAIN, HALF)] == [f"{array}_{k}" for k in range(3)]
    assert {ran.queued[ids[name]][1] for name in (ALL, PRETRAIN, HALF)} == {
        f"afterany:{ids['ingest']}"
    }
    assert ran.queued[ids["ingest"]][1] == f"afterany:{ids['phantom']}"
    after = {f"afterany:{ids['ingest']}", f"afterany:{ids[PRETRAIN]}"}
    assert set(ran.queued[ids[SSL]][1].split(",")) == after


def test_a_second_call_waits_for_the_jobs_of_the_first(ran: Ran) -> None:
    assert json.loads((ran.runs / "slurm/queue.json").read_text()) == ran.ids
    assert len(list((ran.runs / "slurm").glob("*_submission.sh"))) == 4
    assert ran.printed.splitlines()[-1] == "Report: runs/smoke/report.html"


def test_what_was_cut_was_started_anew(ran: Ran) -> None:
    # What is urgent may find others than the one it is meant for.
    assert min(ran.restarts[name] for name in (ALL, PRETRAIN, HALF, SSL)) >= 1
    assert [ran.restarts[name] for name in ("phantom", "ingest")] == [0, 0]


@pytest.mark.parametrize("name", [ALL, HALF, SSL, PRETRAIN])
def test_the_numbers_are_those_of_a_local_run(ran: Ran, local: Path, name: str) -> None:
    for file in ("metrics.json", "recipe.yaml"):
        assert (ran.runs / name / file).read_bytes() == (local / name / file).read_bytes()


def test_so_is_the_report(ran: Ran, local: Path) -> None:
    assert (ran.runs / "report.csv").read_bytes() == (local / "report.csv").read_bytes()


@pytest.mark.parametrize("name", [ALL, HALF, SSL])
def test_each_run_was_ended_once_and_went_on_where_it_was_cut(ran: Ran, name: str) -> None:
    log = (ran.runs / f"logs/{name}.log").read_text()
    assert log.count(f"{name}/detector") == 1
    lines = [json.loads(x) for x in (ran.runs / name / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "lr" in line]
    assert steps == list(range(1, len(steps) + 1))


def test_no_token_is_written_anywhere(ran: Ran, cluster: Cluster) -> None:
    files = [path for path in ran.runs.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".pkl"]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
