"""Both loops, killed at random moments, one process and two, end with the same bytes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from cxrssl.config.load import to_yaml
from forked import Forks, forks
from support import FCOS, METHOD_RECIPES, ROOT, finetune_recipe, pretrain_recipe

LAUNCHERS = {1: (), 2: ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")}
COMMON = ("checkpoint_every_steps=4", "log_every_steps=1", "data.num_workers=1")
SAVERS = (
    "augment={scale: [0.8, 1.2], shift: 0.1, rotation_degrees: 8, gamma: [0.8, 1.2], "
    "contrast: [0.8, 1.2], brightness: [-0.1, 0.1], blur_sigma_px: [0, 0.5], "
    "noise_share: [0, 0.05], cutout: {most: 2, side: [0.05, 0.2]}}",
    "paste={largest_side: 0.3, repeats: 2, probability: 0.5, most: 2, scale: [0.8, 1.2], "
    "rotation_degrees: 15, within: []}",
    "ema={decay: 0.9}",
    "unlabelled={store: null, batch_size: 2, burn_in_steps: 6, threshold: 0.1, weight: 1.0, "
    "ramp_steps: 4, relation_weight: 0.1, known_normals: true, pseudo_boxes: shuffled}",
    *("data.label_fraction=0.5", "max_steps=36", "epochs=20"),
)
MORE = {"savers": SAVERS, "fcos": (FCOS, "ema={decay: 0.9}")}
CHANGES = {
    "pretrain": ("epochs=10", "optim.name=lars", "optim.peak_lr=0.1", "max_chunk_images=1"),
    "finetune": (
        *("epochs=4", "batch_size=2", "optim.name=sgd", "optim.peak_lr=0.01", "keep=best"),
        *("validate_every_epochs=1", "model.norm=recalibrated", "model.roi_align=sparse"),
        "data.oversample_threshold=0.4",
    ),
}


def products(out: Path) -> dict[str, bytes]:
    folders = ("backbone", "detector", "best")
    files = [path for name in folders for path in out.glob(f"{name}/*")]
    files += [out / "metrics.jsonl", out / "metrics.json", *out.glob("predictions.json")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


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


def kill_at(target: int, process: psutil.Process, out: Path, *, late_s: float) -> None:
    """End a process and all it started, once it has itself logged a step."""
    before, deadline = opened(out), time.monotonic() + 300
    while process.is_running() and time.monotonic() < deadline:
        if opened(out) != before and logged(out) >= target:
            break
        time.sleep(0.002)
    time.sleep(late_s)
    processes = [process]
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, and its exit code says so
        processes = [*process.children(recursive=True), process]
    for member in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(processes)


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name", "num_processes", "kills"),
    [
        *(("pretrain", "smoke", 1, 3), ("pretrain", "smoke", 2, 3)),
        *(("pretrain", name, 1, 2) for name in METHOD_RECIPES if name != "smoke"),
        *(("finetune", "smoke", 1, 3), ("finetune", "smoke", 2, 3)),
        ("finetune", "savers", 1, 2),
        ("finetune", "fcos", 1, 2),
    ],
)
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(
    task: str,
    name: str,
    num_processes: int,
    kills: int,
    forked: Forks,
    store_folder: Path,
    tmp_path: Path,
) -> None:
    recipe, uncut, cut = tmp_path / "recipe.yaml", tmp_path / "whole", tmp_path / "cut"
    make = {"pretrain": partial(pretrain_recipe, name=name), "finetune": finetune_recipe}[task]
    of_smoke = (change for change in CHANGES[task] if name != "fcos" or "model." not in change)
    changes = (*of_smoke, *MORE.get(name, ()))
    recipe.write_text(to_yaml(make(store_folder, *COMMON, *changes)))
    arguments = [task, str(recipe), "--resume"]
    command = [sys.executable, *LAUNCHERS[num_processes], "-m", "cxrssl", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # Forks have one hash seed. The last run of SimCLR and of a detector is a command, which draws
    # another, and stands for the other methods: the loop is theirs too.
    forked.begin([*arguments, "--out", str(uncut)], num_processes=num_processes)
    assert forked.end() == 0
    num_steps = logged(uncut)

    chance = np.random.default_rng(7)
    targets = np.sort(chance.choice(np.arange(1, num_steps - 8), kills, replace=False))
    died_at: list[int] = []
    for target in targets:
        process = forked.begin([*arguments, "--out", str(cut)], num_processes=num_processes)
        # It goes on from a checkpoint, and must get beyond where the one before it died.
        beyond = max([int(target), *(step + 1 for step in died_at)])
        kill_at(beyond, process, cut, late_s=float(chance.uniform(0, 0.03)))
        assert forked.end() == -signal.SIGKILL, "it ended before it was killed"
        assert not (cut / "metrics.json").exists(), "killed too late to show anything"
        died_at.append(logged(cut))
    assert died_at == sorted(set(died_at)), "a run died before it had gone on"
    assert any(step % 4 for step in died_at), "all kills fell on a checkpoint"
    if name == "smoke":
        subprocess.run([*command, "--out", str(cut)], check=True, env=environment, cwd=ROOT)
    else:
        forked.begin([*arguments, "--out", str(cut)], num_processes=num_processes)
        assert forked.end() == 0
    weights = {"pretrain": "backbone", "finetune": "detector"}[task] + "/model.safetensors"
    assert {"metrics.jsonl", "metrics.json", weights} <= products(uncut).keys()
    assert products(cut) == products(uncut)
