"""Several processes on CPUs: they train one network on one global batch, or it is said why not."""

import json
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cxrssl.config.load import to_yaml
from cxrssl.core.errors import RunError
from cxrssl.evaluate.checkpoint import evaluate
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.finetune import finetune
from cxrssl.pretrain import pretrain
from cxrssl.run.processes import check_divides, check_process_count, missing_processes
from support import FCOS, ROOT, finetune_recipe, output_of, pretrain_recipe, run_python

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
ACCELERATE = ("accelerate.commands.launch", "--num_machines=1", "--mixed_precision=no")
TWO_ON_CPUS = (*ACCELERATE, "--multi_gpu", "--num_processes=2", "--dynamo_backend=no", "-m")


def launched(
    launcher: tuple[str, ...], task: str, recipe_yaml: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "recipe.yaml").write_text(recipe_yaml)
    arguments = [task, str(folder / "recipe.yaml"), "--out", str(folder / "run")]
    return run_python("-m", *launcher, "cxrssl", *arguments, folder=ROOT, **environment)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_two_processes_of_accelerate_share_a_run(
    task: str, store_folder: Path, tmp_path: Path
) -> None:
    make = {"pretrain": pretrain_recipe, "finetune": finetune_recipe}[task]
    recipe = to_yaml(make(store_folder, "epochs=1"))
    # Without this accelerate looks for the GPUs that --multi_gpu promises.
    done = launched(TWO_ON_CPUS, task, recipe, tmp_path, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING: " not in done.stderr
    out = tmp_path / "run"
    assert json.loads((out / "provenance.json").read_text())["num_processes"] == 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "lr" in line]
    assert steps == sorted(set(steps))
    assert (out / "metrics.json").is_file()


@pytest.mark.slow
def test_two_processes_score_each_image_once(store_folder: Path, tmp_path: Path) -> None:
    # The test split has an odd number of images, which two processes can't share evenly.
    recipe = finetune_recipe(store_folder, "max_steps=2", "model.score_threshold=0.0")
    detector = finetune(recipe, tmp_path / "run", resume=False)
    options = ("--data", str(store_folder), "--no-normals", "--replicates", "50")
    out = tmp_path / "scores.json"
    arguments = ["eval", detector, *options, "--json", out]
    printed = output_of("-m", *TORCHRUN, "cxrssl", *arguments, folder=ROOT)
    assert printed.count("Intervals: ") == 1
    alone = evaluate(
        detector, store_folder, split="test", fusion="consensus", consensus_iou=0.2, normals=False,
        bootstrap=Bootstrap(50),
    )  # fmt: skip
    assert alone["n_images"] % 2 == 1
    assert alone["n_detections"] > 0
    together = json.loads(out.read_text())
    assert together["n_detections"] == alone["n_detections"]
    assert together["metrics"] == alone["metrics"]


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_an_error(store_folder: Path, tmp_path: Path) -> None:
    recipe = to_yaml(pretrain_recipe(store_folder, "batch_size=5"))
    done = launched(TORCHRUN, "pretrain", recipe, tmp_path)
    assert done.returncode != 0
    assert "batch_size 5 does not divide among 2 processes" in done.stderr


# Runs under torchrun: rank 1 has no memory for more than three images at once. MODE: start | step.
SHORT_OF_MEMORY = """
import sys
import torch
from torch import nn
from cxrssl.core.images import Intensity
from cxrssl.pretrain.gradient import Gradient, chunk_that_fits
from cxrssl.run.processes import start_accelerator
from cxrssl.ssl.simclr import SimCLR

class Net(SimCLR):
    def forward(self, batch):
        if rank == 1 and len(batch["views"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch)

accelerator, grey = start_accelerator("fp32", batch_size=16), Intensity(True, 0.5, 0.25)
rank = accelerator.process_index
layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
model = Net(nn.Sequential(*layers), nn.Identity(), temperature=0.5)
views = torch.zeros(8, 2, 1, 16, 16, dtype=torch.uint8)
if sys.argv[1] == "start":
    item = {"views": views[0]}
    found = chunk_that_fits(accelerator, model, num_images=8, item=item, intensity=grey)
    assert int(layers[1].num_batches_tracked) == 0
    assert float(layers[0].weight.grad.abs().sum()) == 0
    print(f"rank {rank} takes {found}")
else:
    network = accelerator.prepare(model)
    gradient = Gradient(accelerator, network, model, grey, 0, 8, lambda n: print(f"noted {n}"))
    gradient.backward({"views": views}, step=7)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["start", "step"])
def test_processes_agree_on_what_the_smallest_has_memory_for(mode: str, tmp_path: Path) -> None:
    script = tmp_path / "short.py"
    script.write_text(SHORT_OF_MEMORY)
    done = run_python("-m", *TORCHRUN[:-1], script, mode)
    if mode == "start":
        assert done.returncode == 0, done.stderr[-3000:]
        assert "rank 0 takes 2" in done.stdout
        assert "rank 1 takes 2" in done.stdout
        assert done.stderr.count("memory runs out at 8 images at once") == 1
    else:
        assert "noted 4" in done.stdout
        assert "memory ran out at step 7 in chunks of 8 images" in done.stderr
        assert "Go on with --resume: it begins with chunks of 4" in done.stderr


@pytest.mark.slow
def test_two_processes_log_the_loss_that_one_has(store_folder: Path, tmp_path: Path) -> None:
    # ConvNeXt normalises within an image: so both see the same batch in the same way.
    changes = ("body.backbone=test_convnext", "batch_size=8", "max_steps=2", "log_every_steps=1")
    recipe = pretrain_recipe(store_folder, *changes)
    done = launched(TORCHRUN, "pretrain", to_yaml(recipe), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING: " not in done.stderr
    pretrain(recipe, tmp_path / "one", resume=False)
    losses = []
    for name in ("run", "one"):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line).get("loss") for line in lines])
    assert [step is None for step in losses[0]] == [True, False, False, True]
    assert losses[0][1:3] == pytest.approx(losses[1][1:3], abs=1e-5)


TEACHER = (
    "ema={decay: 0.9}", "data.label_fraction=0.5", "epochs=20", "seed=3",
    "unlabelled={store: null, batch_size: 4, burn_in_steps: 2, threshold: 0.05, weight: 1.0, "
    "ramp_steps: 2, relation_weight: 0.5, known_normals: true, pseudo_boxes: shuffled}",
)  # fmt: skip
RCNN = "model.roi_samples=64"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more"), [(RCNN, ()), (RCNN, TEACHER), (FCOS, ())], ids=["labels", "teacher", "fcos"]
)
def test_two_processes_train_a_detector_as_one_does(
    family: str, more: tuple[str, ...], store_folder: Path, tmp_path: Path
) -> None:
    # Norms that take no statistics of a batch. Proposals are few, so processes sample unequally.
    changes = (
        family, "model.backbone=test_convnext", "batch_size=4", "max_steps=6", "log_every_steps=1",
        "validate_every_epochs=1", "model.score_threshold=0.0",
        "optim.name=sgd", "optim.peak_lr=0.01",  # Adam would make much of a gradient near 0
    )  # fmt: skip
    recipe = finetune_recipe(store_folder, *changes, *more)
    done = launched(TORCHRUN, "finetune", to_yaml(recipe), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    finetune(recipe, tmp_path / "one", resume=False)
    runs = [tmp_path / name for name in ("run", "one")]
    logs = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in runs
    ]
    # Six steps and the scores of validations, and the pseudo boxes of four steps.
    assert len(logs[0]) == len(logs[1]) == (6 + 2 + 4 if more else 7)
    for first, second in zip(*logs, strict=True):
        assert first == pytest.approx(second, rel=1e-4, abs=1e-6)
    weights = [load_file(run / "detector" / "model.safetensors") for run in runs]
    start = [
        float((a - b).abs().max()) for a, b in zip(*(w.values() for w in weights), strict=True)
    ]
    assert max(start) < 1e-4
    # The processes shared the test images, and none was counted twice.
    boxes = [json.loads((run / "predictions.json").read_text())["annotations"] for run in runs]
    assert [box["image_id"] for box in boxes[0]] == [box["image_id"] for box in boxes[1]]
    scores = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert scores[0]["n_images"] == scores[1]["n_images"]


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_processes_that_do_not_work_together_are_stopped(name: str) -> None:
    check_process_count({name: "2"}, num_processes=2)
    check_process_count({}, num_processes=1)
    with pytest.raises(RunError, match="a launcher started 2 processes, and 1 works here"):
        check_process_count({name: "2"}, num_processes=1)


@pytest.mark.slow
def test_one_process_where_two_were_asked_for_says_so(store_folder: Path, tmp_path: Path) -> None:
    recipe = to_yaml(pretrain_recipe(store_folder, "epochs=1", "max_steps=1"))
    launcher = (*ACCELERATE, "--cpu", "--num_processes=2", "--dynamo_backend=no", "-m")
    done = launched(launcher, "pretrain", recipe, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING: accelerate was asked for several processes and started ONE" in done.stderr
    assert json.loads((tmp_path / "run/provenance.json").read_text())["num_processes"] == 1


@pytest.mark.parametrize(
    ("environment", "num_processes", "num_gpus", "expected"),
    [
        ({}, 1, 0, None),
        ({}, 1, 1, None),
        ({}, 4, 4, None),
        ({}, 1, 4, "1 of 4 GPUs is used"),
        ({"SLURM_NTASKS": "1"}, 1, 0, None),
        ({"SLURM_NTASKS": "4"}, 1, 0, "Slurm was asked for 4 tasks and this one runs ALONE"),
        ({"SLURM_NTASKS": "4", "WORLD_SIZE": "4"}, 4, 4, None),
    ],
)
def test_less_than_was_asked_for_is_told_from_what_a_launcher_leaves(
    environment: dict[str, str], num_processes: int, num_gpus: int, expected: str | None
) -> None:
    warning = missing_processes(environment, num_processes=num_processes, num_gpus=num_gpus)
    assert warning is None if expected is None else str(warning).startswith(expected)


def test_a_batch_is_shared_out_evenly_or_refused() -> None:
    check_divides("unlabelled.batch_size", 4, num_processes=2)
    with pytest.raises(RunError, match=r"unlabelled\.batch_size 3 does not divide among 2"):
        check_divides("unlabelled.batch_size", 3, num_processes=2)
