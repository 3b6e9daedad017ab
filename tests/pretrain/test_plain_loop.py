"""A SimCLR run is the plain loop that anyone would write down, bit for bit: losses and backbone.

The loss itself is compared with the paper's algorithm and with lightly's in `tests/ssl`.
"""

import json
import math
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrssl.core.images import equalized
from cxrssl.data.cuts.two_views import ViewRanges, random_view, view_generator
from cxrssl.data.detection import splits_of
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.pretrain import pretrain
from cxrssl.run.seed import INITIALISATION, STEP, seed_torch
from cxrssl.ssl.losses.nt_xent import nt_xent
from support import pretrain_recipe

BATCH, STEPS, PEAK = 4, 6, 1e-3
RANGES = ViewRanges(64, (0.2, 1.0), (0.75, 1.3333), 0.5, (0.1, 0.5), 21, (0.125, 0.25), "uniform")


def batches(store: Store) -> list[Tensor]:
    """Return the views of every step, [2B, 3, H, W]: the first views of the batch, then the second.

    The smoke recipe's pool is the training split; the order of its batches is `BatchPlan`'s.
    """
    splits = splits_of(store, protocol="corrected", normals=True)
    rows = [row for row, image in enumerate(store.images) if splits[image.image_id] == "train"]
    plan = BatchPlan(len(rows), batch_size=BATCH, num_epochs=2, seed=0, drop_last=True)
    view_batches = []
    for visits in plan.batches()[:STEPS]:
        views = [
            random_view(equalized(store.pixels(row)), RANGES, view_generator(0, epoch, row, view))
            for view in (0, 1)
            for epoch, row in ((visit.epoch, rows[visit.row]) for visit in visits)
        ]
        pixels = torch.stack([torch.from_numpy(view) for view in views])[:, None]
        grey = (pixels.float() / 255 - 0.5) / 0.25
        view_batches.append(
            grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        )
    return view_batches


def plain_simclr(store: Store) -> tuple[list[float], dict[str, Tensor]]:
    """Train SimCLR by hand; return the losses and the encoder's tensors."""
    seed_torch(0, INITIALISATION)
    encoder = timm.create_model("test_resnet", num_classes=0)
    head = nn.Sequential(nn.Linear(encoder.num_features, 128), nn.ReLU(), nn.Linear(128, 64))
    model = nn.Sequential(encoder, head).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.0, betas=(0.9, 0.999), weight_decay=0.0005, fused=True
    )
    losses = []
    for step, images in enumerate(batches(store)):
        optimizer.param_groups[0]["lr"] = PEAK * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        seed_torch(0, STEP, step, 0, 0)
        loss = nt_xent(*model(images).chunk(2), temperature=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, encoder.state_dict()


def test_a_simclr_run_equals_the_plain_loop_bit_for_bit(
    store: Store, store_folder: Path, tmp_path: Path
) -> None:
    recipe = pretrain_recipe(store_folder, f"max_steps={STEPS}", "epochs=2", "health_images=8")
    backbone = pretrain(recipe, tmp_path / "run", resume=False)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses, state = plain_simclr(store)
    assert [line["loss"] for line in lines if "loss" in line] == losses
    trained = load_file(backbone / "model.safetensors")
    assert trained.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(trained[name], tensor), name
