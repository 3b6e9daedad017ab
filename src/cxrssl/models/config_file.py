"""What the `config.json` of every detector family has, as it may come from anyone."""

from collections.abc import Iterable, Mapping
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.models.backbone import check_known
from cxrssl.models.ranges import class_names, shown
from cxrssl.models.untrusted_config import EXPECTED

UNUSED_KEYS = (
    *("transformers_version", "architectures", "auto_map", "model_type", "problem_type"),
    *("output_hidden_states", "output_attentions", "return_dict", "dtype", "torch_dtype"),
    *("chunk_size_feed_forward", "is_encoder_decoder", "tie_word_embeddings", "_name_or_path"),
    *("id2label", "label2id", "backbone", "backbone_config"),
)
"""What transformers writes of every model, read elsewhere or not at all."""
_NOTHING: tuple[object, ...] = (None, False, "", [], {})


def check_keys(content: Mapping[str, Any], known: Iterable[str], *, place: str) -> None:
    """Check that a configuration has no key beyond those known, unless it holds nothing.

    Args:
        content: Of the file.
        known: All keys that it may have.
        place: What the file is called in messages.

    Raises:
        DataError: If it has.
    """
    odd = [key for key in content.keys() - set(known) if content[key] not in _NOTHING]
    if odd:
        raise DataError(
            f"{place} has keys that no detector of cxrssl has: {shown(sorted(odd)[:5])}. {EXPECTED}"
        )


def backbone_name(content: Mapping[str, Any], *, place: str) -> str:
    """Return timm's name of the backbone: a name that timm knows, and no path or repository.

    Raises:
        DataError: If there is none.
        TransferError: If timm does not know it.
    """
    backbone = content.get("backbone")
    if not isinstance(backbone, str):
        raise DataError(f"{place} has no backbone of timm. {EXPECTED}")
    check_known(backbone)
    return backbone


def class_labels(content: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """Return `id2label` and `label2id`, the latter None where the file leaves it out.

    Raises:
        DataError: If the classes have no names, or not each its own.
    """
    names = class_names(content, place=place)
    numbers = {name: label for label, name in names.items()}
    return {
        "id2label": names,
        "label2id": None if content.get("label2id") is None else numbers,
    }
