"""Where a store's images come from, as far as it can tell, and what that allows."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cxrssl.core.labels import FINDINGS
from cxrssl.data.store import Store

Origin = Literal["phantom", "VinDr-CXR", "unknown"]

# A table that names so many of the findings is VinDr-CXR's in another form.
_MIN_VINDR_CLASSES = 10


def origin_of(store: Store) -> Origin:
    """Return whose images a store holds.

    A layout of VinDr-CXR is taken for it, and so is a table with most of its classes, in whatever
    form; only what `cxrssl phantom` made is known to be made.
    """
    if store.manifest.get("made", False):
        return "phantom"
    is_layout = store.manifest["layout"] in ("kaggle", "physionet")
    if is_layout or len(set(FINDINGS) & set(store.classes)) >= _MIN_VINDR_CLASSES:
        return "VinDr-CXR"
    return "unknown"


def data_record(store: Store, images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what a run keeps of its data: no path, no image id.

    Args:
        store: Store of the images.
        images: Image ids by what the run does with them, such as `train` and `test`.
    """
    return {
        "data_fingerprint": store.fingerprint,
        # A store of before does not say whether it was made.
        "data_origin": origin_of(store) if "made" in store.manifest else None,
        "images": {
            name: {"count": len(ids), "sha256": ids_sha256(ids)} for name, ids in images.items()
        },
    }


def ids_sha256(ids: Sequence[str]) -> str:
    """Return a hash of image ids, whatever their order: equal hashes, equal splits."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
