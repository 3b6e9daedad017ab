"""What a reader must know before believing a number."""

from collections.abc import Sequence

from cxrssl.config.difference_words import pool_overlap_text
from cxrssl.config.load import flattened
from cxrssl.config.plan import Plan
from cxrssl.core.labels import FINDINGS
from cxrssl.data.detection import Example
from cxrssl.data.store import Store

_FEW_TEST_IMAGES = 100


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
        plan: The plan that was run.
        store: Its labelled images; None before they are there.
        pool: Images of an external pool; None before they are there, or without a pool.
        test: Test images; empty before an arm has finished.
        names_images: Whether an image may be named; False for texts that are published.
    """
    texts = []
    if plan.data.source is None:
        texts.append(
            "The images are a made phantom. It shows that the machinery works; no number here "
            "means anything clinical."
        )
    if plan.data.fresh_seeds:
        texts.append(
            f"Scores that are compared are means over the {plan.num_repeats} folds, each on films "
            "and with a seed of its own; intervals are of t over folds. Folds share films "
            "that they are trained on, the more the larger the share of the labels: there, "
            "intervals may be too narrow. Scores by class, curves over scores, pictures and "
            "report.csv are of all films together."
        )
        texts += _shared_pretrainings(plan)
    known = [
        section.title
        for section in plan.treatments.values()
        if dict(flattened(section.set)).get("unlabelled.known_normals") is True
    ]
    if known:
        texts.append(
            f"{' and '.join(known)} knows which of the films without labels readers found normal. "
            "That is reading, too, and no count of films, boxes or minutes has it."
        )
    if plan.num_repeats == 1:
        texts.append(
            "One seed: the intervals are about the test images alone. Another training run would "
            "differ by more, often by a few hundredths."
        )
    if plan.paper and store is not None and set(store.classes) != set(FINDINGS):
        texts.append(
            "The paper's numbers stand beside, and these images are not its: their classes differ."
        )
    if plan.faults and store is not None and any(image.part for image in store.images):
        texts.append(
            "The source has an official test part, which the published code does not know: with P4 "
            "its images are left out, so that more changes than the order of the split."
        )
    if store is not None and pool is not None:
        texts.append(_in_pool(plan, store, pool, test, names_images=names_images))
    return [text for text in texts if text]


def _shared_pretrainings(plan: Plan) -> list[str]:
    """Return a caution for treatments whose pretraining is one run for all folds."""
    shared = [
        section.title
        for section in plan.treatments.values()
        if section.pretraining is not None
        and plan.pretrainings[section.pretraining].pool == "external"
    ]
    if not shared:
        return []
    return [
        f"All folds of {' and of '.join(shared)} start from one pretraining run: what another one "
        "would change is in no interval."
    ]


def cautions_of_own_data(plan: Plan, store: Store | None, num_test: int) -> list[str]:
    """Return what is to be known of films that are not a phantom's: few for the test, no patients.

    Args:
        plan: The plan that was run.
        store: Its labelled images; None before they are there.
        num_test: Images that arms are tested on; 0 before one has finished.
    """
    texts: list[str] = []
    if plan.data.source is None or store is None:
        return texts
    if 0 < num_test < _FEW_TEST_IMAGES:
        folds = "" if plan.data.folds else " data.folds in the plan would test on all films."
        texts.append(
            f"The test is {num_test} films: intervals are wide, and what can't be told apart here "
            f"may differ all the same.{folds}"
        )
    if not any(image.patient for image in store.images):
        texts.append(
            "Which films are of one patient is not known, so that films of one may be in training "
            "and in the test, which flatters every score. Name the patient in the table, or say "
            "how file names tell it (data.patient_from)."
        )
    return texts


def _in_pool(
    plan: Plan, store: Store, pool: Store, test: Sequence[Example], *, names_images: bool
) -> str:
    """Say which test images are in the pool, empty if none is."""
    test_hashes, pool_hashes = store.source_sha256(), pool.source_sha256()
    hashes_in_pool = set(pool_hashes.values())
    ids = [example.image_id for example in test]
    equal_bytes = [name for name in ids if test_hashes[name] in hashes_in_pool]
    # An image may have been written anew, as PNG from DICOM; or two sources may count from 1.
    equal_names = [name for name in ids if name in pool_hashes and name not in equal_bytes]
    if not equal_bytes and not equal_names:
        return ""
    counts = []
    if equal_bytes:
        verb = "is" if len(equal_bytes) == 1 else "are"
        counts.append(f"{len(equal_bytes)} {verb} in the pool byte for byte")
    if equal_names:
        has = "has" if len(equal_names) == 1 else "have"
        counts.append(f"{len(equal_names)} {has} the name of an image of it")
    example = f" (such as {(equal_bytes + equal_names)[0]})" if names_images else ""
    follows = pool_overlap_text(plan, "saw" if equal_bytes else "may have seen")
    return f"Of {len(test)} test images {' and '.join(counts)}{example}: {follows}"
