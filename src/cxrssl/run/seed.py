"""The only place that touches torch's global randomness: set from (seed, keys), never carried on.

torchvision's samplers draw from the global generator, so it is set anew before every step; then a
run that was killed and goes on draws the same numbers as one that was not.
"""

import numpy as np
import torch

INITIALISATION = 0x1217
STEP = 0x57E9


def seed_torch(seed: int, *keys: int) -> None:
    """Set torch's generators on all devices as a function of the run's seed and `keys` alone."""
    state = np.random.SeedSequence((seed, *keys)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(state >> np.uint64(1)))
