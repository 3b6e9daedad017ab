"""Helpers of several tests: commands, changed smoke recipes, and failures of a worker.

A worker imports the module of what it is to do: what is here spares it the imports of a test.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import parent_process
from pathlib import Path, PosixPath

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe

ROOT = Path(__file__).resolve().parents[1]


def run_python(
    *arguments: object, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a process of its own, and return what it printed."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | environment,
    )


def run_cxrssl(
    *arguments: object, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a `cxrssl` command in a process of its own, and return what it printed."""
    return run_python("-m", "cxrssl", *arguments, folder=folder, **environment)


def output_of(*arguments: object, folder: Path | None = None, **environment: str) -> str:
    """Return what a Python program prints on stdout, after checking that it succeeds."""
    done = run_python(*arguments, folder=folder, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# The second family of detectors in the smoke recipe.
RTDETR = (
    "model={family: rtdetr_v2, backbone: test_resnet, norm: recalibrated, width: 32, "
    "num_queries: 20, encoder_layers: 1, decoder_layers: 2, num_denoising: 4, "
    "score_threshold: 0.0, detections_per_image: 20}"
)
# The third.
FCOS = (
    "model={family: fcos, backbone: test_resnet, norm: bn, frozen_stages: 0, fpn_channels: 32, "
    "head_layers: 1, anchor_sizes_px: [2, 4, 8, 16, 32], center_radius: 3.0, "
    "candidates_per_level: 100, score_threshold: 0.0, nms_iou: 0.5, detections_per_image: 20}"
)


def pretrain_recipe(store: Path, *changes: str, name: str = "smoke") -> PretrainRecipe:
    """Return a small recipe for a store; each change is `a.b=value`."""
    path = ROOT / f"recipes/pretrain/{name}.yaml"
    return load_recipe(path, PretrainRecipe, overrides=[f"data.store={store}", *changes])


def finetune_recipe(store: Path, *changes: str) -> FinetuneRecipe:
    """Return the smoke recipe for a store; each change is `a.b=value`."""
    path = ROOT / "recipes/finetune/smoke.yaml"
    return load_recipe(path, FinetuneRecipe, overrides=[f"data.store={store}", *changes])


# One small recipe a method; what every method must do is tested with each.
METHOD_RECIPES = sorted(path.stem for path in (ROOT / "recipes/pretrain").glob("*smoke.yaml"))


def old_form(recipe: str) -> str:
    """Return a pretraining recipe as it was written when SimCLR was the only method."""
    named = recipe.replace("body:\n", "model:\n").replace("  name: simclr\n", "")
    return named.replace("method:\n", "").replace("  positives: image\n", "")


class DeadlyPath(PosixPath):
    """A file whose reading ends the process by the signal its suffix numbers: `NAME.11`.

    So does a decoder written in C, given the right file.
    """

    def __fspath__(self) -> str:
        """End the worker process that opens it; the one that began the worker may look at it."""
        if parent_process() is not None:
            os.kill(os.getpid(), int(self.suffix[1:]))
        return super().__fspath__()


def killed(_shard: object) -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def size_of(path: Path) -> int:
    """Read a file."""
    return len(path.read_bytes())


def out_of_memory(path: Path) -> int:
    """Have too little memory for one file."""
    if path.name == "large":
        raise MemoryError
    return 1


def ends_idle(path: Path) -> int:
    """End the process after `b` was read and before `c` is."""
    if path.name == "b":
        threading.Timer(0.3, os._exit, (1,)).start()
    if path.name == "c":
        time.sleep(0.6)
    return 1
