"""Pretraining killed at random moments, one process and two, ends with the same bytes."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from cxrssl.config.load import to_yaml
from support import ROOT, pretrain_recipe

KILLS = 5
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
CHANGES = (
    "epochs=10",
    "checkpoint_every_steps=4",
    "log_every_steps=1",
    "data.num_workers=1",
    "optim.name=lars",
    "optim.peak_lr=0.1",
    "max_chunk_images=1",
)


def products(out: Path) -> dict[str, bytes]:
    files = [*out.glob("backbone/*"), out / "metrics.jsonl", out / "metrics.json"]
    return {path.name: path.read_bytes() for path in files}


def logged(out: Path) -> int:
    """Return the last step in the log; lines are whole, or the last one is being written."""
    try:
        return int(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


def opened(out: Path) -> int:
    """Return which file the log is: a run that begins or goes on writes it anew."""
    log = out / "metrics.jsonl"
    return log.stat().st_ino if log.exists() else 0


def kill_at(target: int, process: subprocess.Popen[bytes], out: Path, *, late_s: float) -> None:
    """End a process and all it started, once it has itself logged a step."""
    before, deadline = opened(out), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if opened(out) != before and logged(out) >= target:
            break
        time.sleep(0.002)
    time.sleep(late_s)
    everyone = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(everyone)
    process.wait()


@pytest.mark.parametrize("launcher", [(), TORCHRUN], ids=["one process", "two processes"])
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(
    launcher: tuple[str, ...], store_folder: Path, tmp_path: Path
) -> None:
    recipe, whole, cut = tmp_path / "recipe.yaml", tmp_path / "whole", tmp_path / "cut"
    recipe.write_text(to_yaml(pretrain_recipe(store_folder, *CHANGES)))
    command = [sys.executable, *launcher, "-m", "cxrssl", "pretrain", str(recipe), "--resume"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", str(whole)], check=True, env=environment, cwd=ROOT)
    num_steps = json.loads((whole / "metrics.json").read_text())["num_steps"]

    chance = np.random.default_rng(7)
    targets = np.sort(chance.choice(np.arange(1, num_steps - 8), KILLS, replace=False))
    died_at: list[int] = []
    for target in targets:
        process = subprocess.Popen([*command, "--out", str(cut)], env=environment, cwd=ROOT)
        # It goes on from a checkpoint, and must get beyond where the one before it died.
        beyond = max([int(target), *(step + 1 for step in died_at)])
        kill_at(beyond, process, cut, late_s=float(chance.uniform(0, 0.03)))
        assert not (cut / "metrics.json").exists(), "killed too late to show anything"
        died_at.append(logged(cut))
    assert died_at == sorted(set(died_at)), "a run died before it had gone on"
    assert any(step % 4 for step in died_at), "all kills fell on a checkpoint"
    subprocess.run([*command, "--out", str(cut)], check=True, env=environment, cwd=ROOT)
    assert products(cut) == products(whole)
