"""Every method ends with the same weights in two real processes as in one, to 1e-9 in double.

Three steps of a batch of 12, whole and in chunks, over layers that take no statistics of a batch.
What a method carries on, copies and queues, is compared as well.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What builds each method on `encoder`, features of length 6 and, for views, maps [8, 8, 8].
# `head(n)` is a linear layer 6 -> n, `on_places` a head on maps.
METHODS = {
    "simclr": "SimCLR(encoder, head(5), temperature=0.3)",
    "simclr of patients": "OfPatients(encoder, head(5), temperature=0.3)",
    "byol": "BYOL(encoder, head(5), nn.Linear(5, 5), momentum=0.9)",
    "simsiam": "SimSiam(encoder, head(5), nn.Linear(5, 5))",
    "vicreg": "VICReg(encoder, head(5), invariance=25.0, variance=25.0, covariance=1.0)",
    "jigsaw": "Jigsaw(encoder, nn.Linear(54, 4), num_orders=4)",
    "position": "Position(encoder, head(4), num_cells=4)",
    "moco": "MoCo(encoder, head(5), Queue(24, 5), temperature=0.3, momentum=0.9)",
    "densecl": "DenseCL(encoder, (head(5), on_places(num_outputs=4, batch_norm=False)), "
    "(Queue(24, 5), Queue(24, 4)), temperature=0.3, momentum=0.9, dense_weight=0.4)",
    "pixpro": "PixPro(encoder, on_places(num_outputs=5, batch_norm=False), "
    "Propagation(5, sharpness=2.0), momentum=0.9, pair_distance=0.7)",
}

# Runs as a script under torchrun. Its arguments: method, images a chunk, file for what it finds.
SCRIPT = """
import json, os, sys
from functools import partial
import torch
from accelerate import Accelerator
from torch import nn
from cxrssl.ssl.chunks import backward_in_chunks, total
{imports}

chunk_images, out = int(sys.argv[1]), sys.argv[2]
accelerator = Accelerator(cpu=True)
rank, count = accelerator.process_index, accelerator.num_processes
torch.manual_seed(0)
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6))
    def forward_features(self, images): return self.body(images)
    def forward_head(self, values): return self.head(values)
    def forward(self, images): return self.head(self.body(images))
encoder = Encoder()
head = lambda outputs: nn.Linear(6, outputs)
on_places = partial(dense_head, 8, hidden=7)
method = {build}.double()
optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.5)
network = accelerator.prepare(method)
losses = []
for step in range(3):
    drawn = torch.Generator().manual_seed(step)
    whole = {{
        "views": torch.randn(12, 2, 3, 16, 16, generator=drawn, dtype=torch.float64),
        "tiles": torch.randn(12, 9, 3, 8, 8, generator=drawn, dtype=torch.float64),
        "patches": torch.randn(12, 2, 3, 8, 8, generator=drawn, dtype=torch.float64),
        "cell": torch.randint(4, (12, 2), generator=drawn),
        "order": torch.randint(4, (12,), generator=drawn),
        "places": torch.rand(12, 2, 4, generator=drawn) + torch.tensor([0.0, 0.0, 1.0, 1.0]),
        "image": torch.randperm(24, generator=drawn)[:12],
    }}
    batch = {{name: part[rank::count] for name, part in whole.items()}}
    part = lambda chunk: {{name: rows[chunk] for name, rows in batch.items()}}
    found = backward_in_chunks(
        lambda chunk: network(part(chunk)),
        lambda outputs, chunk: method.losses(outputs, part(chunk)),
        couples=method.couples, num_images=len(batch["image"]), chunk_images=chunk_images,
        backward=accelerator.backward, unsynced=partial(accelerator.no_sync, network),
        buffers=network.buffers(),
    )
    optimizer.step()
    optimizer.zero_grad()
    method.after_step((step + 1) / 3)
    losses.append(float(accelerator.gather(total(found)[None]).mean()))
state = dict(method.state_dict())
queued = [name.removesuffix("images") for name in state if name.endswith("queue.images")]
for queue in queued:  # its order is that of the processes
    order = state[queue + "images"].argsort(stable=True)
    state |= {{queue + name: state[queue + name][order] for name in ("images", "rows")}}
if accelerator.is_main_process:
    numbers = {{name: tensor.double().flatten().tolist() for name, tensor in state.items()}}
    json.dump([losses, numbers], open(out, "w"))
accelerator.wait_for_everyone()
accelerator.end_training()
# Threads of the process group may still free a tensor, for which Python aborts as it ends.
sys.stdout.flush()
os._exit(0)
"""
IMPORTS = """
from cxrssl.ssl.byol import BYOL
from cxrssl.ssl.densecl import DenseCL
from cxrssl.ssl.followers import Queue
from cxrssl.ssl.heads import dense_head
from cxrssl.ssl.jigsaw import Jigsaw
from cxrssl.ssl.moco import MoCo
from cxrssl.ssl.pixpro import PixPro, Propagation
from cxrssl.ssl.position import Position
from cxrssl.ssl.simclr import SimCLR
from cxrssl.ssl.simsiam import SimSiam
from cxrssl.ssl.vicreg import VICReg

class OfPatients(SimCLR):
    # Six patients of four films each.
    def losses(self, outputs, batch):
        return super().losses(outputs, {"image": batch["image"] % 6})
"""


def trained(
    method: str, folder: Path, *, processes: int, chunk_images: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the losses of the steps, and all that the method holds after them."""
    script, out = folder / "steps.py", folder / f"{processes}-{chunk_images}.json"
    script.write_text(SCRIPT.format(imports=IMPORTS, build=METHODS[method]))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launch, f"--nproc_per_node={processes}", str(script), str(chunk_images), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    losses, state = json.loads(out.read_text())
    return losses, state


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_a_method_as_one_does(method: str, tmp_path: Path) -> None:
    losses, state = trained(method, tmp_path, processes=1, chunk_images=12)
    assert len(set(losses)) == 3
    for chunk_images in (6, 2):
        in_two, state_in_two = trained(method, tmp_path, processes=2, chunk_images=chunk_images)
        assert in_two == pytest.approx(losses, abs=1e-9)
        assert state_in_two.keys() == state.keys()
        for name, numbers in state.items():
            assert state_in_two[name] == pytest.approx(numbers, abs=1e-9), name
