"""SimSiam's heads collapse without what keeps them from it, on the images of a small store."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from cxrssl.data.loaders import method_input
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.metrics.representation import spread
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.pretrain.pool import pool_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.ssl.pretext import Batch, Losses, Outputs
from cxrssl.ssl.simsiam import SimSiam
from support import pretrain_recipe

BATCH = 16


class WithGradientToTargets(SimSiam):
    """SimSiam without its stop-gradient."""

    def losses(self, outputs: Outputs, _batch: Batch) -> Losses:
        first, second, first_target, second_target = outputs
        predictions, targets = torch.cat([first, second]), torch.cat([second_target, first_target])
        return {"loss": -functional.cosine_similarity(predictions, targets, dim=1).mean()}


def trained(
    store: Path, kind: type[SimSiam], *, predicts: bool, normalises: bool, steps: int
) -> tuple[float, float]:
    """Return the loss after some steps of 16 images at 32 px, and the spread of the targets."""
    changes = ("views.size_px=32", f"batch_size={BATCH}")
    recipe = pretrain_recipe(store, *changes, name="simsiam_smoke")
    images, _ = pool_images(Store(store), recipe)
    plain, _ = build_pretext(recipe)
    layers = [x for x in plain.projector if normalises or not isinstance(x, nn.BatchNorm1d)]
    predictor = plain.predictor if predicts else nn.Identity()
    method = kind(plain.encoder, nn.Sequential(*layers), predictor).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.003)
    for step in range(steps + 1):
        views = torch.stack([images[Visit(step, row)]["views"] for row in range(BATCH)])
        batch = {"views": views}
        outputs = method(method_input(batch, images.intensity, num_channels=NUM_CHANNELS))
        (loss,) = method.losses(outputs, batch).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach()), float(spread(torch.cat(outputs[2:]).detach()))


@pytest.mark.slow
def test_heads_without_norms_are_kept_from_a_collapse_by_stop_gradient_and_predictor(
    store_folder: Path,
) -> None:
    loss, both = trained(store_folder, SimSiam, predicts=True, normalises=False, steps=20)
    assert loss > -0.9
    assert both > 0.3
    for kind, predicts in ((SimSiam, False), (WithGradientToTargets, True)):
        loss, one = trained(store_folder, kind, predicts=predicts, normalises=False, steps=20)
        assert loss < -0.95
        assert one < 0.15


@pytest.mark.slow
def test_the_recipes_heads_spread_and_without_stop_gradient_they_shrink(store_folder: Path) -> None:
    loss, kept = trained(store_folder, SimSiam, predicts=True, normalises=True, steps=60)
    lower, shrunk = trained(
        store_folder, WithGradientToTargets, predicts=True, normalises=True, steps=60
    )
    assert kept > 0.9
    assert shrunk < 0.75
    assert lower < loss - 0.1
