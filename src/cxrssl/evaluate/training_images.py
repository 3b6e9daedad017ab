"""Which training images fixed boxes are chosen on: those whose labels the detector's run saw."""

from pathlib import Path
from typing import Any

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import CxrsslError
from cxrssl.core.records import read_record
from cxrssl.data.coco.index import Remarks
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


def overlap_remarks(store: Store, checkpoint: Path, scored: list[Example]) -> Remarks:
    """Return a warning if images are scored that the detector's run was trained on.

    They may be of another store than the run's, as of another fold or with another split.

    Args:
        store: The store of the images that are scored.
        checkpoint: A run, or the folder of a detector.
        scored: The images that are scored.
    """
    seen = _seen_ids(store, checkpoint)
    if seen is None:
        seen = _seen_in_its_store(checkpoint, store)
    num_seen = sum(example.image_id in seen for example in scored)
    if not num_seen:
        return Remarks()
    warning = (
        f"{num_seen} of the {len(scored)} images that are scored are among those whose labels the "
        "detector's run was trained on: the scores are too good. Score it on the store of its run, "
        "or on images of another source."
    )
    return Remarks(warnings=(warning,))


def _seen_in_its_store(checkpoint: Path, store: Store) -> set[str]:
    """Return the ids in a store of the images that a run saw in its own; none if that is gone.

    They are the same by id and by the bytes of their files.
    """
    path = recipe_of(checkpoint)
    if path is None:
        return set()
    try:
        its_store = Store(load_recipe(path, FinetuneRecipe, overrides=[]).data.store)
        its_files, files = its_store.source_sha256(), store.source_sha256()
    except CxrsslError:
        return set()
    seen = _seen_ids(its_store, checkpoint) or set()
    return {name for name in seen if name in files and files[name] == its_files[name]}


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
