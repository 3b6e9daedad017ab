"""What a reader is cautioned against: made images, one seed, a pool that holds test images."""

import hashlib
import shutil
from pathlib import Path

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.detection import Example, examples_of
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.report.cautions import cautions, cautions_of_own_data
from made_runs import made_plan

POOLED = ("data.source=.", "seeds=[0, 1]")


def pool_of(folder: Path, files: dict[str, Path]) -> Store:
    """Ingest files under other names, as a folder of films."""
    (folder / "films").mkdir()
    for name, path in files.items():
        shutil.copy(path, folder / "films" / name)
    ingest(
        folder / "films",
        folder / "pool",
        Settings(64),
        options=ReadOptions("images"),
        num_workers=1,
    )
    return Store(folder / "pool")


@pytest.fixture
def tested(store: Store) -> list[Example]:
    return examples_of(store, fusion="consensus", iou=0.2)[:5]


def test_a_phantom_and_a_single_seed_are_cautioned_against() -> None:
    assert len(cautions(made_plan(), None, None, [])) == 2
    assert cautions(made_plan(*POOLED), None, None, []) == []


def test_a_pool_that_holds_test_images_is_named(
    source: Path, store: Store, tested: list[Example], tmp_path: Path
) -> None:
    files = sorted((source / "train").iterdir())
    by_id = {path.stem: path for path in files}
    first, second, third = (example.image_id for example in tested[:3])
    other = next(path for name, path in by_id.items() if name > tested[-1].image_id)
    pool = pool_of(
        tmp_path,
        {"a.dicom": by_id[first], f"{second}.dicom": by_id[second], f"{third}.dicom": other},
    )
    assert len(pool) == 3
    (text,) = cautions(made_plan(*POOLED), store, pool, tested)
    assert text.startswith(
        "Of 5 test images 2 are in the pool byte for byte and 1 has the name of an image of it "
        f"(such as {first}): pretraining saw their pixels"
    )
    (text,) = cautions(made_plan(*POOLED), store, pool, tested[2:])
    assert f"3 test images 1 has the name of an image of it (such as {third})" in text
    assert "pretraining may have seen their pixels" in text
    assert cautions(made_plan(*POOLED), store, pool, tested[3:]) == []


def test_what_no_interval_holds_is_said(store: Store) -> None:
    folds = "data.source=films", "data.folds=3", "data.fresh_seeds=true", "protocol=corrected"
    external = "data.pool=films2", "pretrainings.simclr.pool=external", "faults=[]"
    texts = " ".join(cautions(made_plan(*folds, *external), None, None, []))
    assert "start from one pretraining run: what another one would change is in no" in texts
    own = " ".join(cautions(made_plan(*folds, "faults=[]"), None, None, []))
    assert "start from one pretraining run" not in own
    knows = (
        "treatments={t: {title: taught, unlabelled_pool: rest, set: {ema: {decay: 0.9}, "
        "unlabelled: {batch_size: 2, burn_in_steps: 1, threshold: 0.5, weight: 1.0, ramp_steps: 0, "
        "relation_weight: 0.0, known_normals: true, pseudo_boxes: teacher}}}}"
    )
    (text,) = (one for one in cautions(made_plan(knows), None, None, []) if "taught" in one)
    assert "knows which of the films without labels readers found normal" in text


def test_a_file_is_known_by_its_bytes(source: Path, store: Store) -> None:
    hashes = store.source_sha256()
    assert set(hashes) == {image.image_id for image in store.images}
    for path in (source / "train").iterdir():
        assert hashes[path.stem] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_store_that_has_lost_a_record_says_which(store_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(store_folder, tmp_path / "store")
    record = next((tmp_path / "store").glob("images-*.json"))
    record.unlink()
    with pytest.raises(DataError, match=f"{record.name} is missing from the store. Ingest again"):
        Store(tmp_path / "store").source_sha256()


def test_few_films_and_unknown_patients_are_cautioned_against(store: Store) -> None:
    plan = made_plan(*POOLED)
    few, patients = cautions_of_own_data(plan, store, 21)
    assert few.startswith("The test is 21 films")
    assert "data.folds in the plan" in few
    assert "is not known" in patients
    assert cautions_of_own_data(plan, store, 100) == [patients]
    assert cautions_of_own_data(plan, store, 0) == [patients]
    assert cautions_of_own_data(made_plan(), store, 21) == [], "a phantom has nobody"
