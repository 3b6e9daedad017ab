"""The state of the representation: settled, in full precision, the same in several processes."""

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import update_bn

from cxrssl.core.pixels import rescaled
from cxrssl.data.loaders import network_input
from cxrssl.data.store import Store
from cxrssl.metrics.representation import rankme
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.health import (
    HealthCheck,
    batches_of,
    ends_of,
    first_half,
    health_check,
    narrowing,
    shrinking,
)
from cxrssl.pretrain.pool import pool_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.run.log import Log, read_log
from cxrssl.ssl.pretext import Pretext
from support import METHOD_RECIPES, ROOT, pretrain_recipe

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


def check_of(
    store: Store, store_folder: Path, *changes: str, name: str = "smoke"
) -> tuple[HealthCheck, Pretext]:
    recipe = pretrain_recipe(store_folder, "health_images=18", *changes, name=name)
    images, plan = pool_images(store, recipe)
    pretext, _ = build_pretext(recipe)
    check = health_check(images, plan, recipe, pretext.couples, rank=0, num_processes=1)
    return check, pretext


def test_a_measurement_is_of_settled_statistics_and_leaves_no_trace(
    store: Store, store_folder: Path
) -> None:
    check, pretext = check_of(store, store_folder)
    encoder = pretext.encoder.train()
    images = check.images
    grey = np.stack([rescaled(images.image(row), height=64, width=64)[None] for row in check.rows])
    pixels = network_input(torch.from_numpy(grey), images.intensity, num_channels=3)
    # Two batches of nine, settled by torch.
    expected = deepcopy(encoder)
    update_bn(pixels.split(9), expected)
    with torch.no_grad():
        settled = rankme(expected.eval()(pixels))
        unsettled = rankme(deepcopy(encoder).eval()(pixels))
    before = deepcopy(encoder.state_dict())
    random_state = torch.get_rng_state()
    health = check.measure(encoder)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(module.training for module in encoder.modules())
    assert not any(module._forward_pre_hooks for module in encoder.modules())
    assert health.rankme == pytest.approx(settled, rel=1e-4)
    assert unsettled < settled / 2
    assert health.probe_findings > 0
    # What was in the statistics before does not count.
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(3.0)
    assert check.measure(encoder) == health


def test_a_transformer_has_nothing_to_settle(store: Store, store_folder: Path) -> None:
    check, pretext = check_of(store, store_folder, "body.backbone=test_vit3", "views.size_px=64")
    assert 1 < check.measure(pretext.encoder).rankme <= 18


def test_images_of_a_patient_stay_in_one_half_and_no_batch_is_of_one_image() -> None:
    patients = [f"p{number % 17}" for number in range(60)]
    in_first = first_half(patients, seed=3)
    of = {
        patient: {bool(h) for p, h in zip(patients, in_first, strict=True) if p == patient}
        for patient in patients
    }
    assert all(len(halves) == 1 for halves in of.values())
    assert 26 <= in_first.sum() <= 34
    assert (in_first == first_half(patients, seed=3)).all()
    assert (in_first != first_half(patients, seed=4)).any()
    assert [len(batch) for batch in batches_of(range(33))] == [11, 11, 11]
    assert [len(batch) for batch in batches_of(range(128))] == [16] * 8


@pytest.mark.parametrize("name", METHOD_RECIPES)
def test_what_to_change_is_something_that_the_method_has(
    name: str, store: Store, store_folder: Path
) -> None:
    check, pretext = check_of(store, store_folder, name=name)
    recipe = pretrain_recipe(store_folder, name=name)
    fields = type(recipe.method).model_fields
    for knob in ("temperature", "momentum"):
        assert (f"method.{knob}" in check.advice) == (knob in fields)
    assert ("batch_size" in check.advice) == (pretext.couples == "batch")
    assert check.advice.startswith("Lower optim.peak_lr or lengthen optim.warmup_steps; if it stay")
    assert "body.start" in check.advice


def test_a_small_pool_is_not_measured_after_each_epoch(
    store: Store, store_folder: Path, tmp_path: Path
) -> None:
    check, pretext = check_of(store, store_folder, "epochs=20", "max_steps=null")
    share = len(check.rows) / len(check.images.rows)
    assert 2 < check.every_epochs < 20
    assert check.every_epochs - 1 < 20 * share <= check.every_epochs
    plan = check.plan
    log = Log(tmp_path / "metrics.jsonl", 1, num_steps=plan.num_steps, steps_done=0, writes=True)
    for epoch in plan.epochs(from_step=0):
        for step in plan.steps_of(epoch):
            check.log_if_due(pretext.encoder, log, steps_done=step + 1, epoch=epoch)
    measured = [line["epoch"] for line in read_log(tmp_path)]
    assert measured == sorted({*range(0, 20, check.every_epochs), 19})


def test_few_dimensions_left_are_told_and_a_usual_loss_is_not() -> None:
    assert narrowing(14.0, 39.0) is None
    assert narrowing(20.0, 1.9) is None
    assert "RankMe 3.1, 34.5 at the start" in str(narrowing(3.1, 34.5))


def test_heads_that_send_all_to_one_place_are_told() -> None:
    assert shrinking([]) is None  # a method that compares nothing, or a run of an earlier version
    assert shrinking([0.02, 0.4]) is None
    assert "spread of what the loss compares is 0.020" in str(shrinking([0.4, 0.02]))


@pytest.mark.slow
@pytest.mark.parametrize(("peak_lr", "is_told"), [(0.0005, False), (0.03, True)])
def test_a_run_whose_heads_collapse_is_warned_and_another_is_not(
    peak_lr: float,
    is_told: bool,
    store_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    changes = ("epochs=15", "max_steps=75", f"optim.peak_lr={peak_lr}", "method.momentum=0.5")
    recipe = pretrain_recipe(store_folder, *changes, "health_images=16", name="moco_smoke")
    pretrain(recipe, tmp_path / "run", resume=False)
    assert ("heads have collapsed" in capfd.readouterr().err) == is_told
    last = [line["spread"] for line in read_log(tmp_path / "run") if "spread" in line][-1]
    assert (last < 0.1) == is_told


def test_a_run_that_an_earlier_version_began_has_no_probe_at_its_start() -> None:
    old = {"step": 0, "rankme": 1.9, "knn_findings": None}
    new = {"step": 9, "rankme": 20.0, "probe_auroc": 0.7, "probe_findings": 3}
    loss = {"step": 10, "loss": 1.0}
    end = {"rankme": 20.0, "probe_auroc": 0.7, "probe_findings": 3}
    assert ends_of([old, loss, new, loss]) == {"rankme_start": 1.9} | end
    assert ends_of([old, loss]) == {"rankme_start": 1.9, "rankme": 1.9}
    assert ends_of([new, new]) == {"rankme_start": 20.0, "probe_auroc_start": 0.7} | end


# Under torchrun: argument `same`, or the rank whose features are not finite.
IN_PROCESSES = """
import json, os, sys
from pathlib import Path
import torch
from cxrssl.core.errors import TrainingError
from cxrssl.data.store import Store
from cxrssl.pretrain.health import health_check
from cxrssl.pretrain.pool import pool_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.run.processes import start_accelerator
from support import pretrain_recipe
recipe = pretrain_recipe(Path(sys.argv[1]), "health_images=33")
accelerator = start_accelerator("fp32", batch_size=4)
rank, count = accelerator.process_index, accelerator.num_processes
images, plan = pool_images(Store(Path(sys.argv[1])), recipe)
pretext, _ = build_pretext(recipe)
health = health_check(images, plan, recipe, pretext.couples, rank=rank, num_processes=count)
if str(rank) == sys.argv[2]:
    next(pretext.encoder.parameters()).data.fill_(torch.nan)
try:
    found = json.dumps(health.measure(pretext.encoder).as_json())
except TrainingError as error:
    found = str(error)
Path(sys.argv[3], f"{rank}of{count}").write_text(found)
accelerator.wait_for_everyone()
accelerator.end_training()
os._exit(0)
"""


@pytest.mark.slow
def test_processes_share_the_sample_and_all_know_what_one_would(
    store_folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "measure.py"
    script.write_text(IN_PROCESSES)

    def measured(processes: int, broken: str) -> list[str]:
        launch = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([f"{ROOT}/src", f"{ROOT}/tests"])
        command = [sys.executable, *launch, str(script), str(store_folder), broken, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return [(tmp_path / f"{rank}of{processes}").read_text() for rank in range(processes)]

    (alone,) = measured(1, "none")
    assert json.loads(alone)["rankme"] > 1
    assert measured(2, "none") == [alone, alone]
    for found in measured(2, "1"):
        assert "features of an image are not finite" in found
