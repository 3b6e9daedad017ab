"""The state of the representation is measured in full precision, whatever the run trains in."""

import os
import subprocess
import sys
from pathlib import Path

from support import ROOT

MEASURE = """
import json, sys
from pathlib import Path
import torch
from cxrssl.data.store import Store
from cxrssl.pretrain.health import health_check
from cxrssl.pretrain.pool import pool_views
from cxrssl.pretrain.start import build_model
from cxrssl.run.processes import start_accelerator
from support import pretrain_recipe
torch.set_num_threads(1)
recipe = pretrain_recipe(Path(sys.argv[1]), f"precision={sys.argv[2]}")
accelerator = start_accelerator(recipe.precision, batch_size=4)
views, plan = pool_views(Store(Path(sys.argv[1])), recipe)
model, _ = build_model(recipe)
health = health_check(views, plan, 16, seed=0, measures=True)
accelerator.prepare(model)
print(json.dumps(health.measure(model).as_json()))
"""


def test_embeddings_and_features_are_measured_in_one_precision(store_folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([f"{ROOT}/src", f"{ROOT}/tests"])}
    said = []
    for precision in ("fp32", "bf16"):  # a process has one precision for good
        command = [sys.executable, "-c", MEASURE, str(store_folder), precision]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        said.append(run.stdout.splitlines()[-1])
    assert said[0] == said[1]
