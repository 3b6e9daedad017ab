"""The tensors of a network by name, each once: what safetensors can hold."""

from collections.abc import Mapping

from torch import Tensor, nn


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
