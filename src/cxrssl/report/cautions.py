"""What a reader must know before believing a number."""

from collections.abc import Sequence

from cxrssl.config.plan import Plan
from cxrssl.core.labels import FINDINGS
from cxrssl.data.detection import Example
from cxrssl.data.store import Store


def cautions(
    plan: Plan,
    store: Store | None,
    pool: Store | None,
    test: Sequence[Example],
    *,
    names_images: bool = True,
) -> list[str]:
    """Return a sentence or two a caution.

    Args:
        plan: What was run.
        store: Its labelled images; None before they are there.
        pool: Films of an external pool; None likewise, or without one.
        test: Test images; empty before an arm has finished.
        names_images: Whether an image may be named; not where others will read it.
    """
    found = []
    if plan.data.source is None:
        found.append(
            "The images are a made phantom. It shows that the machinery works; no number here "
            "means anything clinical."
        )
    if len(plan.seeds) == 1:
        found.append(
            "One seed: the intervals are about the test images alone. Another training run would "
            "differ by more, often by a few hundredths."
        )
    if plan.paper and store is not None and set(store.classes) != set(FINDINGS):
        found.append(
            "The paper's numbers stand beside, and these images are not its: their classes differ."
        )
    if plan.faults and store is not None and any(image.part for image in store.images):
        found.append(
            "The source has an official test part, which the published code does not know: with P4 "
            "its images are left out, so that more changes than the order of the split."
        )
    if store is not None and pool is not None:
        found.append(_in_pool(store, pool, test, names_images=names_images))
    return [text for text in found if text]


def _in_pool(store: Store, pool: Store, test: Sequence[Example], *, names_images: bool) -> str:
    """Say which test images are in the pool, empty if none is."""
    own, films = store.source_sha256(), pool.source_sha256()
    hashes = set(films.values())
    same = [one.image_id for one in test if own[one.image_id] in hashes]
    # A film may have been written anew, as PNG from DICOM; or two sources may count from 1.
    others = [one.image_id for one in test if own[one.image_id] not in hashes]
    named = [name for name in others if name in films]
    if not same and not named:
        return ""
    counts = []
    if same:
        counts.append(f"{len(same)} {'is' if len(same) == 1 else 'are'} in the pool byte for byte")
    if named:
        has = "has" if len(named) == 1 else "have"
        counts.append(f"{len(named)} {has} the name of an image of it")
    example = f" (such as {(same + named)[0]})" if names_images else ""
    return (
        f"Of {len(test)} test images {' and '.join(counts)}{example}: "
        f"pretraining {'saw' if same else 'may have seen'} their pixels, if not their labels. Take "
        "them out of data.pool."
    )
