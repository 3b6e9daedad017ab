"""Tensors of DINOv2 under timm's names, from Meta's own names or transformers'.

One network, arXiv 2304.07193, is published under three sets of names. timm's own file is taken as
it is. Meta's differs in two tensors where there are registers (arXiv 2309.16588): timm adds the
class token's position to the token itself, and calls registers `reg_token`. In transformers' every
name is another, and query, key and value of a block are three tensors instead of one. RAD-DINO
(arXiv 2401.10815) is published so.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxrssl.core.errors import TransferError
from cxrssl.core.printable import printable
from cxrssl.models.backbone import encoder

_PATCHES = "embeddings.patch_embeddings.projection.weight"
_WRAPPERS = ("", "dinov2.", "dinov2_with_registers.")
"""What comes before each name where a head is in the same file."""
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)", re.ASCII)
_OF_QKV = {
    # transformers 4, 5
    **{f"attention.attention.{name}": name for name in ("query", "key", "value")},
    **{f"attention.{name[0]}_proj": name for name in ("query", "key", "value")},
}
_OF_BLOCK = {
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "layer_scale1": "ls1",
    "layer_scale2": "ls2",
    **{name: name for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")},
}
_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.mask_token": "mask_token",
    _PATCHES: "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}


def check_architecture(architecture: str, config: Mapping[str, Any], *, source: str) -> None:
    """Check that transformers' configuration of a DINOv2 is that of a timm architecture.

    Shapes of tensors do not tell how many heads there are, nor which function follows a layer.

    Raises:
        TransferError: If it is not.
    """
    with torch.device("meta"):
        model = encoder(architecture)
    blocks, patches = getattr(model, "blocks", None), getattr(model, "patch_embed", None)
    if not isinstance(blocks, nn.Sequential) or not hasattr(patches, "patch_size"):
        raise TransferError(
            f"{source} is a DINOv2, and the recipe's backbone {architecture} is no plain vision "
            "transformer. Take vit_small_patch14_dinov2, vit_base_patch14_dinov2 or the like."
        )
    expected = {
        "hidden_size": model.num_features,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": getattr(blocks[0].attn, "num_heads", None),
        "patch_size": patches.patch_size[0],  # type: ignore[union-attr]
    }
    # What shapes don't tell, and timm's DINOv2 has; transformers' own where a file leaves it out.
    expected |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "use_swiglu_ffn": False}
    usual = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "use_swiglu_ffn": False}
    found = {key: config.get(key, usual.get(key)) for key in expected}
    others = [f"{key} {found[key]!r}" for key in expected if found[key] != expected[key]]
    if others:
        listed = ", ".join(f"{key} {value}" for key, value in expected.items())
        raise TransferError(
            f"{source} has {printable(', '.join(others))[:200]}; {architecture} has {listed}. Name "
            "the architecture of the weights as the recipe's backbone."
        )


def with_timm_names(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Return the tensors of a file under timm's names, if it is DINOv2's; else as they are.

    What timm has no place for, such as the mask token or a head, keeps its name or Meta's, for the
    audit to record that it is left.

    Args:
        state: Content of the file; q, k and v of transformers' become `qkv` [3 F, F] and [3 F].
        source: Its name in messages.

    Raises:
        TransferError: If a block has one or two of query, key and value, or unequal ones, or two
            tensors would have one name.
    """
    wrapper = next((text for text in _WRAPPERS if f"{text}{_PATCHES}" in state), None)
    named = dict(state) if wrapper is None else _from_transformers(state, wrapper, source=source)
    if "register_tokens" not in named or "pos_embed" not in named or "cls_token" not in named:
        return named
    positions = named["pos_embed"]
    if positions.ndim != 3 or named["cls_token"].shape != positions[:, :1].shape:
        return named  # for the audit, which finds other shapes
    return {
        **{key: tensor for key, tensor in named.items() if key != "register_tokens"},
        "reg_token": named["register_tokens"],
        "cls_token": named["cls_token"] + positions[:, :1],
        "pos_embed": positions[:, 1:],
    }


def _from_transformers(
    state: Mapping[str, Tensor], wrapper: str, *, source: str
) -> dict[str, Tensor]:
    """Return the tensors of transformers' Dinov2Model under Meta's names."""
    named: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name = key.removeprefix(wrapper)
        layer = _LAYER.fullmatch(name)
        third = None if layer is None else _OF_QKV.get(layer[2])
        if layer is not None and third is not None:
            target = f"blocks.{layer[1]}.attn.qkv.{layer[3]}"
            place, part = thirds.setdefault(target, {}), third
        else:
            place, part = named, _timm_name(name)
        if part in place:
            raise TransferError(
                f"{source} holds two tensors for {part}, {key} the second of them: it is the file "
                "of two networks. Nothing was loaded. Name a file that holds one."
            )
        place[part] = tensor
    for target, parts in thirds.items():
        missing = [part for part in ("query", "key", "value") if part not in parts]
        if missing:
            raise TransferError(
                f"{source} holds no {' and no '.join(missing)} for {target}. Nothing was loaded. "
                "Take the whole file of transformers' Dinov2Model."
            )
        shapes = {tuple(tensor.shape) for tensor in parts.values()}
        if len(shapes) > 1 or () in shapes:
            raise TransferError(
                f"{source}: query, key and value of {target} have the shapes "
                f"{printable(str(sorted(shapes)))[:200]}. Nothing was loaded. Expected three equal "
                "ones."
            )
        named[target] = torch.cat([parts[part] for part in ("query", "key", "value")])
    return named


def _timm_name(name: str) -> str:
    layer = _LAYER.fullmatch(name)
    if layer is None or layer[2] not in _OF_BLOCK:
        return _OUTSIDE.get(name, name)
    last = "gamma" if layer[3] == "lambda1" else layer[3]
    return f"blocks.{layer[1]}.{_OF_BLOCK[layer[2]]}.{last}"
