"""The images of a pretraining run and the order of its batches."""

from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import DataError
from cxrssl.data.detection import splits_of
from cxrssl.data.loaders import ViewPairs
from cxrssl.data.protocol import pool_ids
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.data.views import ViewRanges


def pool_views(store: Store, recipe: PretrainRecipe) -> tuple[ViewPairs, BatchPlan]:
    """Return the view pairs of the recipe's pool and the plan of their batches.

    Raises:
        DataError: If the pool does not fill one batch.
    """
    data = recipe.data
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    train = [name for name, split in splits.items() if split == "train"]
    pool = set(
        pool_ids(
            train,
            fraction=data.pool_fraction,
            seed=recipe.seed,
            protocol=data.protocol,
            label_order=data.label_order,
        )
    )
    rows = [row for row, image in enumerate(store.images) if image.image_id in pool]
    if len(rows) < recipe.batch_size:
        raise DataError(
            f"a pool of {recipe.data.pool_fraction:.0%} holds {len(rows)} images, fewer than one "
            f"batch of {recipe.batch_size}. Take a larger pool or a smaller batch_size."
        )
    plan = BatchPlan(
        len(rows),
        batch_size=recipe.batch_size,
        num_epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
        drop_last=True,
    )
    ranges = ViewRanges(**recipe.views.model_dump())
    intensity = recipe.intensity.treatment
    return ViewPairs(store, rows, ranges, intensity, recipe.seed), plan
