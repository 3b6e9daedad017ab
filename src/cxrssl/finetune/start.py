"""The detector of a fine-tuning run as it starts, and the audit of what it starts from."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.images import Intensity
from cxrssl.data.loaders import DetectionImages, detection_loader
from cxrssl.data.sampling import in_order
from cxrssl.data.store import Store
from cxrssl.hub.pull import fetched, fetched_weights
from cxrssl.models.backbone import recalibrate, sync_batch_norm
from cxrssl.models.detector import (
    Config,
    Detector,
    body_input,
    body_of,
    build_detector,
    detector_input,
    image_processor,
    rcnn_config,
    replace_body,
)
from cxrssl.models.initial_weights import coco_detector, imagenet_start, run_start
from cxrssl.models.rtdetr import rtdetr_config
from cxrssl.models.weights import TransferRecord, transfer
from cxrssl.run.memory import place_gradients, training_layout
from cxrssl.run.seed import INITIALISATION, seed_torch

# What torchvision's detector has for 91 classes and another one for its own.
_OF_CLASSES = "roi_heads.box_predictor."


def start_detector(
    recipe: FinetuneRecipe,
    store: Store,
    images: DetectionImages,
    device: torch.device,
    *,
    is_resumed: bool = False,
) -> tuple[Detector, dict[str, Any] | None]:
    """Return the detector at its start, on its device, and the record of what it starts from.

    A run that goes on from a checkpoint has no start to load, and its record is there: it is None.

    Args:
        recipe: Of the run.
        store: Where its images are.
        images: Those it trains on; `norm: recalibrated` takes their statistics.
        device: Where it is trained.
        is_resumed: Whether it goes on.

    Raises:
        TransferError: If weights can't be had or do not arrive whole.
        RunError: If the device has no such norm.
    """
    seed_torch(recipe.seed, INITIALISATION)
    config = config_of(recipe, store.classes, store_px=store.manifest["size_px"])
    model = build_detector(config)
    intensity = images.intensity
    size_px, fit = store.manifest["size_px"], store.manifest["fit"]
    processor = image_processor(config, size_px=size_px, fit=fit, intensity=intensity)
    record = None
    if not is_resumed:
        audits = [audit.as_json() for audit in _transfers(model, recipe, intensity)]
        record = {"start": recipe.init.start, "transfers": audits}
    model.to(device)
    if recipe.model.norm == "recalibrated" and not is_resumed:
        recalibrate(body_of(model), _body_inputs(model, images, recipe.batch_size, device))
    if recipe.model.norm == "sync":
        if device.type != "cuda":
            raise RunError(
                f"norm sync needs CUDA GPUs, and this runs on {device.type}. Set model.norm=gn."
            )
        replace_body(model, sync_batch_norm(body_of(model)))
    model.to(memory_format=training_layout(device))
    place_gradients(model)
    return Detector(model, config, processor), record


def config_of(recipe: FinetuneRecipe, classes: Sequence[str], *, store_px: int) -> Config:
    """Return all that shapes the recipe's detector for a store's classes and size in pixels.

    Raises:
        RunError: If the detector can't take the store's images.
    """
    wanted, intensity = recipe.model, recipe.intensity
    common = {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: label for label, name in enumerate(classes)},
        "protocol": recipe.data.protocol,
        "size_px": recipe.size_px,
        "image_mean": intensity.mean,
        "image_std": intensity.std,
    }
    fields = wanted.model_dump(exclude={"family"}) | common
    match wanted.family:
        case "faster_rcnn":
            # As torchvision has it for COCO's statistics; a body that comes on top was trained with
            # timm's eps, and statistics taken anew can be those of a channel that never varies.
            is_coco = recipe.init.start == "coco" and recipe.init.backbone is None
            return rcnn_config(
                fields, norm_eps=0.0 if is_coco and wanted.norm == "frozen" else None
            )
        case "rtdetr_v2":
            if recipe.size_px != store_px:
                raise RunError(
                    f"size_px is {recipe.size_px} and the store's images have {store_px} px; "
                    "rtdetr_v2 does not resize. Make them equal."
                )
            return rtdetr_config(fields)
        case _:
            assert_never(wanted.family)


def _transfers(
    model: nn.Module, recipe: FinetuneRecipe, intensity: Intensity
) -> Iterator[TransferRecord]:
    """Load what the recipe starts from, and yield the audit of each part."""
    init, architecture, body = recipe.init, recipe.model.backbone, body_of(model)
    file, named = fetched_weights(init.weights)
    match init.start:
        case "random":
            pass
        case "imagenet":
            weights, source = imagenet_start(architecture, file)
            yield transfer(body, weights, source=named or source)
        case "coco":
            weights, source = coco_detector(architecture, file)
            yield transfer(model, weights, source=named or source, new=(_OF_CLASSES,))
        case _:
            assert_never(init.start)
    if init.backbone is not None:
        place = fetched(init.backbone)
        weights = run_start(
            place.folder, source=place.source, architecture=architecture, intensity=intensity
        )
        yield transfer(body, weights, source=place.source)


def _body_inputs(
    model: nn.Module, images: DetectionImages, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield the training images, not mirrored, as they reach the body, [B, C, H, W]."""
    batches = in_order(len(images.examples), batch_size)
    plain = replace(images, flip_probability=0.0)
    for pixels, _ in detection_loader(plain, batches, num_workers=0):
        yield body_input(model, detector_input([image.to(device) for image in pixels]))
