"""Torch's global random state: set from (seed, keys), never carried on.

Besides this only the samplers of `models.published` set it, from the seeds that are made here.

torchvision's samplers draw from the global generator, so it is set anew before every step; then a
run that was killed and goes on draws the same numbers as one that was not.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch

INITIALISATION = 0x1217
STEP = 0x57E9
IMAGE = 0x1A6E
TENSOR = 0x7E50


def seed_torch(seed: int, *keys: int) -> None:
    """Set torch's generators on all devices as a function of the run's seed and `keys` alone."""
    torch.manual_seed(_derived_seed(seed, *keys))


def image_seeds(seed: int, step: int, positions: Iterable[int]) -> list[int]:
    """Return a seed for each image of a batch, given its position in the global batch."""
    return [_derived_seed(seed, IMAGE, step, position) for position in positions]


def tensor_seed(seed: int, name: str) -> int:
    """Return a seed for the initial values of a tensor, given its name."""
    digest = hashlib.sha256(name.encode()).digest()
    return _derived_seed(seed, TENSOR, int.from_bytes(digest[:8]))


def _derived_seed(*keys: int) -> int:
    state = np.random.SeedSequence(keys).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
