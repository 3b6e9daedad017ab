"""What the `config.json` of every detector family has, as it may come from anyone."""

from collections.abc import Iterable, Mapping
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.models.backbone import check_known
from cxrssl.models.ranges import shown
from cxrssl.models.untrusted_config import EXPECTED

UNUSED_KEYS = (
    *("transformers_version", "architectures", "auto_map", "model_type", "problem_type"),
    *("output_hidden_states", "output_attentions", "return_dict", "dtype", "torch_dtype"),
    *("chunk_size_feed_forward", "is_encoder_decoder", "tie_word_embeddings", "_name_or_path"),
    *("id2label", "label2id", "backbone", "backbone_config"),
)
"""What transformers writes of every model, read elsewhere or not at all."""
_MOST_CLASSES, _MOST_LETTERS = 10_000, 1_000
_EMPTY_VALUES: tuple[object, ...] = (None, False, "", [], {})


def check_keys(content: Mapping[str, Any], allowed: Iterable[str], *, file: str) -> None:
    """Check that a configuration has no key but those allowed, unless that holds nothing.

    Args:
        content: Content of the file.
        allowed: All keys that it may have.
        file: Name of the file in messages.

    Raises:
        DataError: If it has another key.
    """
    unexpected = [key for key in content.keys() - set(allowed) if content[key] not in _EMPTY_VALUES]
    if unexpected:
        raise DataError(
            f"{file} has keys that no detector of cxrssl has: {shown(sorted(unexpected)[:5])}. "
            f"{EXPECTED}"
        )


def backbone_name(content: Mapping[str, Any], *, file: str) -> str:
    """Return timm's name of the backbone: a name that timm knows, and no path or repository.

    Raises:
        DataError: If there is none.
        TransferError: If timm does not know it.
    """
    backbone = content.get("backbone")
    if not isinstance(backbone, str):
        raise DataError(f"{file} has no backbone of timm. {EXPECTED}")
    check_known(backbone)
    return backbone


def class_labels(content: Mapping[str, Any], *, file: str) -> dict[str, Any]:
    """Return `id2label` and `label2id` of classes 0..K-1; the latter None where the file has none.

    Raises:
        DataError: If classes are not so numbered, nameless, too many, or two have one name, or
            `label2id` is not the inverse.
    """
    names, numbers = content.get("id2label"), content.get("label2id")
    if (
        not isinstance(names, dict)
        or not 1 <= len(names) <= _MOST_CLASSES
        or set(names) != {str(label) for label in range(len(names))}
        or not all(
            isinstance(name, str) and 1 <= len(name) <= _MOST_LETTERS for name in names.values()
        )
    ):
        raise DataError(
            f"{file}: id2label is {shown(names)}; expected names of the classes by number, from "
            f'"0" on, at most {_MOST_CLASSES}.'
        )
    if len(set(names.values())) < len(names):
        raise DataError(f"{file}: id2label is {shown(names)}, which has one class twice.")
    inverse = {name: int(label) for label, name in names.items()}
    if numbers not in (None, inverse):
        raise DataError(f"{file}: label2id is {shown(numbers)}, which is not id2label inverted.")
    id2label = {label: names[str(label)] for label in range(len(names))}
    return {"id2label": id2label, "label2id": None if numbers is None else inverse}
