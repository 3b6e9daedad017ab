"""The tensors of a network: by name, each once, as safetensors can hold them; and a slow copy."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def unique_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors, contiguous; one that has several names is under its first."""
    tensors: dict[str, Tensor] = {}
    tensor_ids = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in tensor_ids:
            tensor_ids.add(id(tensor))
            tensors[name] = tensor.detach().contiguous()
    return tensors


def load_unique_tensors(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `unique_tensors` returned, strictly.

    Raises:
        KeyError: If tensors are missing or have no place; nothing is changed then.
    """
    mismatched = sorted(set(state) ^ set(unique_tensors(module)))
    if mismatched:
        raise KeyError(
            f"{len(mismatched)} tensors are missing or have no place: {', '.join(mismatched[:3])}"
        )
    module.load_state_dict(state, strict=False)  # other names of what is shared are absent


@torch.no_grad()
def move_towards(slow: nn.Module, fast: nn.Module, *, momentum: float) -> None:
    """Move the parameters of a copy towards a network's, and copy its buffers.

    Each parameter becomes momentum * itself + (1 - momentum) * the other's.

    Args:
        slow: The copy, of the same parts in the same order.
        fast: The network.
        momentum: In [0, 1].
    """
    move = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    move(list(slow.parameters()), list(fast.parameters()), None)
    for copied, buffer in zip(slow.buffers(), fast.buffers(), strict=True):
        copied.copy_(buffer)
