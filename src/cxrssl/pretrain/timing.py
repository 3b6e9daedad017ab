"""Training time of a recipe's pretraining on this machine, measured on noise."""

import time

import numpy as np
import torch
from torch.utils.data import default_collate

from cxrssl.config.schema import PretrainRecipe
from cxrssl.data.loaders import pool_item
from cxrssl.pretrain.gradient import outputs_of
from cxrssl.pretrain.start import build_pretext
from cxrssl.ssl.chunks import total

_IMAGES = 4


def seconds_an_image(recipe: PretrainRecipe, device: torch.device) -> float:
    """Return the seconds that an image takes in a step, in fp32, the second of two steps."""
    random_body = recipe.body.model_copy(update={"start": "random", "weights": None})
    pretext, _ = build_pretext(recipe.model_copy(update={"body": random_body}))
    pretext.to(device).train()
    generator, second_generator = np.random.default_rng(0).spawn(2)
    pixels = generator.integers(256, size=2 * (recipe.views.size_px,), dtype=np.uint8)
    cut = recipe.method.cut(recipe.views.ranges)
    generators = (generator, second_generator)
    items = [pool_item(pixels, cut, generators, place=index) for index in range(_IMAGES)]
    batch = {name: part.to(device) for name, part in default_collate(items).items()}
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        outputs = outputs_of(pretext, batch, recipe.intensity.treatment)
        torch.autograd.backward(total(pretext.losses(outputs, batch)))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begin
    return seconds / _IMAGES
