"""A detector folder is transformers' own: its pipeline opens it where cxrssl can't be imported."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from cxrssl.core.images import Fit, placement
from cxrssl.data.image_file import read_image
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import save_detector
from cxrssl.models.published import image_processing_cxr
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.predict import predict
from detectors import ARCHITECTURES, detector, fcos, rcnn, rtdetr

OPEN = """
import torch
torch.set_num_threads(1)  # as here: sums of floats depend on it
from transformers import pipeline
picture, *folders = sys.argv[1:]
found = {}
for folder in folders:
    detect = pipeline("object-detection", model=folder, trust_remote_code=TRUST)
    found[folder] = detect(picture, threshold=0.0)
print(json.dumps(found))
"""
WITHOUT_CXRSSL = f"""
import json, sys
sys.modules["cxrssl"] = None
TRUST = True
{OPEN}"""
WITH_CXRSSL = f"""
import json, sys
import cxrssl.models.published
TRUST = False
{OPEN}"""


def radiograph(path: Path, *, width: int, height: int) -> Path:
    """Write a smooth picture with some structure, and return its path."""
    generator = np.random.default_rng(0)
    noise = generator.uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    levels = (smooth - smooth.min()) / (smooth.max() - smooth.min()) * 200
    Image.fromarray(levels.astype(np.uint8)).save(path)
    return path


def saved(folder: Path, *, fit: Fit = "squash") -> dict[Path, Detector]:
    """Return detectors of all families, and of every backbone that must work, by folder."""
    configs = {name: rcnn(backbone=name, norm="frozen") for name in ARCHITECTURES}
    # Trained with cxrssl's own pooling, which does not travel with it.
    sparse = rcnn(norm="frozen", roi_align="sparse")
    gated = rcnn(norm="frozen", gate_power=1.0, gate_drop_below=0.0)
    configs |= {"sparse": sparse, "rtdetr": rtdetr(), "gated": gated}
    configs |= {"fcos": fcos(), "fcos_vit": fcos(backbone="test_vit")}
    detectors = {folder / name: detector(config, fit=fit) for name, config in configs.items()}
    for path, trained in detectors.items():
        save_detector(trained, path)
    return detectors


@pytest.mark.slow
def test_the_pipeline_finds_without_cxrssl_what_predict_finds_with_it(tmp_path: Path) -> None:
    picture = radiograph(tmp_path / "chest.png", width=150, height=190)
    folders = saved(tmp_path / "detectors", fit="letterbox")
    command = [sys.executable, "-c", WITHOUT_CXRSSL, str(picture), *map(str, folders)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    pipeline_results = json.loads(done.stdout)
    assert "not supported" not in done.stderr
    assert len(pipeline_results) == len(ARCHITECTURES) + 5 == 15
    for folder, theirs in pipeline_results.items():
        out = tmp_path / "out" / Path(folder).name
        predict([Path(folder)], [picture], out, threshold=0.0, formats=["coco"])
        content = json.loads((out / "predictions.json").read_text())
        name_of = {category["id"]: category["name"] for category in content["categories"]}
        ours = content["annotations"]
        assert len(ours) == len(theirs) > 0
        for mine, other in zip(ours, theirs, strict=True):
            assert name_of[mine["category_id"]] == other["label"]
            assert mine["score"] == round(other["score"], 5)
            x, y, w, h = mine["bbox"]
            # The pipeline cuts pixels to whole ones, ours are rounded to two digits.
            box = [other["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
            assert np.allclose([x, y, x + w, y + h], np.add(box, 0.5), atol=0.5 + 0.011)


@pytest.mark.slow
def test_the_pipeline_with_cxrssl_asks_for_no_trust_and_complains_of_nothing(
    tmp_path: Path,
) -> None:
    picture = radiograph(tmp_path / "chest.png", width=60, height=60)
    folders = [tmp_path / "rcnn", tmp_path / "rtdetr", tmp_path / "fcos"]
    for config, folder in zip([rcnn(), rtdetr(), fcos()], folders, strict=True):
        save_detector(detector(config), folder)
        for path in folder.glob("*.py"):
            path.write_text("raise RuntimeError('run')")
    command = [sys.executable, "-c", WITH_CXRSSL, str(picture), *map(str, folders)]
    nobody = subprocess.DEVNULL
    done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=nobody)
    assert all(json.loads(done.stdout).values())
    output = f"{done.stdout}{done.stderr}"
    for complaint in ("not supported", "custom code", "[y/N]", "Falling back"):
        assert complaint not in output


@pytest.mark.parametrize("name", ["test_resnet", "resnetblur18", "rtdetr", "fcos"])
def test_where_cxrssl_is_installed_no_code_of_a_folder_has_to_be_trusted(
    name: str, tmp_path: Path
) -> None:
    others = {"rtdetr": rtdetr, "fcos": fcos}
    config = others[name]() if name in others else rcnn(backbone=name, norm="frozen")
    saved_detector = detector(config)
    save_detector(saved_detector, tmp_path)
    for path in tmp_path.glob("*.py"):
        path.write_text("raise RuntimeError('run')")
    model = AutoModelForObjectDetection.from_pretrained(tmp_path).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(processor) is CxrImageProcessor
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    with torch.no_grad():
        outputs = model(**processor(pixels, return_tensors="pt"))
        (detections,) = processor.post_process_object_detection(outputs, threshold=0.0)
        grey = torch.from_numpy(processor.square(pixels)).float().div(255).expand(3, -1, -1)
        (expected,) = saved_detector.model.eval()([grey])
    # Memory is laid out otherwise here, and sums of floats depend on it.
    assert torch.allclose(detections["scores"], expected["scores"], atol=1e-6)
    assert torch.allclose(detections["boxes"].clamp(0, 64), expected["boxes"], atol=1e-4)


def test_a_loss_comes_with_labels(tmp_path: Path) -> None:
    save_detector(detector(rcnn()), tmp_path)
    model = AutoModelForObjectDetection.from_pretrained(tmp_path).train()
    label = {"boxes": torch.tensor([[4.0, 4, 40, 50]]), "class_labels": torch.tensor([1])}
    output = model(torch.rand(1, 3, 64, 64), labels=[label])
    assert torch.equal(output.loss, sum(output.loss_dict.values()))
    assert sorted(output.loss_dict) == [
        "loss_box_reg", "loss_classifier", "loss_objectness", "loss_rpn_box_reg",
    ]  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_equalising_is_opencvs_to_the_bit(seed: int, height: int, width: int) -> None:
    generator = np.random.default_rng(seed)
    spread = generator.uniform(0, 100)
    levels = generator.normal(generator.uniform(0, 255), spread, (height, width))
    pixels = levels.clip(0, 255).astype(np.uint8)
    assert np.array_equal(image_processing_cxr.equalized(pixels), cv2.equalizeHist(pixels))


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize(
    ("width", "height"), [(190, 150), (150, 190), (64, 64), (40, 50), (700, 30), (2600, 2100)]
)
def test_a_square_is_what_an_ingest_stores(
    fit: Fit, width: int, height: int, tmp_path: Path
) -> None:
    path = radiograph(tmp_path / "chest.png", width=width, height=height)
    processor = CxrImageProcessor(size_px=64, fit=fit)
    with Image.open(path) as picture:
        ours = processor.square(image_processing_cxr.grey(picture)).astype(int)
    stored = read_image(path, size_px=64, fit=fit).pixels.astype(int)
    # Both round the same average, summed in another order.
    assert np.abs(ours - stored).max() <= 1
    assert (ours != stored).mean() < 0.001


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(["squash", "letterbox"]))
@settings(deadline=None)
def test_boxes_go_back_to_the_picture_they_came_from(width: int, height: int, fit: Fit) -> None:
    processor = CxrImageProcessor(size_px=512, fit=fit)
    placed = placement(width, height, size_px=512, fit=fit)
    assert processor.place(width, height) == (
        placed.width_px, placed.height_px, placed.x_offset_px, placed.y_offset_px,
    )  # fmt: skip
    picture = torch.tensor([[0.0, 0.0, width, height], [width * 0.2, height * 0.3, width, height]])
    scale = torch.tensor([placed.x_scale, placed.y_scale] * 2)
    shift = torch.tensor([placed.x_offset_px, placed.y_offset_px] * 2)
    back = processor.in_picture(picture * scale + shift, width=width, height=height)
    assert torch.allclose(back, picture, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "LA", "1"])
def test_pictures_of_every_mode_become_the_grey_levels_of_an_ingest(
    mode: str, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    if mode == "I;16":
        picture = Image.fromarray(generator.integers(0, 65536, (20, 30), dtype=np.uint16))
    else:
        shape = (20, 30, 3) if mode in ("RGB", "RGBA", "P") else (20, 30)
        levels = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        picture = levels.convert(mode)
    picture.save(tmp_path / "chest.png")
    with Image.open(tmp_path / "chest.png") as opened:
        ours = image_processing_cxr.grey(opened)
    assert np.array_equal(ours, read_image(tmp_path / "chest.png", size_px=None).pixels)


def test_a_processor_says_what_it_can_not_take() -> None:
    processor = CxrImageProcessor()
    with pytest.raises(ValueError, match=r"expected \[H, W\] uint8, got \[4, 4, 3\] uint8"):
        processor(np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="the processor's settings are fixed; got do_resize"):
        processor(np.zeros((4, 4), dtype=np.uint8), do_resize=False)
    with pytest.raises(ValueError, match="fit must be squash or letterbox, got 'stretch'"):
        CxrImageProcessor(fit="stretch")
