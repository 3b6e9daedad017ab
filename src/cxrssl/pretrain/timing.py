"""How long a pretraining of a recipe takes an image on this machine, measured on noise."""

import time

import torch

from cxrssl.config.schema import PretrainRecipe
from cxrssl.data.loaders import network_input
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.pretrain.start import build_model
from cxrssl.ssl.ntxent import nt_xent

_IMAGES = 4


def seconds_an_image(recipe: PretrainRecipe, device: torch.device) -> float:
    """Return the seconds that an image's two views take in a step, in fp32, the second of two."""
    blank = recipe.body.model_copy(update={"start": "random", "weights": None})
    model, _ = build_model(recipe.model_copy(update={"body": blank}))
    model.to(device).train()
    side, intensity = recipe.views.size_px, recipe.intensity.treatment
    noise = torch.randint(256, (2 * _IMAGES, 1, side, side), dtype=torch.uint8)
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        images = network_input(noise.to(device), intensity, num_channels=NUM_CHANNELS)
        first, second = model(images).chunk(2)
        loss = nt_xent(first, second, temperature=recipe.method.temperature)
        torch.autograd.backward(loss)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begin
    return seconds / _IMAGES
