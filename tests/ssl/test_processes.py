"""Two real processes have the loss and gradients of one on the whole batch, to 1e-9 in double."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Runs as a script under torchrun: embeds its half of 12 images by a network that accelerate has
# wrapped, and saves loss and gradients. MODE: whole | chunked | no gradient.
SCRIPT = """
import sys
from functools import partial
import torch
from accelerate import Accelerator
from torch import nn
import torch.distributed as dist
from cxrssl.ssl.chunks import backward_in_chunks
from cxrssl.ssl.losses import nt_xent as loss

mode, out = sys.argv[1:]
if mode == "no gradient":
    def without(own):
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.detach().contiguous())
        parts[dist.get_rank()] = own
        return torch.cat(parts)
    loss.all_processes = without
accelerator = Accelerator(cpu=True)
rank, count = accelerator.process_index, accelerator.num_processes
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 12)
).double()
images = torch.randn(
    12, 2, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64
)[rank::count]
network = accelerator.prepare(model)

def embed(chunk):
    return network(images[chunk].transpose(0, 1).flatten(0, 1)).chunk(2)

def losses_of(outputs, _):
    return {"loss": loss.nt_xent(*outputs, temperature=0.2)}

losses = backward_in_chunks(
    embed, losses_of, couples="batch", num_images=len(images),
    chunk_images=2 if mode == "chunked" else len(images), backward=accelerator.backward,
    unsynced=partial(accelerator.no_sync, network), buffers=model.buffers(),
)
mean = accelerator.gather(losses["loss"][None]).mean()
gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
if accelerator.is_main_process:
    import json
    json.dump([float(mean), gradient.tolist()], open(out, "w"))
"""


def ran(mode: str, *, processes: int) -> tuple[float, list[float]]:
    """Return the loss of the global batch and its gradient."""
    with tempfile.TemporaryDirectory() as folder:
        script, out = Path(folder) / "share.py", Path(folder) / "out.json"
        script.write_text(SCRIPT)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*launch, f"--nproc_per_node={processes}", str(script), mode, str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        loss, gradient = json.loads(out.read_text())
        return loss, gradient


@pytest.fixture(scope="module")
def alone() -> tuple[float, list[float]]:
    return ran("whole", processes=1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["whole", "chunked"])
def test_two_processes_equal_one(mode: str, alone: tuple[float, list[float]]) -> None:
    loss, gradient = ran(mode, processes=2)
    assert loss == pytest.approx(alone[0], abs=1e-9)
    assert gradient == pytest.approx(alone[1], abs=1e-9)


@pytest.mark.slow
def test_a_gather_without_gradients_would_be_found_out(alone: tuple[float, list[float]]) -> None:
    loss, gradient = ran("no gradient", processes=2)
    assert loss == pytest.approx(alone[0], abs=1e-9)  # which is why it goes unnoticed
    largest = max(abs(value) for value in alone[1])
    assert max(abs(a - b) for a, b in zip(gradient, alone[1], strict=True)) > 0.05 * largest
