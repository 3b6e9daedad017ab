"""The transfer audit: weights either arrive whole and provably, or nothing starts.

The failure this exists for: a detector that trains well without the weights it was meant to start
from, because keys did not match and loading was not strict.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxrssl.core.errors import TransferError
from cxrssl.models.patches import Resampled, with_patches_of
from cxrssl.models.published.pyramid_cxr_rcnn import body_names

_NAMED_IN_MESSAGE = 3
_STATISTICS = "running_var"


@dataclass(frozen=True)
class Terms:
    """What a publisher says of weights; it is shown, and nothing follows from it.

    Attributes:
        origin: Where a file says that its tensors come from; None if it doesn't say, or if their
            source is that place itself.
        licence: Name of their licence, None if it is not stated.
    """

    origin: str | None = None
    licence: str | None = None


NOT_STATED = Terms()


@dataclass(frozen=True)
class TransferRecord:
    """Record of a transfer of weights.

    Attributes:
        source: Origin of the weights.
        matched: Keys of the target that were filled, sorted.
        missing: Keys of the target for which the source had nothing.
        unexpected: Keys of the source for which the target has no place.
        reshaped: Keys of the target for which the source had another shape.
        new: Keys of the target that were not to be filled.
        resampled: Tensors of the source that were resampled to the target's patches first.
        terms: What its publisher says of the source.
        source_sha256: Hash of the tensors that were taken, in the order of the target's keys.
        loaded_sha256: The same hash, read back from the target after loading.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    new: tuple[str, ...]
    resampled: tuple[Resampled, ...]
    terms: Terms
    source_sha256: str
    loaded_sha256: str

    @property
    def arrived(self) -> bool:
        """Return whether every tensor of the target that is not new came, bit for bit."""
        is_complete = not self.missing and not self.reshaped and bool(self.matched)
        return is_complete and self.source_sha256 == self.loaded_sha256

    def as_json(self) -> dict[str, Any]:
        """Return the record for `transfer.json`."""
        return asdict(self) | {"arrived": self.arrived}


def transfer(
    target: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    new: tuple[str, ...] = (),
    terms: Terms = NOT_STATED,
) -> TransferRecord:
    """Load `state` into `target`, and prove that it arrived.

    A key of the source fits a key of the target that is equal, or what timm's `features_only` makes
    of it: `stages.0.x` becomes `stages_0.x`, and a transformer's keys begin with `model.`. For
    patches of another size the source is resampled first. What it has beyond the target, such as a
    projection head, is recorded and left.

    Args:
        target: The module to fill.
        state: The tensors to load.
        source: Their origin, for the record and for messages.
        new: Prefixes of the target's keys that keep their values, such as those of the classes.
        terms: What their publisher says of them, for the record.

    Raises:
        TransferError: If any tensor of the target is not filled, two of the source would fill one,
            or the scale of a BatchNorm another kind of norm; nothing is changed then.
    """
    state_before = target.state_dict()
    expected = {
        key: tensor for key, tensor in state_before.items() if not key.startswith(new or "\0")
    }
    state, resampled = with_patches_of(target, state, source=source)
    offered = _by_target_key(state, expected, source=source)
    matched = {k: offered[k] for k, v in expected.items() if k in offered and _fits(offered[k], v)}
    reshaped = sorted(k for k in expected if k in offered and k not in matched)
    missing = sorted(k for k in expected if k not in offered)
    unexpected = sorted(k for k in offered if k not in expected)
    if missing or reshaped or not matched:
        raise TransferError(
            f"{source} does not fit the {'detector' if new else 'backbone'}: {_named(missing)} "
            f"missing, {_named(unexpected)} unexpected, {_named(reshaped)} of another shape or "
            f"type, {len(matched)} of {len(expected)} matched. Nothing was loaded. "
            f"{_advice(offered, expected, reshaped)}"
        )
    _check_norms(state, expected, source=source)
    target.load_state_dict(state_before | matched, strict=True)
    record = TransferRecord(
        source,
        tuple(sorted(matched)),
        tuple(missing),
        tuple(unexpected),
        tuple(reshaped),
        tuple(sorted(set(state_before) - set(expected))),
        resampled,
        terms,
        tensors_sha256(matched, order=list(expected)),
        tensors_sha256(target.state_dict(), order=list(expected)),
    )
    if not record.arrived:
        raise TransferError(f"{source}: tensors read back from the network differ from the file's.")
    return record


def _advice(
    offered: Mapping[str, Tensor], expected: Mapping[str, Tensor], reshaped: Sequence[str]
) -> str:
    """Return what to do about tensors that do not fit."""
    types = {offered[key].dtype for key in reshaped if offered[key].shape == expected[key].shape}
    if not types:
        return "Use weights of the same architecture, with the recipe's widths."
    names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))
    return (
        f"There are tensors in {names}: write them as float32 first, "
        "safetensors.torch.save_file({k: v.float() for k, v in load_file(FILE).items()}, "
        "'weights.safetensors')."
    )


def _by_target_key(
    state: Mapping[str, Tensor], expected: Collection[str], *, source: str
) -> dict[str, Tensor]:
    """Return the tensors of a source under the keys that they have in the target.

    Raises:
        TransferError: If two would fill one place.
    """
    offered: dict[str, Tensor] = {}
    for key, tensor in state.items():
        target_key = _target_key(key, expected)
        if target_key in offered:
            raise TransferError(
                f"{source} holds two tensors for {target_key}, {key} the second of them: it is the "
                "file of two networks. Nothing was loaded. Name a file that holds one."
            )
        offered[target_key] = tensor
    return offered


def _check_norms(state: Mapping[str, Tensor], expected: Collection[str], *, source: str) -> None:
    """Check that what a BatchNorm has learnt goes to a BatchNorm.

    Its scale and shift hold for its own statistics: in a GroupNorm, whose tensors have the same
    names and shapes, they mean nothing.

    Raises:
        TransferError: If it would go elsewhere.
    """
    norms = [key.removesuffix(_STATISTICS) for key in state if key.endswith(_STATISTICS)]
    # By the scale, since a norm of another kind has no place for statistics.
    scales = [_target_key(f"{norm}weight", expected) for norm in norms]
    norms_in_target = [scale.removesuffix("weight") for scale in scales if scale in expected]
    other_norms = [norm for norm in norms_in_target if f"{norm}{_STATISTICS}" not in expected]
    if other_norms:
        names = [norm.rstrip(".") for norm in sorted(other_norms)]
        raise TransferError(
            f"{source} was trained with BatchNorm, and {_named(names)} norms of the network are of "
            "another kind (model.norm: gn), for which its scales and shifts mean nothing. Nothing "
            "was loaded. Set model.norm to recalibrated, bn or frozen, or start at random "
            "(init.start=random, init.backbone=null)."
        )


def is_source(
    record: Mapping[str, Any], state: Mapping[str, Tensor], *, keys: Sequence[str]
) -> bool:
    """Return whether a record of `transfer.json` is of these very tensors, and all stayed.

    Args:
        record: Record of a transfer into a backbone.
        state: Tensors that it may have moved.
        keys: Keys of the backbone, in its order.
    """
    if record.get("replaced"):
        return False
    matched = set(record["matched"])
    order = [key for key in keys if key in matched]
    offered = {_target_key(key, dict.fromkeys(order)): tensor for key, tensor in state.items()}
    if not order or not matched <= set(order) or any(key not in offered for key in order):
        return False
    return bool(tensors_sha256(offered, order=order) == record["loaded_sha256"])


def tensors_sha256(tensors: Mapping[str, Tensor], *, order: list[str]) -> str:
    """Hash the values of tensors, in the order of the keys given."""
    digest = hashlib.sha256()
    for key in order:
        tensor = tensors[key].detach().cpu().contiguous().flatten()
        digest.update(f"{key}/{tensor.dtype}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _target_key(key: str, expected: Collection[str]) -> str:
    return next((name for name in body_names(key) if name in expected), key)


def _fits(offered: Tensor, expected: Tensor) -> bool:
    return offered.shape == expected.shape and offered.dtype == expected.dtype


def _named(keys: list[str]) -> str:
    if not keys:
        return "0"
    more = ", ..." if len(keys) > _NAMED_IN_MESSAGE else ""
    return f"{len(keys)} ({', '.join(keys[:_NAMED_IN_MESSAGE])}{more})"
