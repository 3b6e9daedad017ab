"""An image-level gate multiplies scores by a power of p, or drops them; nothing else changes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from cxrssl.core.errors import DataError, TransferError
from cxrssl.core.images import Intensity
from cxrssl.models.detector import Detector, build_detector, image_processor
from cxrssl.models.detector_folder import load_detector, save_detector
from cxrssl.models.gate import gate_probabilities, has_gate, pooled_features, with_gate
from cxrssl.predict import predict
from detectors import detector, rcnn

TARGET = {"boxes": torch.tensor([[9.0, 9, 40, 50]]), "labels": torch.tensor([1])}
EMPTY = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
NAMES = ("boxes", "scores", "labels")


def images(number: int = 3) -> list[Tensor]:
    """Return noise of different contrast, so that features and p differ."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 64, 64, generator=generator) / (1 + place) for place in range(number)]


def gated(
    plain: Detector,
    *,
    power: float = 1.0,
    drop_below: float = 0.0,
    pixels: list[Tensor] | None = None,
) -> Detector:
    """Return a detector with a gate of random weights, whose p on images lies around .5."""
    plain.model.eval()
    features = pooled_features(plain, pixels or images())
    centre, generator = features.mean(dim=0), torch.Generator().manual_seed(2)
    weight = torch.randn(1, features.shape[1], generator=generator)
    weight = weight * 3 / ((features - centre) @ weight[0]).abs().max()
    bias = -(weight[0] @ centre)[None]
    return with_gate(plain, weight, bias, power=power, drop_below=drop_below)


def found(model: nn.Module, pixels: list[Tensor]) -> list[dict[str, Tensor]]:
    with torch.no_grad():
        detections: list[dict[str, Tensor]] = model.eval()(pixels)
    return detections


def p_by_hand(with_a_gate: Detector, pixels: list[Tensor]) -> list[float]:
    """Return p from what torchvision's own forward pass hands to the pyramid's body."""
    maps: list[Tensor] = []
    model = with_a_gate.model
    body = model.backbone.body  # type: ignore[union-attr]
    handle = body.register_forward_hook(lambda _module, _inputs, output: maps.append(output[-1]))
    with torch.no_grad():
        GeneralizedRCNN.forward(model.eval(), pixels)
    handle.remove()
    weight = model.gate.weight.double().numpy()[0]  # type: ignore[union-attr, operator]
    last = maps[0].double().numpy()
    if last.shape[1] != len(weight):  # Swin's channels come last
        last = last.transpose(0, 3, 1, 2)
    logits = last.mean(axis=(2, 3)) @ weight + float(model.gate.bias)  # type: ignore[union-attr, arg-type]
    return (1 / (1 + np.exp(-logits))).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("align", ["torchvision", "sparse"])
def test_losses_are_those_without_a_gate_bit_for_bit(align: str) -> None:
    plain = detector(rcnn(roi_align=align))
    losses = []
    for model in (plain.model, gated(plain).model):
        torch.manual_seed(1)
        losses.append(model.train()(images(2), [TARGET, EMPTY]))
    assert set(losses[0]) == set(losses[1])
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


@pytest.mark.parametrize("align", ["torchvision", "sparse"])
def test_a_power_of_0_that_drops_nothing_changes_no_bit(align: str) -> None:
    plain = detector(rcnn(roi_align=align))
    before, after = found(plain.model, images()), found(gated(plain, power=0.0).model, images())
    for first, second in zip(before, after, strict=True):
        assert len(first["scores"]) > 0
        assert all(torch.equal(first[name], second[name]) for name in NAMES)
        assert all(torch.equal(first[name], second[f"ungated_{name}"]) for name in NAMES)


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_scores_are_multiplied_by_a_power_of_p_and_boxes_stay(power: float) -> None:
    plain = detector(rcnn())
    before = found(plain.model, images())
    with_a_gate = gated(plain, power=power)
    after = found(with_a_gate.model, images())
    expected = p_by_hand(with_a_gate, images())
    assert max(expected) - min(expected) > 0.1, "images whose p are alike show nothing"
    for first, second, p in zip(before, after, expected, strict=True):
        assert float(second["finding_probability"]) == pytest.approx(p, abs=1e-5)
        factor = second["finding_probability"] ** power
        assert torch.equal(second["scores"], first["scores"] * factor)
        assert torch.equal(second["boxes"], first["boxes"])
        assert torch.equal(second["labels"], first["labels"])
        assert second["scores"].tolist() == sorted(second["scores"].tolist(), reverse=True)


def test_an_image_below_the_limit_has_no_box_and_the_others_keep_theirs() -> None:
    plain = detector(rcnn())
    probabilities = sorted(p_by_hand(gated(plain), images()))
    limit = sum(probabilities[:2]) / 2
    after = found(gated(plain, power=0.0, drop_below=limit).model, images())
    before = found(plain.model, images())
    kept = [float(image["finding_probability"]) >= limit for image in after]
    assert sorted(kept) == [False, True, True]
    for first, second, stays in zip(before, after, kept, strict=True):
        assert len(second["boxes"]) == (len(first["boxes"]) if stays else 0)
        assert {len(second[name]) for name in NAMES} == {len(second["boxes"])}
        assert torch.equal(second["ungated_scores"], first["scores"])


def test_the_least_score_is_that_before_the_gate_so_that_p_alone_takes_no_box_away() -> None:
    free = detector(rcnn())
    scores = torch.cat([image["scores"] for image in found(free.model, images())])
    threshold = float(scores.median())
    plain = detector(rcnn(score_threshold=threshold))
    before, after = found(plain.model, images()), found(gated(plain).model, images())
    assert 0 < sum(len(image["scores"]) for image in before) < len(scores)
    for first, second in zip(before, after, strict=True):
        factor = second["finding_probability"]
        assert torch.equal(second["scores"], first["scores"] * factor)
    assert min(float(image["scores"].min()) for image in after if len(image["scores"])) < threshold


def test_the_processor_of_a_detector_with_a_gate_asks_for_no_least_score() -> None:
    plain = detector(rcnn(score_threshold=0.3))
    for one, least in ((plain, 0.3), (gated(plain), 0.0)):
        made = image_processor(
            one.config, size_px=64, fit="squash", intensity=Intensity(False, 0.5, 0.25)
        )
        assert made.score_threshold == one.processor.score_threshold == least


@pytest.mark.parametrize(
    "backbone", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "convnext_atto"]
)
def test_backbones_of_every_kind_have_a_last_map(backbone: str) -> None:
    plain = detector(rcnn(backbone=backbone, norm="frozen"))
    with_a_gate = gated(plain)
    alone = [found(with_a_gate.model, [image])[0] for image in images()]
    expected = p_by_hand(with_a_gate, images())
    for image, p in zip(alone, expected, strict=True):
        assert float(image["finding_probability"]) == pytest.approx(p, abs=1e-4)


def test_what_is_fitted_on_is_what_is_seen_in_use() -> None:
    with_a_gate = gated(detector(rcnn(roi_align="sparse")))
    with_a_gate.model.eval()
    features = pooled_features(with_a_gate, images())
    in_use = [image["finding_probability"] for image in found(with_a_gate.model, images())]
    fitted_on = gate_probabilities(with_a_gate, features)
    assert torch.allclose(fitted_on, torch.stack(in_use), rtol=0, atol=1e-5)


def test_a_detector_keeps_its_gate_in_its_folder_and_one_without_has_no_tensor_of_it(
    tmp_path: Path,
) -> None:
    plain = detector(rcnn(norm="frozen"))
    first = gated(plain, power=1.5, drop_below=0.1)
    save_detector(first, tmp_path / "gated")
    save_detector(plain, tmp_path / "plain")
    again = load_detector(tmp_path / "gated")
    assert has_gate(again)
    assert not has_gate(load_detector(tmp_path / "plain"))
    assert (again.config.gate_power, again.config.gate_drop_below) == (1.5, 0.1)
    for one, other in zip(found(first.model, images()), found(again.model, images()), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    states = [load_file(tmp_path / name / "model.safetensors") for name in ("gated", "plain")]
    assert set(states[0]) - set(states[1]) == {"model.gate.weight", "model.gate.bias"}
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_a_folder_of_an_earlier_version_that_knows_no_gate_loads(tmp_path: Path) -> None:
    plain = detector(rcnn(norm="frozen"))
    save_detector(plain, tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert (content.pop("gate_power"), content.pop("gate_drop_below")) == (None, None)
    (tmp_path / "config.json").write_text(json.dumps(content))
    before, after = (found(one.model, images()) for one in (plain, load_detector(tmp_path)))
    assert all(torch.equal(x[n], y[n]) for x, y in zip(before, after, strict=True) for n in NAMES)


def edited(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("gate_power", value) for value in (-1.0, 1e6, "1", True, [1.0])],
        *[("gate_drop_below", value) for value in (-0.1, 1.1, "0", False, {})],
    ],
)
def test_a_number_of_the_gate_out_of_its_range_is_named(
    key: str, value: object, tmp_path: Path
) -> None:
    save_detector(gated(detector(rcnn(norm="frozen"))), tmp_path / "det")
    edited(tmp_path / "det", **{key: value})
    with pytest.raises(DataError, match=rf"det: config\.json has values .*{key} is .* should be"):
        load_detector(tmp_path / "det")


def test_half_a_gate_and_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "det"
    save_detector(gated(detector(rcnn(norm="frozen"))), folder)
    edited(folder, gate_power=None)
    with pytest.raises(DataError, match=r"gate_power None and gate_drop_below 0\.0; expected two"):
        load_detector(folder)
    with pytest.raises(TransferError, match="set both, or neither"):
        build_detector(rcnn(gate_power=1.0))
    edited(folder, gate_power=None, gate_drop_below=None)
    with pytest.raises(TransferError, match=r"2 tensors are missing or have no place: model\.gate"):
        load_detector(folder)
    edited(folder, gate_power=1.0, gate_drop_below=0.0)
    state = load_file(folder / "model.safetensors")
    save_file(state | {"model.gate.weight": torch.zeros(1, 7)}, folder / "model.safetensors")
    with pytest.raises(TransferError, match=r"model\.gate\.weight is \[1, 7\], and \[1, "):
        load_detector(folder)


PLAIN_TRANSFORMERS = """
import json, sys
sys.modules["cxrssl"] = None
import torch
torch.set_num_threads(1)
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline
from PIL import Image
folder, *pictures = sys.argv[1:]
detect = pipeline("object-detection", model=folder, trust_remote_code=True)
model = AutoModelForObjectDetection.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
result = {}
for path in pictures:
    with torch.no_grad():
        output = model(**processor(Image.open(path), return_tensors="pt"))
    result[path] = [detect(path, threshold=0.0), output.finding_probability.tolist()]
print(json.dumps(result))
"""


@pytest.mark.slow
def test_plain_transformers_gates_as_predict_does(tmp_path: Path) -> None:
    # Some scores are above the least score before the gate alone.
    plain = detector(rcnn(norm="frozen", roi_align="sparse", score_threshold=0.05))
    paths, generator = [], np.random.default_rng(0)
    for place in range(3):
        coarse = generator.integers(0, 255, (64 >> 2 * place,) * 2, dtype=np.uint8)
        Image.fromarray(np.kron(coarse, np.ones((4**place,) * 2, np.uint8))).save(
            tmp_path / f"{place}.png"
        )
        paths.append(tmp_path / f"{place}.png")
    folder = tmp_path / "det"
    pixels = [plain.processor(Image.open(path))["pixel_values"][0] for path in paths]
    probabilities = sorted(p_by_hand(gated(plain, pixels=pixels), pixels))
    limit = sum(probabilities[:2]) / 2
    assert probabilities[1] - probabilities[0] > 0.01
    save_detector(gated(plain, power=0.7, drop_below=limit, pixels=pixels), folder)
    command = [sys.executable, "-c", PLAIN_TRANSFORMERS, str(folder), *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    theirs: dict[str, Any] = json.loads(done.stdout)
    predict([folder], paths, tmp_path / "out", threshold=0.0, formats=["coco"])
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    counts = []
    for path in paths:
        boxes, (p,) = theirs[str(path)]
        ours = [a for a in content["annotations"] if names[a["image_id"]] == str(path)]
        assert [a["score"] for a in ours] == [round(box["score"], 5) for box in boxes]
        assert (len(boxes) > 0) == (p >= limit)
        counts.append(len(boxes))
    assert counts.count(0) == 1
