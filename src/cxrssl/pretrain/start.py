"""The network of a pretraining run as it starts, and the audit of what it starts from."""

from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor

from cxrssl.config.schema import ContrastSection, PretrainRecipe
from cxrssl.core.images import Intensity
from cxrssl.models.backbone import encoder, freeze_stages, num_features
from cxrssl.models.starts import coco_start, imagenet_start, run_start
from cxrssl.models.weights import transfer
from cxrssl.run.seed import INITIALISATION, seed_torch
from cxrssl.ssl.simclr import SimCLR, projection_head


def build_model(recipe: PretrainRecipe) -> tuple[SimCLR, dict[str, Any]]:
    """Return the network at its start, and the record of what it starts from.

    Raises:
        TransferError: If weights can't be had or do not arrive whole.
    """
    seed_torch(recipe.seed, INITIALISATION)
    wanted = recipe.model
    body = encoder(wanted.backbone)
    head = projection_head(
        num_features(body),
        hidden=wanted.projector_hidden,
        num_outputs=wanted.projector_outputs,
        num_layers=wanted.projector_layers,
        batch_norm=wanted.projector_batch_norm,
    )
    model = SimCLR(body, head)
    transfers = []
    found = _weights(wanted, Intensity(**recipe.intensity.model_dump()))
    if found is not None:
        weights, source = found
        transfers.append(transfer(body, weights, source=source).as_json())
    freeze_stages(body, wanted.frozen_stages)
    model.to(memory_format=torch.channels_last)  # measured: a quarter less time a step
    return model, {"start": wanted.start, "transfers": transfers}


def _weights(wanted: ContrastSection, intensity: Intensity) -> tuple[dict[str, Tensor], str] | None:
    """Return the weights of the recipe's start and their source; None for random ones."""
    match wanted.start:
        case "random":
            return None
        case "imagenet":
            return imagenet_start(wanted.backbone, wanted.weights)
        case "coco":
            return coco_start(wanted.backbone, wanted.weights)
        case "run":
            folder = wanted.weights or Path()  # the schema wants one
            return run_start(folder, architecture=wanted.backbone, intensity=intensity)
        case _:
            assert_never(wanted.start)
