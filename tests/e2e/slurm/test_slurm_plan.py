"""The smoke plan on a real Slurm, interrupted in every way a cluster has: a local run's numbers."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.slurm.one_node_slurm import Cluster

pytestmark = pytest.mark.slow

LIMITS = {"gpus": 0, "cpus": 1, "memory_gb": 1, "minutes": 30, "most_at_once": 2}
ALL, PRETRAIN, HALF, SSL = (
    *("control-100-seed0", "pretrain-simclr-50-seed0", "control-50-seed0", "ssl-50-seed0"),
)
SECRET = "hf_nobody-may-read-this"


def command(*options: str) -> list[str]:
    settings = [part for key, value in LIMITS.items() for part in ("--set", f"slurm.{key}={value}")]
    return [sys.executable, "-m", "cxrssl", "reproduce", "smoke", *settings, *options]


def wait_until(is_so: Callable[[], object], condition: str) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def interrupt(cluster: Cluster, runs: Path, ids: dict[str, str], names: list[str]) -> None:
    """Interrupt jobs one after the other, each as soon as it is where it is to be interrupted."""
    urgent = ("sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null")
    ways = {
        # As when a node fails, or an administrator wants it.
        PRETRAIN: ("scontrol", "requeue", ids[PRETRAIN]),
        # As when the time limit is near.
        HALF: ("scancel", "--signal=USR2", ids[HALF]),
        # A job with a higher priority wants all CPUs: SIGTERM, and some seconds to end.
        SSL: (*urgent, "--wrap=:"),
    }
    for name in names:
        trained = runs / name / "checkpoints"
        if name == HALF:
            wait_until(lambda trained=trained: list(trained.glob("step-*[0-9]")), f"{name} trains")
        else:
            wait_until((runs / name / "recipe.yaml").is_file, f"{name} runs")
        cluster(*ways[name])


def dependencies(cluster: Cluster) -> dict[str, set[str]]:
    """Return what the jobs in the queue wait for, by id."""
    lines = cluster("squeue", "--noheader", "--array", "--format=%i|%E").splitlines()
    waits = (line.split("|") for line in lines)
    return {number: set(re.sub(r"\(.*?\)", "", needs).split(",")) for number, needs in waits}


def assert_waits_for_needs_alone(ids: dict[str, str], queued: dict[str, set[str]]) -> None:
    array = ids[ALL].split("_")[0]
    assert [ids[name] for name in (ALL, PRETRAIN, HALF)] == [f"{array}_{k}" for k in range(3)]
    assert queued[ids["ingest"]] == {f"afterok:{ids['phantom']}"}
    for name in (ALL, PRETRAIN, HALF):
        assert queued[ids[name]] == {f"afterok:{ids['ingest']}"}
    assert queued[ids[SSL]] == {f"afterok:{ids['ingest']}", f"afterok:{ids[PRETRAIN]}"}


def assert_a_local_run_has_the_same_numbers(cluster: Cluster, runs: Path) -> None:
    """Run two of the interrupted jobs again, on this machine and without interruption."""
    for name in (HALF, SSL):
        (runs / name).rename(runs.parent / name)
    report = (runs / "report.csv").read_bytes()
    done = subprocess.run(
        command(),
        cwd=runs.parents[1],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 jobs, 4 done before" in done.stdout
    for name in (HALF, SSL):
        for file in ("metrics.json", "recipe.yaml"):
            again = (runs / name / file).read_bytes()
            assert again == (runs.parent / name / file).read_bytes(), name
    assert (runs / "report.csv").read_bytes() == report


def assert_ran_once_and_resumed(runs: Path, name: str) -> None:
    printed = (runs / f"logs/{name}.log").read_text().splitlines()
    assert printed.count(f"runs/smoke/{name}/detector") == 1
    lines = [json.loads(x) for x in (runs / name / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "lr" in line]
    assert steps == list(range(1, len(steps) + 1))


def assert_written_nowhere(secret: str, runs: Path) -> None:
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".pkl"]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_an_interrupted_plan_ends_with_the_numbers_of_a_local_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    runs = tmp_path / "runs/smoke"
    noted = runs / "slurm/queue.json"
    with ExitStack() as callers:

        def call(number: int) -> subprocess.Popen[bytes]:
            out = callers.enter_context((tmp_path / f"call-{number}.txt").open("wb"))
            environment = cluster.environment | {"HF_TOKEN": SECRET}
            arguments = command("--executor", "slurm")
            process = subprocess.Popen(
                arguments, cwd=tmp_path, env=environment, stdout=out, stderr=out
            )
            callers.callback(process.kill)
            return process

        def printed_by(number: int) -> str:
            return (tmp_path / f"call-{number}.txt").read_text()

        first = call(1)
        wait_until(lambda: noted.is_file() and len(json.loads(noted.read_text())) == 6, "submitted")
        ids = json.loads(noted.read_text())
        queued = dependencies(cluster)
        assert_waits_for_needs_alone(ids, queued)
        interrupt(cluster, runs, ids, [PRETRAIN])
        assert first.poll() is None
        first.kill()
        first.wait()
        second = call(2)
        interrupt(cluster, runs, ids, [HALF])
        wait_until(lambda: "done before" in printed_by(2), "called again")
        time.sleep(1)  # until it follows the jobs
        second.terminate()
        assert second.wait() == 128 + signal.SIGTERM
        assert "cancel them: scancel --me --name=cxrssl-smoke" in printed_by(2)
        third = call(3)
        interrupt(cluster, runs, ids, [SSL])
        assert third.wait(timeout=600) == 0, printed_by(3)
    assert printed_by(3).splitlines()[-1] == "Report: runs/smoke/report.html"
    # Later calls have waited for the jobs of the first.
    assert json.loads(noted.read_text()) == ids
    assert len(list((runs / "slurm").glob("*_submission.sh"))) == 4
    restarts = {name: int(cluster.job(number)["Restarts"]) for name, number in ids.items()}
    # The urgent job may find others at work than the one that it is meant for.
    assert min(restarts[name] for name in (PRETRAIN, HALF, SSL)) >= 1
    assert [restarts[name] for name in ("phantom", "ingest")] == [0, 0]
    for name in (ALL, HALF, SSL):
        assert_ran_once_and_resumed(runs, name)
    assert_written_nowhere(SECRET, runs)
    assert_a_local_run_has_the_same_numbers(cluster, runs)
