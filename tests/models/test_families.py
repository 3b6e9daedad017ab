"""The detector families: modules with the same functions, and nothing of them anywhere else."""

import inspect
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from cxrssl.config.detectors import FasterRcnnSection, FcosSection, RtDetrSection
from cxrssl.core.errors import RecipeError
from cxrssl.models.detector import build_detector
from cxrssl.models.families import Family, FamilyName, families, family, family_of
from cxrssl.models.families import faster_rcnn as faster_rcnn_module
from cxrssl.models.families import fcos as fcos_module
from cxrssl.models.families import rtdetr_v2 as rtdetr_v2_module
from detectors import detector, fcos, rcnn, rtdetr
from support import ROOT, finetune_recipe

SMALL = {"faster_rcnn": rcnn, "rtdetr_v2": rtdetr, "fcos": fcos}
MODULES = {
    "faster_rcnn": faster_rcnn_module,
    "rtdetr_v2": rtdetr_v2_module,
    "fcos": fcos_module,
}
TARGETS = [
    {"boxes": torch.tensor([[8.0, 8, 40, 50], [4, 4, 20, 20]]), "labels": torch.tensor([1, 2])},
    {"boxes": torch.tensor([[10.0, 20, 60, 62]]), "labels": torch.tensor([2])},
]
EVERY_FAMILY = pytest.mark.parametrize("name", get_args(FamilyName))


def functions_of(holder: object) -> dict[str, inspect.Signature]:
    """Return the public functions of a module or a protocol with their signatures, without self."""
    signatures = {}
    for name, member in inspect.getmembers(holder, inspect.isfunction):
        if name.startswith("_") or member.__module__ != inspect.getmodule(holder).__name__:  # type: ignore[union-attr]
            continue
        signature = inspect.signature(member)
        parameters = [p for p in signature.parameters.values() if p.name != "self"]
        signatures[name] = signature.replace(parameters=parameters)
    return signatures


@EVERY_FAMILY
def test_a_family_has_the_functions_and_constants_of_the_protocol_and_no_others(name: str) -> None:
    module = MODULES[name]
    assert isinstance(module, ModuleType)
    expected = functions_of(Family)
    assert len(expected) == 12
    assert functions_of(module) == expected
    constants = set(Family.__annotations__)
    assert len(constants) == 9
    assert constants <= set(vars(module))


def test_a_name_leads_to_its_module_and_so_does_a_model_type() -> None:
    sections = (FasterRcnnSection, RtDetrSection, FcosSection)
    in_recipes = [get_args(s.model_fields["family"].annotation)[0] for s in sections]
    assert in_recipes == list(get_args(FamilyName))
    assert [family(name) for name in in_recipes] == [*MODULES.values()] == [*families()]
    for name, module in MODULES.items():
        assert family_of(SMALL[name]().model_type) is module
    assert family_of("detr") is family_of(None) is None


def test_nothing_outside_a_family_and_its_section_knows_it() -> None:
    family_names = (
        *("faster_rcnn", "rtdetr", "RtDetr", "RTDetr", "GeneralizedRCNN", "FasterRcnn"),
        *("fcos", "Fcos", "FCOS"),
    )
    package = ROOT / "src/cxrssl"
    allowed = ("models/families/", "models/published/", "config/detectors.py", "recipes/")
    files = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    other_files = [file for file in files if not file.startswith(allowed)]
    assert len(other_files) > 200
    texts = {file: (package / file).read_text() for file in other_files}
    assert [f for f, text in texts.items() if any(name in text for name in family_names)] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.family=yolo", "unknown family 'yolo'; expected faster_rcnn or rtdetr_v2 or fcos"),
        ("model={backbone: resnet50}", "is missing; expected faster_rcnn or rtdetr_v2 or fcos"),
    ],
)
def test_a_recipe_of_no_family_is_told_which_there_are(
    change: str, message: str, store_folder: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"model\.family: {message}\n"):
        finetune_recipe(store_folder, change)


@EVERY_FAMILY
def test_the_keys_of_classes_are_the_tensors_whose_shape_depends_on_their_number(name: str) -> None:
    three = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    small, large = (build_detector(config) for config in (SMALL[name](), SMALL[name](**three)))
    shapes = {key: tensor.shape for key, tensor in small.state_dict().items()}
    differ = {k for k, tensor in large.state_dict().items() if tensor.shape != shapes[k]}
    assert len(differ) >= 2
    assert {key for key in shapes if key.startswith(MODULES[name].CLASS_KEYS)} == differ


@EVERY_FAMILY
def test_the_body_sees_what_body_input_returns_and_can_be_replaced(name: str) -> None:
    small, seen = detector(SMALL[name]()), []

    class Watched(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, pixels: Tensor) -> object:
            seen.append(pixels)
            return self.inner(pixels)

    inner = small.body
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    expected = small.family.body_input(small.model, images)
    small.family.replace_body(small.model, Watched(inner))
    assert small.body is not inner
    with torch.no_grad():
        small.model.eval()(images)
    assert torch.equal(seen[0], expected)


@EVERY_FAMILY
def test_there_is_a_number_of_samples_for_every_loss(name: str) -> None:
    small = detector(SMALL[name]())
    boxes = [target["boxes"] for target in TARGETS]
    small.family.seed_samples(small.model, [1, 2])
    losses = small.model.train()([torch.rand(3, 64, 64) for _ in TARGETS], TARGETS)
    counts = small.family.num_samples(small.model, boxes)
    assert set(counts) == set(losses)
    assert all(int(count) >= 3 for count in counts.values())


@EVERY_FAMILY
def test_a_configuration_is_transformers_own_kind(name: str) -> None:
    config = SMALL[name]()
    assert isinstance(config, PreTrainedConfig)
    assert config.model_type == MODULES[name].MODEL_TYPE
