"""A detector folder may come from anyone: three files are read, each value in its range."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cxrssl.config.load import load_recipe, recipe_path
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import DataError, RecipeError, TransferError
from cxrssl.models.detector_folder import (
    known_files,
    load_detector,
    required_files,
    save_detector,
)
from cxrssl.models.sparse_roi_align import SparseMultiScaleRoIAlign
from detectors import detector, fcos, rcnn, rtdetr

CONFIG, PROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


@pytest.fixture(params=["faster_rcnn", "rtdetr", "fcos"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make = {"faster_rcnn": rcnn, "rtdetr": rtdetr, "fcos": fcos}[request.param]
    save_detector(detector(make()), tmp_path / "det")
    return tmp_path / "det"


@pytest.fixture
def rcnn_folder(tmp_path: Path) -> Path:
    save_detector(detector(rcnn(norm="frozen")), tmp_path / "det")
    return tmp_path / "det"


@pytest.fixture
def rtdetr_folder(tmp_path: Path) -> Path:
    save_detector(detector(rtdetr()), tmp_path / "det")
    return tmp_path / "det"


def test_a_folder_holds_the_code_that_it_needs_and_no_sparse_pooling(tmp_path: Path) -> None:
    saved = detector(rcnn(norm="frozen", roi_align="sparse"))
    save_detector(saved, tmp_path / "det")
    expected = {
        "configuration_cxr_rcnn.py", "heads_cxr_rcnn.py", "image_processing_cxr.py",
        "modeling_cxr_rcnn.py", "object_detection_cxr.py", "pyramid_cxr_rcnn.py",
        CONFIG, PROCESSOR, WEIGHTS,
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "det").iterdir()} == expected
    assert set(required_files(tmp_path / "det", saved)) == expected
    again = load_detector(tmp_path / "det")
    assert type(again.model.roi_heads.box_roi_pool) is SparseMultiScaleRoIAlign  # type: ignore[union-attr]


def test_a_folder_of_an_earlier_version_loads_and_needs_the_pooling_that_lies_in_it(
    rcnn_folder: Path,
) -> None:
    modeling = rcnn_folder / "modeling_cxr_rcnn.py"
    old = "from .roi_align_cxr_rcnn import SparseMultiScaleRoIAlign\n"
    modeling.write_text(f"{old}{modeling.read_text()}")
    (rcnn_folder / "roi_align_cxr_rcnn.py").write_text("SparseMultiScaleRoIAlign = None\n")
    edited(rcnn_folder, CONFIG, {"roi_align": "sparse"})
    loaded = load_detector(rcnn_folder)
    assert type(loaded.model.roi_heads.box_roi_pool) is SparseMultiScaleRoIAlign  # type: ignore[union-attr]
    names = {path.name for path in rcnn_folder.iterdir()}
    assert set(required_files(rcnn_folder, loaded)) == names
    assert names <= set(known_files(loaded))


def test_a_folder_of_an_earlier_version_needs_no_file_that_its_code_does_not_import(
    rcnn_folder: Path,
) -> None:
    modeling = rcnn_folder / "modeling_cxr_rcnn.py"
    new = "from .object_detection_cxr import TorchvisionForObjectDetection\n"
    assert new in modeling.read_text()
    modeling.write_text(modeling.read_text().replace(new, ""))
    (rcnn_folder / "object_detection_cxr.py").unlink()
    loaded = load_detector(rcnn_folder)
    names = {path.name for path in rcnn_folder.iterdir()}
    assert set(required_files(rcnn_folder, loaded)) == names
    (rcnn_folder / "pyramid_cxr_rcnn.py").unlink()
    assert set(required_files(rcnn_folder, loaded)) == names


def edited(folder: Path, name: str, change: dict[str, Any]) -> None:
    """Change keys of a JSON file; a dotted key lies in a part."""
    content = json.loads((folder / name).read_text())
    for key, value in change.items():
        *parts, last = key.split(".")
        mapping = content
        for part in parts:
            mapping = mapping[part]
        mapping[last] = value
    (folder / name).write_text(json.dumps(content))


def test_no_other_file_of_a_folder_says_anything(folder: Path) -> None:
    before = load_detector(folder)
    hostile = json.loads((folder / PROCESSOR).read_text()) | {"size_px": 200000}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": hostile}))
    other = json.loads((folder / CONFIG).read_text()) | {"score_threshold": 0.9}
    for name in ("config.4.0.0.json", "generation_config.json", "adapter_config.json"):
        (folder / name).write_text(json.dumps(other))
    for name in ("pytorch_model.bin", "model.safetensors.index.json", "video_preprocessor.json"):
        (folder / name).write_bytes(b"\x80")
    for path in folder.glob("*.py"):
        path.write_text("raise RuntimeError('run')")
    after = load_detector(folder)
    assert after.config.to_dict() == before.config.to_dict()
    assert after.processor.to_dict() == before.processor.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"configuration_files": ["config.4.0.0.json"]},
        {"num_labels": 100_000_000},
        {"kernel_config": {"a": 1}},
        {"anything": 1},
    ],
)
def test_a_key_that_no_detector_has_is_refused(folder: Path, change: dict[str, Any]) -> None:
    (folder / "config.4.0.0.json").write_text("{}")
    edited(folder, CONFIG, change)
    with pytest.raises(DataError, match=f"det: config.json has keys .*{next(iter(change))}"):
        load_detector(folder)


def test_a_type_of_numbers_that_transformers_has_not_is_refused(folder: Path) -> None:
    edited(folder, CONFIG, {"dtype": "nonsense"})
    with pytest.raises(
        DataError, match=r"dtype is 'nonsense': Input should be 'float32', 'float16'"
    ):
        load_detector(folder)
    edited(folder, CONFIG, {"dtype": "float32"})
    load_detector(folder)


def test_a_key_that_holds_nothing_does_no_harm(folder: Path) -> None:
    before = load_detector(folder)
    edited(folder, CONFIG, {"anything": None, "pruned_heads": {}, "torchscript": False})
    after = load_detector(folder)
    assert (after.classes, after.intensity) == (before.classes, before.intensity)
    weights = before.model.state_dict()
    assert all(
        torch.equal(weights[name], tensor) for name, tensor in after.model.state_dict().items()
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("size_px", value) for value in (0, -1, 0.5, 64.0, 1_000_000, "64", True, None, [64])],
        *[("rpn_pre_nms_test", value) for value in (-1, 0, 1e9, 10**9, None)],
        *[("rpn_post_nms_test", -1), ("detections_per_image", 0), ("roi_samples", -3)],
        *[("anchor_sizes_px", value) for value in ([8] * 10_000, [8] * 4, [0] * 5, [10**9] * 5)],
        *[("anchor_ratios", value) for value in ([], [0.0], [-1.0], [1e-9], [1.0] * 1000, 1.0)],
        *[("norm_eps", -1.0), ("norm_eps", 2.0), ("norm", "layer"), ("norm", ["bn"])],
        *[("frozen_stages", -1), ("frozen_stages", 1000), ("image_std", 1e-300), ("image_mean", 2)],
        *[("score_threshold", 1.5), ("nms_iou", -0.1), ("rpn_nms_iou", 7), ("box_loss", "giou")],
        *[("roi_align", "other"), ("protocol", "mine"), ("protocol", 3), ("fpn_channels", 10**6)],
    ],
)
def test_a_value_out_of_its_range_is_named(rcnn_folder: Path, key: str, value: object) -> None:
    edited(rcnn_folder, CONFIG, {key: value})
    with pytest.raises(
        DataError, match=rf"det: config\.json has values .*{key} is .* should (be|have)"
    ):
        load_detector(rcnn_folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("size_px", value) for value in (0, 0.5, 1_000_000, None)],
        *[("fit", "stretch"), ("fit", None), ("equalize", 1), ("do_normalize", "no")],
        *[("image_std", 0), ("image_mean", -1), ("findings_per_image", 0)],
    ],
)
def test_a_processor_is_held_to_its_ranges(folder: Path, key: str, value: object) -> None:
    edited(folder, PROCESSOR, {key: value})
    message = rf"preprocessor_config\.json has values .*{key} is .* should (be|have)"
    with pytest.raises(DataError, match=message):
        load_detector(folder)


def test_a_processor_has_no_further_keys(folder: Path) -> None:
    edited(folder, PROCESSOR, {"square": "x"})
    with pytest.raises(DataError, match=r"preprocessor_config\.json has keys .*square"):
        load_detector(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("num_queries", 0), ("num_queries", 10**7), ("decoder_layers", 0), ("d_model", 4)],
        *[("image_std", 0.0), ("encoder_layers", 10**6), ("norm", "gn")],
        *[("encoder_ffn_dim", 10**6), ("feat_strides", [1, 2, 4]), ("eval_size", [64, 64])],
        *[("decoder_in_channels", [1, 1, 1]), ("activation_function", "other")],
        *[("encoder_activation_function", "relu"), ("backbone_config.num_channels", 1)],
        *[("backbone_config.features_only", False), ("layer_norm_eps", -1)],
    ],
)
def test_an_rtdetr_is_one_that_a_recipe_makes(rtdetr_folder: Path, key: str, value: object) -> None:
    edited(rtdetr_folder, CONFIG, {key: value})
    with pytest.raises(DataError, match=rf"config\.json.* {key} .*(expected|Input should be)"):
        load_detector(rtdetr_folder)


@pytest.mark.parametrize(
    ("size_px", "queries", "message"),
    [
        (80, 25, "maps of .* that do not double; choose a size_px that is a multiple of 32"),
        (32, 25, "25 queries, and an image of 32 px has 21 places"),
    ],
)
def test_an_rtdetr_of_an_impossible_size_is_refused_here_and_in_a_recipe(
    rtdetr_folder: Path, size_px: int, queries: int, message: str
) -> None:
    with pytest.raises(TransferError, match=message):
        rtdetr(size_px=size_px, num_queries=queries)
    edited(rtdetr_folder, PROCESSOR, {"size_px": size_px})
    with pytest.raises(TransferError, match=message):
        load_detector(rtdetr_folder)


@pytest.mark.parametrize("backbone", ["local-dir:/tmp", "hf-hub:a/b", "../x", 3, None, ["a"], ""])
def test_a_backbone_is_a_name_of_timm(folder: Path, backbone: object) -> None:
    is_rcnn = "backbone" in json.loads((folder / CONFIG).read_text())
    edited(folder, CONFIG, {"backbone" if is_rcnn else "backbone_config.backbone": backbone})
    with pytest.raises((DataError, TransferError)):
        load_detector(folder)


@pytest.mark.parametrize(
    "change",
    [
        *({"id2label": value} for value in (None, {}, [], {"1": "a"}, {"0": 3}, {"a": "b"})),
        {"id2label": {str(label): "x" for label in range(20_000)}},
        # Boxes of a class are told by its name.
        {"id2label": {"0": "x", "1": "x"}, "label2id": None},
        {"id2label": {"0": "x", "1": ""}, "label2id": None},
        *({"label2id": value} for value in ({"a": 1, "b": 0}, [], 7)),
    ],
)
def test_classes_are_numbered_names(folder: Path, change: dict[str, Any]) -> None:
    edited(folder, CONFIG, change)
    with pytest.raises(DataError, match="id2label"):
        load_detector(folder)


TEXTS: dict[str, tuple[bytes, str]] = {
    "deep": (b"[" * 100_000, "more than 16 deep"),
    "rather deep": (b'{"a":' * 40 + b"1" + b"}" * 40, "more than 16 deep"),
    "list": (b"[1]", "holds no mapping"),
    "number": (b"3", "holds no mapping"),
    "NaN": (b'{"size_px": NaN}', "NaN is not a JSON number"),
    "infinity": (b'{"size_px": -Infinity}', "-Infinity is not a JSON number"),
    "out of range": (b'{"size_px": 1e999}', "1e999 is too large a number"),
    "long number": (b'{"size_px": ' + b"9" * 5000 + b"}", "is not JSON"),
    "twice": (b'{"size_px": 64, "size_px": 65}', "the key 'size_px' comes twice"),
    "latin1": (b'{"a": "caf\xe9"}', "is not JSON"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "is not JSON"),
    "half a character": (b'{"a": "\\ud800"}', "is not JSON"),
    "large": (b" " * (1 << 20) + b"{}", "has more than 1 MiB"),
    "empty": (b"", "is not JSON"),
}


@pytest.mark.parametrize("name", [CONFIG, PROCESSOR])
@pytest.mark.parametrize("text", TEXTS)
def test_json_that_is_none_is_a_fault_of_the_file(rcnn_folder: Path, name: str, text: str) -> None:
    content, message = TEXTS[text]
    (rcnn_folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"(?s)det: {name} .*{message}"):
        load_detector(rcnn_folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def long_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


@pytest.mark.parametrize("damage", [cut, long_header, lambda path: path.write_bytes(b"")])
def test_damaged_weights_are_a_fault_of_the_folder(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder / WEIGHTS)
    with pytest.raises(DataError, match="det holds no detector that can be read"):
        load_detector(folder)


def test_weights_are_compared_before_memory_is_asked_for(rcnn_folder: Path) -> None:
    # 78 GB, of which the file has none.
    edited(rcnn_folder, CONFIG, {"fpn_channels": 20_000, "head_features": 20_000})
    with pytest.raises(TransferError, match=r"do not fit config\.json: .* is \[.*\], and \[20000"):
        load_detector(rcnn_folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    state = load_file(folder / WEIGHTS)
    name = next(key for key in state if key.endswith("weight"))
    state[name].view(-1)[0] = value
    save_file(state, folder / WEIGHTS)
    with pytest.raises(TransferError, match=f"1 tensors are not finite: {name}"):
        load_detector(folder)


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    state = load_file(folder / WEIGHTS) | {"evil\x1b[2J": torch.zeros(1)}
    save_file(state, folder / WEIGHTS)
    with pytest.raises(TransferError, match=r"1 tensors are missing .*evil\\x1b\[2J"):
        load_detector(folder)


@pytest.mark.parametrize(
    "change",
    [
        *("size_px=100000", "model.fpn_channels=10000000", "model.anchor_ratios=[1000]"),
        *("model.anchor_sizes_px=[4, 8, 16, 32, 10000]", "model.frozen_stages=1000"),
    ],
)
def test_a_recipe_has_the_limits_that_a_folder_has(change: str) -> None:
    key = change.split("=")[0].split(".")[-1]
    with pytest.raises(RecipeError, match=rf"{key}.*: Input should be less than or equal to"):
        load_recipe(recipe_path("finetune/smoke"), FinetuneRecipe, overrides=[change])
