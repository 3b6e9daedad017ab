"""Starts of which a part is left: the ablations of TransFusion, arXiv 1902.07208.

Weights arrive whole and are audited (`models.weights`) before any of this. Then first stages keep
them, and the tensors of the others are random: fresh ones as any network begins with, or each drawn
from a normal distribution with the mean and the variance of the tensor that had arrived ("Mean Var"
in the paper).

The paper draws weights. Here norms' scales and shifts, biases and positions are drawn as well, for
they are learnt, too. Running statistics are not drawn: they would be those of other weights. They
are a fresh network's, 0 and 1, until training or `norm: recalibrated` takes new ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxrssl.core.errors import TransferError
from cxrssl.models.stages import stages_of

_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class PartialStart:
    """What a body starts from, tensor by tensor.

    Attributes:
        keep_stages: First stages that keep what had arrived.
        num_stages: Stages of the body, the stem among them.
        kept: Tensors that are those of the source.
        drawn: Tensors drawn with the mean and variance of the source's.
        random: Tensors that are a fresh network's.
    """

    keep_stages: int
    num_stages: int
    kept: tuple[str, ...]
    drawn: tuple[str, ...]
    random: tuple[str, ...]

    @property
    def replaced(self) -> list[str]:
        """Tensors that are not the source's."""
        return sorted((*self.drawn, *self.random))

    def as_json(self) -> dict[str, Any]:
        """Return the record for `transfer.json`."""
        return asdict(self)


def replace_stages(
    body: nn.Module,
    architecture: str,
    fresh: Mapping[str, Tensor],
    *,
    keep_stages: int,
    seed_of: Callable[[str], int] | None,
) -> PartialStart:
    """Replace what a body has been given, but for its first stages.

    Args:
        body: The body, its tensors those of the source.
        architecture: timm's name of it.
        fresh: Its tensors before they were loaded.
        keep_stages: Stages that stay; 1 is the stem alone.
        seed_of: Gives the seed of a tensor of that name, for tensors drawn with the mean and
            variance of the source's; None for fresh ones.

    Raises:
        TransferError: If the body has fewer stages, or timm does not know them.
    """
    stages = stages_of(body, architecture)
    num_stages = max(stages.values())
    if keep_stages > num_stages:
        raise TransferError(
            f"init.keep_stages is {keep_stages}, and {architecture} has {num_stages} stages with "
            f"its stem. Set it to at most {num_stages}, or to null for all."
        )
    state = body.state_dict()
    replaced = [key for key in state if stages[key] > keep_stages]
    draws = {
        key: draw_like(state[key], seed=seed_of(key))
        for key in replaced
        if seed_of is not None and _is_learnt(key, state[key])
    }
    body.load_state_dict(state | {key: draws.get(key, fresh[key]) for key in replaced}, strict=True)
    return PartialStart(
        keep_stages,
        num_stages,
        tuple(sorted(set(state) - set(replaced))),
        tuple(sorted(draws)),
        tuple(sorted(set(replaced) - set(draws))),
    )


def draw_like(tensor: Tensor, *, seed: int) -> Tensor:
    """Return independent normal values with the mean and variance of a tensor's, of its shape.

    The variance is that of the values themselves, over all of them: of a single value it is 0.
    """
    values = tensor.double()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    return (values.mean() + values.std(correction=0) * noise).to(tensor.dtype)


def _is_learnt(key: str, tensor: Tensor) -> bool:
    """Return whether training changes a tensor by its gradient, or would if it were not frozen."""
    # Scales of frozen norms are buffers as well, so it can't be asked of the module.
    return tensor.is_floating_point() and not key.endswith(_STATISTICS)
