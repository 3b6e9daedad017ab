"""What a plan can count on beside its own files: this machine's speed, and published weights.

Commands that stand beside `reproduce` know both; who calls it passes them in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Timed = Callable[[Any, torch.device], float]
"""Returns the seconds that an image takes in a training step of a recipe."""


@dataclass(frozen=True)
class Resources:
    """What a plan can count on.

    Attributes:
        timed: Measures a recipe, by command: `pretrain` and `finetune`.
        fault_of_start: Returns why a start, `imagenet` or `coco`, of a timm architecture can't be
            had, None if it can.
    """

    timed: Mapping[str, Timed]
    fault_of_start: Callable[[str, str], str | None]
