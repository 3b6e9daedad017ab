"""A compiled run is the same run: its losses, and a backbone with the same keys."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cxrssl.pretrain import pretrain
from support import pretrain_recipe


@pytest.mark.slow
def test_a_compiled_run_has_the_losses_and_keys_of_one_that_is_not(
    store_folder: Path, tmp_path: Path
) -> None:
    losses, keys = [], []
    for compiled in ("false", "true"):
        run = tmp_path / compiled
        changes = (f"compile={compiled}", "max_steps=3", "log_every_steps=1", "health_images=8")
        changes += ("optim.warmup_steps=1",)  # steps as small as the rounding asks for
        pretrain(pretrain_recipe(store_folder, *changes), run, resume=False)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
        keys.append(set(load_file(run / "backbone/model.safetensors")))
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert keys[0] == keys[1]
