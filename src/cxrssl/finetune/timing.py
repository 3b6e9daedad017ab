"""Training time of a recipe's detector on this machine, measured on noise."""

import time

import torch

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.loaders import Target
from cxrssl.finetune.initial_detector import config_of
from cxrssl.models.detector import build_detector, detector_input
from cxrssl.run.memory import training_layout

_CLASSES = tuple(f"class {number}" for number in range(14))
_IMAGES, _BOXES = 2, 5


def seconds_an_image(recipe: FinetuneRecipe, device: torch.device) -> float:
    """Return the seconds that an image takes in a training step, in fp32, the second of two."""
    config = config_of(recipe, _CLASSES, store_px=recipe.size_px)
    model = build_detector(config).to(device)
    model.to(memory_format=training_layout(device)).train()
    side = recipe.size_px
    noise = [torch.randint(256, (1, side, side), dtype=torch.uint8) for _ in range(_IMAGES)]
    corner = torch.rand(_BOXES, 2) * side / 2
    boxes = torch.cat([corner, corner + side / 4], dim=1).to(device)
    labels = torch.arange(1, _BOXES + 1, device=device)
    targets = [Target(boxes=boxes, labels=labels) for _ in noise]
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        losses = model(detector_input([image.to(device) for image in noise]), targets)
        torch.autograd.backward(list(losses.values()))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begin
    return seconds / _IMAGES
