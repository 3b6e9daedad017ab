"""The transfer audit: weights either arrive whole and provably, or nothing starts.

The failure this exists for: a detector that trains well without the weights it was meant to start
from, because keys did not match and loading was not strict.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxrssl.core.errors import TransferError

_NAMED_IN_MESSAGE = 3


@dataclass(frozen=True)
class TransferRecord:
    """What a transfer moved.

    Attributes:
        source: Where the weights came from.
        matched: Keys of the target that were filled, sorted.
        missing: Keys of the target for which the source had nothing.
        unexpected: Keys of the source for which the target has no place.
        reshaped: Keys of the target for which the source had another shape.
        source_sha256: Hash of the tensors that were taken, in the order of the target's keys.
        loaded_sha256: The same hash, read back from the target after loading.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    source_sha256: str
    loaded_sha256: str

    @property
    def arrived(self) -> bool:
        """Return whether every tensor of the target came from the source, bit for bit."""
        whole = not self.missing and not self.reshaped and bool(self.matched)
        return whole and self.source_sha256 == self.loaded_sha256

    def as_json(self) -> dict[str, Any]:
        """Return the record for `transfer.json`."""
        return asdict(self) | {"arrived": self.arrived}


def transfer(target: nn.Module, state: Mapping[str, Tensor], *, source: str) -> TransferRecord:
    """Load `state` into `target`, and prove that it arrived.

    A key of the source fits a key of the target that is equal, or equal once its first dot is an
    underscore: timm's `features_only` wrapper renames `stages.0.x` to `stages_0.x`. What the
    source has beyond the target, such as a projection head, is recorded and left.

    Raises:
        TransferError: If any tensor of the target is not filled; nothing is changed then.
    """
    wanted = target.state_dict()
    offered = {_place(key, wanted): tensor for key, tensor in state.items()}
    matched = {k: offered[k] for k, v in wanted.items() if k in offered and _fits(offered[k], v)}
    reshaped = sorted(k for k in wanted if k in offered and k not in matched)
    missing = sorted(k for k in wanted if k not in offered)
    unexpected = sorted(k for k in offered if k not in wanted)
    if missing or reshaped or not matched:
        raise TransferError(
            f"{source} does not fit the backbone: {_named(missing)} missing, "
            f"{_named(unexpected)} unexpected, {_named(reshaped)} of another shape, "
            f"{len(matched)} of {len(wanted)} matched. Nothing was loaded. "
            "Use the backbone folder of a run with the same architecture."
        )
    target.load_state_dict(matched, strict=True)
    record = TransferRecord(
        source,
        tuple(sorted(matched)),
        tuple(missing),
        tuple(unexpected),
        tuple(reshaped),
        tensors_sha256(matched, order=list(wanted)),
        tensors_sha256(target.state_dict(), order=list(wanted)),
    )
    if not record.arrived:
        raise TransferError(f"{source}: tensors read back from the network differ from the file's.")
    return record


def tensors_sha256(tensors: Mapping[str, Tensor], *, order: list[str]) -> str:
    """Hash the values of tensors, in the order of the keys given."""
    digest = hashlib.sha256()
    for key in order:
        tensor = tensors[key].detach().cpu().contiguous().flatten()
        digest.update(f"{key}/{tensor.dtype}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _place(key: str, wanted: Mapping[str, Tensor]) -> str:
    flattened = key.replace(".", "_", 1)
    return flattened if key not in wanted and flattened in wanted else key


def _fits(offered: Tensor, wanted: Tensor) -> bool:
    return offered.shape == wanted.shape and offered.dtype == wanted.dtype


def _named(keys: list[str]) -> str:
    if not keys:
        return "0"
    more = ", ..." if len(keys) > _NAMED_IN_MESSAGE else ""
    return f"{len(keys)} ({', '.join(keys[:_NAMED_IN_MESSAGE])}{more})"
