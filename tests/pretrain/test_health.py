"""The state of the representation is measured in full precision, whatever the run trains in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

MEASURE = """
import json, sys
from pathlib import Path
import torch
from cxrssl.data.store import Store
from cxrssl.pretrain.health import health_check
from cxrssl.pretrain.pool import pool_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.run.processes import start_accelerator
from support import pretrain_recipe
torch.set_num_threads(1)
recipe = pretrain_recipe(Path(sys.argv[1]), f"precision={sys.argv[2]}", "health_images=16")
accelerator = start_accelerator(recipe.precision, batch_size=4)
images, plan = pool_images(Store(Path(sys.argv[1])), recipe)
pretext, _ = build_pretext(recipe)
health = health_check(images, plan, recipe, pretext.couples, rank=0, num_processes=1)
accelerator.prepare(pretext)
print(json.dumps(health.measure(pretext.encoder).as_json()))
"""


@pytest.mark.slow
def test_features_are_measured_in_full_precision(store_folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([f"{ROOT}/src", f"{ROOT}/tests"])}
    measurements = []
    for precision in ("fp32", "bf16"):  # a process has one precision for good
        command = [sys.executable, "-c", MEASURE, str(store_folder), precision]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        measurements.append(run.stdout.splitlines()[-1])
    assert measurements[0] == measurements[1]
