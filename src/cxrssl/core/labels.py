"""The local findings of VinDr-CXR and the word for none.

Kaggle VinBigData has 14 of them, with ids 0..13 in its table, and 14 for "No finding". PhysioNet
has 22, in the order below. A detector counts from 1, because 0 is background.
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
# Source: VinDr-CXR 1.0.0 on PhysioNet, the local labels among the columns of image_labels_*.csv.
LOCAL_FINDINGS: tuple[str, ...] = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
)
NO_FINDING = "No finding"

_CANONICAL = {name.casefold(): name for name in (*LOCAL_FINDINGS, NO_FINDING)}


def canonical_name(name: str, *, among: tuple[str, ...] = FINDINGS) -> str:
    """Return the spelling of a class as VinDr-CXR has it, whatever the case of `name`.

    Args:
        name: As a table has it.
        among: The classes that table may use, besides "No finding".

    Raises:
        DataError: If none is called that.
    """
    canonical = _CANONICAL.get(name.strip().casefold())
    if canonical is None or canonical not in (*among, NO_FINDING):
        raise DataError(
            f"class {name!r} is not one of VinDr-CXR's: expected {', '.join(among)} "
            f"or {NO_FINDING}. "
            "Correct the spelling, or leave its rows out of the table."
        )
    return canonical


def class_id(name: str) -> int:
    """Return the Kaggle class id of a canonical class name: 0..13, or 14 for "No finding"."""
    return (*FINDINGS, NO_FINDING).index(name)
