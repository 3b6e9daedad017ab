"""Which training images fixed boxes are chosen on: those whose labels the detector's run saw."""

from pathlib import Path
from typing import Any

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import CxrsslError
from cxrssl.core.records import read_record
from cxrssl.data.detection import Example, patients_of, splits_of, training_ids
from cxrssl.data.licence_terms import ids_sha256
from cxrssl.data.protocol import Protocol, labelled_ids
from cxrssl.data.store import Store
from cxrssl.evaluate.settings import Settings, recipe_of

_SEEN = "whose labels the detector's run saw"


def seen_by_the_run(num_images: int) -> str:
    """Return in words which images these are."""
    return f"the {num_images} training images {_SEEN}"


def training_examples(
    store: Store,
    examples: list[Example],
    checkpoint: Path,
    settings: Settings,
    protocol: Protocol,
) -> tuple[list[Example], str]:
    """Return training images with boxes to choose from, and in words which they are.

    Those of the detector's run, if it is known, if they are in the store, and if they are the same
    as its record says; otherwise all that the protocol has for training. None if there is none.

    Args:
        store: The store.
        examples: All its images.
        checkpoint: A run, or the folder of a detector.
        settings: What is scored.
        protocol: The detector's.
    """
    seen = _seen_ids(store, checkpoint)
    if seen is not None:
        chosen = [example for example in examples if example.image_id in seen]
        return chosen, seen_by_the_run(len(chosen))
    splits = splits_of(store, protocol=protocol, normals=settings.normals)
    chosen = [example for example in examples if splits.get(example.image_id) == "train"]
    return chosen, (
        f"all {len(chosen)} images of the training split, because which of them the detector's run "
        "saw is not known"
    )


def _seen_ids(store: Store, checkpoint: Path) -> set[str] | None:
    """Return the ids of the images whose labels a run saw, None where that is not known."""
    path = recipe_of(checkpoint)
    if path is None:
        return None
    try:
        recipe = load_recipe(path, FinetuneRecipe, overrides=[])
        record: dict[str, Any] = read_record(path.parent / "provenance.json")
        stated = record["images"]["train"]["sha256"]
        data = recipe.data
        ids = labelled_ids(
            training_ids(store, protocol=data.protocol, normals=data.normals, fusion=data.fusion),
            fraction=data.label_fraction,
            seed=recipe.seed,
            protocol=data.protocol,
            label_order=data.label_order,
            patients=patients_of(store),
        )
    except (CxrsslError, LookupError, TypeError):
        return None  # a detector on its own, a damaged record, or a store of other images
    return set(ids) if ids_sha256(ids) == stated else None
