"""The tensors of a network by name, each once: what safetensors can hold."""

from collections.abc import Mapping

from torch import Tensor, nn


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors, contiguous; one that has several names is under its first."""
    found: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach().contiguous()
    return found


def load_own_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `own_state` returned, strictly.

    Raises:
        KeyError: If tensors are missing or have no place; nothing is changed then.
    """
    odd = sorted(set(state) ^ set(own_state(module)))
    if odd:
        raise KeyError(f"{len(odd)} tensors are missing or have no place: {', '.join(odd[:3])}")
    module.load_state_dict(state, strict=False)  # other names of what is shared are absent
