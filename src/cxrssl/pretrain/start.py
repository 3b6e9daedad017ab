"""The network of a pretraining run as it starts, and the audit of what it starts from."""

from typing import Any, assert_never

import torch
from torch import Tensor

from cxrssl.config.body import BodySection
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.images import Intensity
from cxrssl.hub.pull import fetched, fetched_weights
from cxrssl.models.backbone import encoder, freeze_stages, num_features
from cxrssl.models.initial_weights import coco_start, imagenet_start, run_start
from cxrssl.models.weights import transfer
from cxrssl.run.seed import INITIALISATION, seed_torch
from cxrssl.ssl.simclr import SimCLR, projection_head


def build_model(
    recipe: PretrainRecipe, *, is_resumed: bool = False
) -> tuple[SimCLR, dict[str, Any] | None]:
    """Return the network at its start, and the record of what it starts from.

    A run that goes on from a checkpoint has no start to load, and its record is there: it is None.

    Raises:
        TransferError: If weights can't be had or do not arrive whole.
    """
    seed_torch(recipe.seed, INITIALISATION)
    wanted, method = recipe.body, recipe.method
    body = encoder(wanted.backbone)
    head = projection_head(
        num_features(body),
        hidden=method.projector_hidden,
        num_outputs=method.projector_outputs,
        num_layers=method.projector_layers,
        batch_norm=method.projector_batch_norm,
    )
    model = SimCLR(body, head)
    freeze_stages(body, wanted.frozen_stages)
    model.to(memory_format=torch.channels_last)  # measured: a quarter less time for a small network
    if is_resumed:
        return model, None
    found = _weights(wanted, recipe.intensity.treatment)
    audits = [transfer(body, found[0], source=found[1]).as_json()] if found is not None else []
    return model, {"start": wanted.start, "transfers": audits}


def _weights(wanted: BodySection, intensity: Intensity) -> tuple[dict[str, Tensor], str] | None:
    """Return the weights of the recipe's start and their source; None for random ones."""
    match wanted.start:
        case "random":
            return None
        case "imagenet" | "coco":
            file, named = fetched_weights(wanted.weights)
            start = imagenet_start if wanted.start == "imagenet" else coco_start
            weights, source = start(wanted.backbone, file)
            return weights, named or source
        case "run":
            assert wanted.weights is not None  # the schema wants one
            place = fetched(wanted.weights)
            weights = run_start(
                place.folder,
                source=place.source,
                architecture=wanted.backbone,
                intensity=intensity,
            )
            return weights, place.source
        case _:
            assert_never(wanted.start)
