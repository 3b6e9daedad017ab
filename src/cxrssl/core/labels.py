"""The 14 local findings of VinDr-CXR and the word for none.

Class ids are 0..13 in a table (Kaggle VinBigData), and 14 is "No finding". A detector counts
1..14, because 0 is background.
"""

from cxrssl.core.errors import DataError

FINDINGS: tuple[str, ...] = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Nodule/Mass",
    "Other lesion",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
)
NO_FINDING = "No finding"

_CANONICAL = {name.casefold(): name for name in (*FINDINGS, NO_FINDING)}


def canonical_name(name: str) -> str:
    """Return the spelling of a class as Kaggle VinBigData has it, whatever the case of `name`.

    Raises:
        DataError: If no class of VinDr-CXR is called that.
    """
    found = _CANONICAL.get(name.strip().casefold())
    if found is None:
        raise DataError(
            f"class {name!r} is not one of VinDr-CXR's: expected {', '.join(FINDINGS)} "
            f"or {NO_FINDING}. "
            "Correct the spelling, or leave its rows out of the table."
        )
    return found


def class_id(name: str) -> int:
    """Return the Kaggle class id of a canonical class name: 0..13, or 14 for "No finding"."""
    return (*FINDINGS, NO_FINDING).index(name)
