"""torchxrayvision's readers of the same folders find the same labels, boxes and masks of boxes."""

import json
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from published_data import boxes, made, read_as

pytestmark = pytest.mark.slow

Generator = np.random.Generator
NIH_ENTRY = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"


@pytest.fixture(scope="module")
def datasets() -> ModuleType:
    pytest.importorskip("torchxrayvision")
    import torchxrayvision.datasets as module

    return module  # type: ignore[no-any-return]


def draw(generator: Generator, count: int) -> NDArray[np.int64]:
    """Return [count, 4] boxes xywh of whole pixels in 1024x1024."""
    corners = generator.integers(0, 700, (count, 2))
    return np.concatenate([corners, generator.integers(5, 300, (count, 2))], axis=1)


def films(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("L", (1024, 1024), 90).save(folder / name)


def union(marks: list[tuple[str, str, tuple[float, ...]]], label: str) -> NDArray[np.float64]:
    """Return the pixels [1, 1024, 1024] of all boxes of a class."""
    mask = np.zeros((1, 1024, 1024))
    for _, category, box in marks:
        if category == label:
            x_min, y_min, x_max, y_max = map(int, box)
            mask[0, y_min:y_max, x_min:x_max] = 1
    return mask


def test_rsna(datasets: ModuleType, tmp_path: Path) -> None:
    rows = ["patientId,x,y,width,height,Target", "n,,,,,0"]
    drawn = draw(np.random.default_rng(0), 5)
    rows += [
        f"{name},{','.join(map(str, box))},1" for name, box in zip("ppqqq", drawn, strict=True)
    ]
    headers = "PatientID,ViewPosition\nn,PA\np,PA\nq,PA\n"
    made(tmp_path, {"stage_2_train_labels.csv": "\n".join(rows), "headers.txt": headers})
    films(tmp_path / "images", ["n.png", "p.png", "q.png"])
    theirs = datasets.RSNA_Pneumonia_Dataset(
        str(tmp_path / "images"), csvpath=tmp_path / "stage_2_train_labels.csv",
        dicomcsvpath=tmp_path / "headers.txt", extension=".png", pathology_masks=True,
    )  # fmt: skip
    ours = boxes(read_as("rsna", tmp_path))
    names = theirs.csv["patientId"].tolist()
    assert set(names) == set(ours)
    for number, name in enumerate(names):
        label = theirs.pathologies.index("Lung Opacity")
        is_drawn = any(mark[1] == "Lung Opacity" for mark in ours[name])
        assert theirs.labels[number, label] == is_drawn
        if is_drawn:  # theirs warns of the others, whose box is NaN
            mask = theirs[number]["pathology_masks"][label]
            np.testing.assert_array_equal(mask, union(ours[name], "Lung Opacity"))


def test_nih(datasets: ModuleType, tmp_path: Path) -> None:
    names = ["00000013_005.png", "00000045_001.png"]
    labels = ["Infiltrate", "Mass", "Effusion"]
    drawn = draw(np.random.default_rng(1), 3)
    rows = "".join(
        f"{name},{label},{','.join(f'{v}.0' for v in box)},,,\n"
        for name, label, box in zip([names[0], *names], labels, drawn, strict=True)
    )
    entries = (
        f"{NIH_ENTRY}{names[0]},Infiltration|Mass,13,60,M,PA\n{names[1]},Effusion,45,60,F,PA\n"
    )
    files = {
        "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,\n" + rows,
        "Data_Entry_2017.csv": entries,
    }
    made(tmp_path, files)
    films(tmp_path / "images", names)
    theirs = datasets.NIH_Dataset(
        str(tmp_path / "images"), csvpath=str(tmp_path / "Data_Entry_2017.csv"),
        bbox_list_path=str(tmp_path / "BBox_List_2017.csv"), pathology_masks=True,
    )  # fmt: skip
    ours = boxes(read_as("nih", tmp_path))
    for number, name in enumerate(theirs.csv["Image Index"]):
        masks = theirs[number]["pathology_masks"]
        marks = ours[name.removesuffix(".png")]
        assert {theirs.pathologies[key] for key in masks} == {mark[1] for mark in marks}
        for key, mask in masks.items():
            np.testing.assert_array_equal(mask, union(marks, theirs.pathologies[key]))


@pytest.mark.parametrize("split", ["train", "trainval"])
def test_tbx11k(datasets: ModuleType, split: str, tmp_path: Path) -> None:
    names = ["health/h1.png", "sick/s1.png", "tb/tb1.png", "tb/tb2.png"]
    drawn = draw(np.random.default_rng(2), 3)
    categories = ["ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis"]
    document = {
        "images": [
            {"id": n, "file_name": name, "width": 1024, "height": 1024}
            for n, name in enumerate(names)
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": n % 2 + 1, "bbox": box.tolist()}
            for n, (image, box) in enumerate(zip((2, 2, 3), drawn, strict=True))
        ],
        "categories": [
            {"id": n, "name": name, "supercategory": "Tuberculosis"}
            for n, name in enumerate(categories, start=1)
        ],
    }
    made(tmp_path, {f"annotations/json/TBX11K_{split}.json": json.dumps(document)})
    for folder in ("health", "sick"):
        films(tmp_path / "imgs" / folder, [f"{folder[0]}1.png"])
    films(tmp_path / "imgs/tb", ["tb1.png", "tb2.png"])
    theirs = datasets.TBX11K_Dataset(str(tmp_path), split=split)
    ours = boxes(read_as("tbx11k", tmp_path))
    assert len(theirs) == len(ours) == 4
    for number, name in enumerate(theirs.csv["file_name"]):
        sample, marks = theirs[number], ours[Path(name).stem]
        found = [(x, y, x + w, y + h) for x, y, w, h in sample["bbox"]]
        assert found == [mark[2] for mark in marks if mark[2]]
        labels = {theirs.pathologies[i] for i in np.flatnonzero(sample["lab"])}
        assert labels - {"Tuberculosis"} == {mark[1] for mark in marks} - {"No finding"}


def test_object_cxr(datasets: ModuleType, tmp_path: Path) -> None:
    text = "image_name,annotation\n1.png,0 10 20 30 40;2 1 2 3 4 5 1\n2.png,\n3.png,1 5 6 7 8\n"
    made(tmp_path, {"train.csv": text})
    films(tmp_path / "train", ["1.png", "2.png", "3.png"])
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for path in (tmp_path / "train").iterdir():
            archive.write(path, f"train/{path.name}")
    theirs = datasets.ObjectCXR_Dataset(str(tmp_path / "train.zip"), str(tmp_path / "train.csv"))
    ours = boxes(read_as("object-cxr", tmp_path))
    theirs.imgzip.close()
    for number, name in enumerate(theirs.csv["image_name"]):
        has_object = any(mark[1] == "Foreign object" for mark in ours[Path(name).stem])
        assert theirs[number]["lab"].tolist() == [has_object]
