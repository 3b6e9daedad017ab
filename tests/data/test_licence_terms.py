"""Whose images a store holds is told by what it is, and where they may go by whose they are."""

import json
import shutil
from pathlib import Path

import pytest

from cxrssl.core.errors import HubError
from cxrssl.data.licence_terms import data_record, ids_sha256, origin_of
from cxrssl.data.store import Store
from cxrssl.push.dataset import check_terms


def changed(store: Path, folder: Path, **manifest: object) -> Store:
    """Return a copy of a store that says other things of itself."""
    shutil.copytree(store, folder)
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(content | manifest))
    return Store(folder)


def test_only_what_the_phantom_made_is_made(store_folder: Path, tmp_path: Path) -> None:
    assert origin_of(Store(store_folder)) == "phantom"
    kaggle = changed(store_folder, tmp_path / "a", made=False)
    assert origin_of(kaggle) == "VinDr-CXR"
    # The same table as a COCO file is the same data.
    assert origin_of(changed(store_folder, tmp_path / "b", made=False, layout="coco")) == (
        "VinDr-CXR"
    )
    foreign = changed(store_folder, tmp_path / "c", made=False, layout="coco")
    # Not on disk: a store whose boxes are of other classes is damaged.
    foreign.manifest["classes"] = [f"lung {number}" for number in range(14)]
    assert origin_of(foreign) == "unknown"
    manifest = foreign.manifest
    del manifest["made"]  # an older store
    assert origin_of(foreign) == "unknown"


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("is_private", [True, False])
@pytest.mark.parametrize("origin", ["phantom", "VinDr-CXR", "unknown"])
def test_what_may_go_where(origin: str, is_private: bool, images: bool) -> None:
    may = {
        "phantom": True,
        "VinDr-CXR": is_private and not images,
        "unknown": is_private and not images,
    }[origin]
    options = {"images": images, "is_private": is_private}
    check_terms(origin, **options, has_right=True)  # type: ignore[arg-type]
    if may:
        check_terms(origin, **options, has_right=False)  # type: ignore[arg-type]
        return
    with pytest.raises(HubError, match="--i-have-the-right-to-share-images"):
        check_terms(origin, **options, has_right=False)  # type: ignore[arg-type]


def test_a_split_is_known_by_its_images_whatever_their_order(store: Store) -> None:
    assert ids_sha256(["b", "a"]) == ids_sha256(["a", "b"])
    assert ids_sha256(["a", "b"]) != ids_sha256(["ab"])
    record = data_record(store, {"test": ["x", "y"]})
    assert record["data_fingerprint"] == store.fingerprint
    assert record["images"]["test"] == {"count": 2, "sha256": ids_sha256(["y", "x"])}
