"""Faults of the paper's published code, and the recipe fields that re-introduce them."""

Faults = tuple[str, ...]
"""Codes of the faults of a run, in their order."""

FAULTY: dict[Faults, dict[str, object]] = {
    (): {},
    ("P4",): {"data.protocol": "published", "data.label_order": "seeded"},
    ("P4", "P5"): {"data.protocol": "published", "data.label_order": "table"},
}
"""Fields of both recipes, by the faults that they re-introduce."""

INTRODUCTION = (
    "The paper reports how its SSL arms compare with a baseline that sees all labels. Each row "
    "puts one more fault of its published code back into this plan. The test images change with "
    "P4 and stay the same after it."
)
TITLES = {
    "P4": "+ P4: the split is the order of the table",
    "P5": "+ P5: the pool is the first part of that order",
    "P1": "+ P1: the weights never arrive",
}
TEXTS = {
    "P4": "Images with many boxes have many rows and so come first: they train, few-box images "
    "test.",
    "P5": "The images that lose their labels are the most crowded ones.",
    "P1": "What is called SSL is the detector without pretraining on fewer labels.",
}
"""Descriptions of the faults that a plan can re-introduce, in the order of the report."""

OTHER_FAULTS = (
    ("P2", "The contrast is between the 2,048 channels of one image, not between images."),
    ("P3", "The backbone starts random with its stem and first stage frozen, at a constant rate."),
    ("P6", "Pretraining sees equalised pixels, the detector raw ones with ImageNet's mean."),
    ("P7", "Repeat factors are rounded up: 5,774 images an epoch where 4,658 are meant."),
    ("P8", "Its AR pools the classes, which its text does not say: AR100_agnostic here."),
    (
        "P9",
        "Rates drop at epochs 8 and 11, one stage is frozen, norms are not trained: not in "
        "the text.",
    ),
    ("P10", "Noise is 14.3 to 25 % of the mean pixel, where the text says 12.5 to 25 %."),
    ("P11", "Its two rows of readers mix two definitions: one above an overlap of 0.2, one not."),
    ("P12", "There is no control with the same labels, one seed, and no interval."),
)
"""Further faults of the published code, which are not run here."""
