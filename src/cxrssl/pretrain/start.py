"""The method of a pretraining run at its start, and the audit of its initial weights."""

from collections.abc import Mapping
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from cxrssl.config.body import BodySection
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import RecipeError
from cxrssl.core.images import Intensity
from cxrssl.core.printable import printable
from cxrssl.hub.pull import fetch, fetch_weights
from cxrssl.models.backbone import (
    SIZE_FAULTS,
    check_sizes,
    encoder,
    freeze_stages,
)
from cxrssl.models.initial_weights import (
    coco_start,
    imagenet_start,
    published_start,
    run_start,
    stated_terms,
)
from cxrssl.models.patches import patch_px
from cxrssl.models.stated_levels import other_levels
from cxrssl.models.weights import NOT_STATED, Terms, transfer
from cxrssl.pretrain.methods import AnyMethod, method_on
from cxrssl.run.memory import is_out_of_memory
from cxrssl.run.processes import warn_in_main_process
from cxrssl.run.seed import INITIALISATION, seed_torch
from cxrssl.ssl.maps import map_side


def build_pretext(
    recipe: PretrainRecipe, *, is_resumed: bool = False
) -> tuple[AnyMethod, dict[str, Any] | None]:
    """Return the recipe's method at its start, and the record of its backbone's initial weights.

    A run that goes on from a checkpoint has no start to load, and its record is there: it is None.

    Raises:
        RecipeError: If the backbone can't take images of the sizes that the recipe has.
        TransferError: If weights can't be had or do not arrive whole.
    """
    body, intensity = recipe.body, recipe.intensity.treatment
    loaded = None if is_resumed else _weights(body, intensity)
    seed_torch(recipe.seed, INITIALISATION)
    backbone = _encoder(recipe)
    _check_map(backbone, recipe)
    audits = []
    if loaded is not None:  # before a method copies the backbone
        weights, source, terms = loaded
        audits = [transfer(backbone, weights, source=source, terms=terms).as_json()]
    freeze_stages(backbone, body.frozen_stages)
    pretext = method_on(backbone, recipe.method)
    pretext.to(memory_format=torch.channels_last)  # measured: a quarter less time for a small one
    return pretext, None if is_resumed else {"start": body.start, "transfers": audits}


def _encoder(recipe: PretrainRecipe) -> nn.Module:
    """Return the recipe's backbone, of random weights, for the sizes at which it is used.

    Raises:
        RecipeError: If it can't take one of them.
    """
    name = recipe.body.backbone
    sizes = {"views.size_px": recipe.views.size_px}  # on views it is measured
    sizes |= recipe.method.further_sizes_px
    backbone = None
    try:
        backbone = encoder(name, sizes_px=sizes.values())
        check_sizes(backbone, sizes.values(), saved_px=recipe.views.size_px)
    except SIZE_FAULTS as error:
        if is_out_of_memory(error):
            raise
        listed = " and ".join(f"{field} {size_px}" for field, size_px in sizes.items())
        reason = printable(str(error)).rstrip(".")
        raise RecipeError(
            f"body.backbone {name} can't take images of {listed} px: {reason}. Set "
            f"{' and '.join(sizes)} to what it takes{_nearest(backbone, sizes)}, or body.backbone "
            "to one that takes images of any size, such as resnet50."
        ) from error
    return backbone


def _check_map(backbone: nn.Module, recipe: PretrainRecipe) -> None:
    """Check that a backbone's last map of a view is what the recipe's method learns from.

    Raises:
        RecipeError: If there is none, or it has too few places.
    """
    least = recipe.method.least_map_side
    if least is None:
        return
    size_px, method = recipe.views.size_px, recipe.method.name
    try:
        side = map_side(backbone, size_px)
    except ValueError as error:
        raise RecipeError(
            f"method {method} learns from the places of the backbone's last map, and body.backbone "
            f"{recipe.backbone} has none that it can use: {error}. Set body.backbone to one that "
            "has, such as resnet50."
        ) from error
    if side < least:
        raise RecipeError(
            f"views.size_px is {size_px}: the last map of body.backbone {recipe.backbone} is then "
            f"{side} x {side}, and method {method} matches places of maps of at least {least} x "
            f"{least}. Set views.size_px to at least {least * -(-size_px // side)}."
        )


def _nearest(backbone: nn.Module | None, sizes: Mapping[str, int]) -> str:
    """Return the sizes nearest to those of the recipe that fill whole patches, for a message."""
    side = None if backbone is None else patch_px(backbone)
    if side is None:
        return ""
    texts = []
    for field, size_px in sizes.items():
        below = size_px // side * side
        if size_px != below:
            texts.append(f"{field} {f'{below} or ' if below else ''}{below + side}")
    return f", multiples of its patch of {side} px ({', '.join(texts)})" if texts else ""


def _weights(
    body: BodySection, intensity: Intensity
) -> tuple[dict[str, Tensor], str, Terms] | None:
    """Return the weights of the recipe's start, their source and terms; None for random ones."""
    match body.start:
        case "random":
            return None
        case "imagenet" | "coco" | "published":
            return _published(body, intensity)
        case "run":
            assert body.weights is not None  # the schema wants one
            location = fetch(body.weights)
            weights = run_start(
                location.folder,
                source=location.source,
                architecture=body.backbone,
                intensity=intensity,
            )
            return weights, location.source, NOT_STATED
        case _:
            assert_never(body.start)


def _published(body: BodySection, intensity: Intensity) -> tuple[dict[str, Tensor], str, Terms]:
    """Return weights that others trained, their source and terms."""
    named = fetch_weights(body.weights)
    terms = stated_terms(body.start, body.backbone, named.file, named.licence)
    if body.start == "published":
        assert named.file is not None  # the schema wants one
        assert named.source is not None
        note = other_levels(named.file, intensity, source=named.source)
        if note is not None:
            warn_in_main_process(note)
        weights = published_start(body.backbone, named.file, source=named.source)
        return weights, named.source, terms
    start = coco_start if body.start == "coco" else imagenet_start
    weights, source = start(body.backbone, named.file)
    return weights, named.source or source, terms
