"""The images of a pretraining run and the order of its batches."""

from collections.abc import Collection

from cxrssl.config.methods import pairs_patients
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import DataError
from cxrssl.data.cuts.two_views import TwoViews
from cxrssl.data.detection import patients_of, splits_of, training_ids, unread_ids
from cxrssl.data.loaders import PoolImages
from cxrssl.data.patient_pairs import patient_pairs
from cxrssl.data.protocol import order_of, pool_ids
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.data.usage import Usage, usage_of

_TWO_FILMS = "a view each of two films of a patient, to be recognised as one"


def pool_images(store: Store, recipe: PretrainRecipe) -> tuple[PoolImages, BatchPlan]:
    """Return the images of the recipe's pool, cut for its method, and the plan of their batches.

    Raises:
        DataError: If the pool does not fill one batch, or the method can't use it.
    """
    pool = set(_pool_ids(store, recipe))
    rows = [row for row, image in enumerate(store.images) if image.image_id in pool]
    if len(rows) < recipe.batch_size:
        raise DataError(
            f"a pool of {100 * recipe.data.pool_fraction:g}% holds {len(rows)} images, fewer than "
            f"one batch of {recipe.batch_size}. Take a larger pool or a smaller batch_size, of "
            "2 images at least."
        )
    fault = recipe.method.pool_fault(len(rows), recipe.batch_size)
    if fault is not None:
        raise DataError(f"the pool holds {len(rows)} images, and {fault}")
    store_fault = recipe.method.store_fault(store.manifest["size_px"], recipe.views.ranges)
    if store_fault is not None:
        raise DataError(f"{store_fault}.")
    plan = BatchPlan(
        len(rows),
        batch_size=recipe.batch_size,
        num_epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
        drop_last=True,
    )
    cut, intensity = recipe.method.cut(recipe.views.ranges), recipe.intensity.treatment
    if not pairs_patients(recipe.method):
        return PoolImages(store, rows, cut, intensity, recipe.seed), plan
    films = TwoViews(recipe.views.ranges, title=_TWO_FILMS)
    pairs = patient_pairs([store.images[row].patient for row in rows], films)
    return PoolImages(store, rows, films, intensity, recipe.seed, pairs), plan


def pool_usage(store: Store, recipe: PretrainRecipe, ids: Collection[str]) -> Usage:
    """Count the images of a store that are in a pool, given by their ids, and the others."""
    data = recipe.data
    return usage_of(
        store,
        {"pool": ids},
        splits=splits_of(store, protocol=data.protocol, normals=data.normals),
        unused_of_split={
            "train": f"whose labels a fine-tuning sees (data.pool_fraction is "
            f"{data.pool_fraction:g})",
            "val": "for validation",
            "test": "for testing",
        },
        normals=data.normals,
    )


def _pool_ids(store: Store, recipe: PretrainRecipe) -> list[str]:
    data, finetuning = recipe.data, recipe.data.finetuning
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    train = [name for name, split in splits.items() if split == "train"]
    labelled_of = train
    if finetuning is not None:
        labelled_of = training_ids(
            store, protocol=data.protocol, normals=finetuning.normals, fusion=finetuning.fusion
        )
    return pool_ids(
        [*train, *(unread_ids(store, splits) if data.unread else [])],
        fraction=data.pool_fraction,
        seed=recipe.seed,
        protocol=data.protocol,
        label_order=data.label_order if finetuning is None else finetuning.label_order,
        labelled_of=labelled_of,
        patients=patients_of(store),
    )


def notes(images: PoolImages, recipe: PretrainRecipe) -> list[str]:
    """Return whose films are paired, and what the store has not or the method does not use."""
    lines = [] if images.pairs is None else [images.pairs.line()]
    if images.pairs is not None and len(images.pairs.films) < recipe.batch_size:
        lines.append(
            f"These are fewer patients than batch_size, {recipe.batch_size}: every batch has "
            "several films of some, which are not told apart."
        )
    size_px, store_px = recipe.views.size_px, images.store.manifest["size_px"]
    if size_px > store_px:
        lines.append(
            f"views.size_px is {size_px} and the store has {store_px} px: every view is enlarged, "
            "and shows no more detail for it. Ingest with a larger --size for more."
        )
    unused = recipe.method.unused()
    if unused is not None:
        lines.append(
            f"{unused} change nothing of what {recipe.method.name} trains on; the state of the "
            "representation in metrics.jsonl is measured on views that have them."
        )
    return lines


def assumption(recipe: PretrainRecipe) -> str | None:
    """Return what a run assumes about its fine-tuning, None where it assumes nothing.

    Only a recipe that states its fine-tuning knows which labels that will see.
    """
    data = recipe.data
    if data.pool_fraction == 1 or data.finetuning is not None:
        return None
    order = order_of(data.protocol, data.label_order)
    normals = str(data.normals).lower()
    return (
        "This pool leaves out the images whose labels a fine-tuning sees that has protocol "
        f"{data.protocol}, normals {normals}, label_order {order}, label_fraction "
        f"{1 - data.pool_fraction:g}, seed {recipe.seed} and all readers. Another one may see "
        "labels of images of this pool: say in data.finetuning which it is."
    )
