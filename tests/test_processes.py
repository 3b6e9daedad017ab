"""Several processes on CPUs: they train one network on one global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxrssl.config.load import to_yaml
from support import ROOT, finetune_recipe, pretrain_recipe


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_two_processes_share_a_run(task: str, store_folder: Path, tmp_path: Path) -> None:
    make = {"pretrain": pretrain_recipe, "finetune": finetune_recipe}[task]
    recipe = make(store_folder, "epochs=1")
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = [*launch, "-m", "cxrssl", task, str(tmp_path / "recipe.yaml"), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((out / "provenance.json").read_text())["num_processes"] == 2
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert (out / "metrics.json").is_file()


def test_a_batch_that_does_not_divide_is_an_error(store_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(to_yaml(pretrain_recipe(store_folder, "batch_size=5")))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    arguments = ["pretrain", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, "-m", "cxrssl", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "batch_size 5 does not divide among 2 processes" in done.stderr
