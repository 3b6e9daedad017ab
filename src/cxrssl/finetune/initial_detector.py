"""The detector of a fine-tuning run at its start, and the audit of its initial weights."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

import torch
from torch import Tensor

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.data.loaders import DetectionImages, detection_loader
from cxrssl.data.sampling import in_order
from cxrssl.data.store import Store
from cxrssl.hub.pull import FetchedWeights, fetch, fetch_weights
from cxrssl.models.backbone import recalibrate, sync_batch_norm
from cxrssl.models.detector import Config, Detector, build_detector, detector_input, image_processor
from cxrssl.models.families import family
from cxrssl.models.initial_weights import (
    coco_detector,
    imagenet_start,
    published_start,
    run_start,
    stated_terms,
)
from cxrssl.models.partial_start import replace_stages
from cxrssl.models.stated_levels import other_levels
from cxrssl.models.weights import TransferRecord, transfer
from cxrssl.run.memory import allocate_gradients, training_layout
from cxrssl.run.processes import warn_in_main_process
from cxrssl.run.seed import INITIALISATION, seed_torch, tensor_seed


def initial_detector(
    recipe: FinetuneRecipe,
    store: Store,
    images: DetectionImages,
    device: torch.device,
    *,
    is_resumed: bool = False,
) -> tuple[Detector, dict[str, Any] | None]:
    """Return the detector at its start, on its device, and the record of its initial weights.

    A run that goes on from a checkpoint has no start to load, and its record is there: it is None.

    Args:
        recipe: The recipe of the run.
        store: Store of its images.
        images: The training images; `norm: recalibrated` takes their statistics.
        device: Device on which the detector is trained.
        is_resumed: Whether the run goes on from a checkpoint.

    Raises:
        TransferError: If weights can't be had or do not arrive whole.
        RunError: If the device has no such norm.
    """
    seed_torch(recipe.seed, INITIALISATION)
    size_px, fit = store.manifest["size_px"], store.manifest["fit"]
    config = config_of(recipe, store.classes, store_px=size_px)
    model = build_detector(config)
    processor = image_processor(config, size_px=size_px, fit=fit, intensity=images.intensity)
    detector = Detector(model, config, processor)
    record = None
    if not is_resumed:
        record = _load_start(detector, recipe)
    model.to(device)
    if recipe.model.norm == "recalibrated" and not is_resumed:
        recalibrate(detector.body, _body_inputs(detector, images, recipe.batch_size, device))
    if recipe.model.norm == "sync":
        if device.type != "cuda":
            raise RunError(
                f"norm sync needs CUDA GPUs, and this runs on {device.type}. Set model.norm=gn."
            )
        detector.family.replace_body(model, sync_batch_norm(detector.body))
    model.to(memory_format=training_layout(device))
    allocate_gradients(model)
    return detector, record


def config_of(recipe: FinetuneRecipe, classes: Sequence[str], *, store_px: int) -> Config:
    """Return the configuration of the recipe's detector for a store's classes and size in pixels.

    Raises:
        RunError: If the detector can't take the store's images.
        TransferError: If the backbone can't carry the detector.
    """
    fields = recipe.model.model_dump(exclude={"family"}) | {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: label for label, name in enumerate(classes)},
        "protocol": recipe.data.protocol,
        "size_px": recipe.size_px,
        "image_mean": recipe.intensity.mean,
        "image_std": recipe.intensity.std,
    }
    is_coco = recipe.init.start == "coco" and recipe.init.backbone is None
    return family(recipe.model.family).config_of(fields, store_px=store_px, is_coco=is_coco)


def _load_start(detector: Detector, recipe: FinetuneRecipe) -> dict[str, Any]:
    """Load the recipe's initial weights, and return the record of what is in the network then."""
    init, body = recipe.init, detector.body
    fresh = {key: tensor.clone() for key, tensor in body.state_dict().items()}
    audits = [audit.as_json() for audit in _transfers(detector, recipe)]
    record = {"start": init.start, "transfers": audits}
    if not init.is_partial:
        return record
    draws = init.start == "mean_var"
    part = replace_stages(
        body,
        recipe.model.backbone,
        fresh,
        keep_stages=init.keep_stages or 0,
        seed_of=partial(tensor_seed, recipe.seed) if draws else None,
    )
    # What arrived is not what the network starts from.
    audits = [audit | {"replaced": part.replaced} for audit in audits]
    return record | {"transfers": audits, "body": part.as_json()}


def _transfers(detector: Detector, recipe: FinetuneRecipe) -> Iterator[TransferRecord]:
    """Load the recipe's initial weights, and yield the audit of each transfer."""
    init, architecture, body = recipe.init, recipe.model.backbone, detector.body
    named = fetch_weights(init.weights)
    terms = stated_terms(init.start, architecture, named.file, named.licence)
    match init.start:
        case "random":
            pass
        case "mean_var" if init.backbone is not None:
            pass  # drawn like the backbone
        case "imagenet" | "mean_var" | "published":
            weights, source = _body_weights(recipe, named)
            yield transfer(body, weights, source=source, terms=terms)
        case "coco":
            weights, source = coco_detector(architecture, named.file)
            yield transfer(
                detector.model,
                weights,
                source=named.source or source,
                new=detector.family.CLASS_KEYS,
                terms=terms,
            )
        case _:
            assert_never(init.start)
    if init.backbone is not None:
        location = fetch(init.backbone)
        weights = run_start(
            location.folder,
            source=location.source,
            architecture=architecture,
            intensity=detector.intensity,
        )
        yield transfer(body, weights, source=location.source)


def _body_weights(recipe: FinetuneRecipe, named: FetchedWeights) -> tuple[dict[str, Tensor], str]:
    """Return the weights of a body that others trained, and their source."""
    architecture = recipe.model.backbone
    if named.file is None or recipe.init.start == "imagenet":
        weights, source = imagenet_start(architecture, named.file)
        return weights, named.source or source
    assert named.source is not None
    note = other_levels(named.file, recipe.intensity.treatment, source=named.source)
    if note is not None:
        warn_in_main_process(note)
    return published_start(architecture, named.file, source=named.source), named.source


def _body_inputs(
    detector: Detector, images: DetectionImages, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield the training images, not changed at random, as they reach the body, [B, C, H, W]."""
    batches = in_order(len(images.examples), batch_size)
    plain = replace(images, flip_probability=0.0, augment=None, paste=None)
    for pixels, _ in detection_loader(plain, batches, num_workers=0):
        on_device = detector_input([image.to(device) for image in pixels])
        yield detector.family.body_input(detector.model, on_device)
