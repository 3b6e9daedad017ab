"""The detector families: each is one module with the functions of `Family`; nobody inherits it.

A further family is a module here, its name and its line in `family`, and its Section in
`config.detectors`. mypy compares the modules with the protocol.

Shapes: B images, C = 3 channels, H, W pixels, N boxes, K classes; boxes xyxy pixels of the image,
labels 1..K. A detector is a module (images, targets) -> losses while training, images -> detections
in use, as torchvision's are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, assert_never, get_args

from torch import Tensor, nn
from transformers import PreTrainedConfig

from cxrssl.models.families import faster_rcnn, fcos, rtdetr_v2

FamilyName = Literal["faster_rcnn", "rtdetr_v2", "fcos"]


class Family(Protocol):
    """The functions and constants of a family's module.

    Attributes:
        TITLE: Name of the family in texts.
        MODEL_TYPE: transformers' name of its configuration.
        ARCHITECTURE: transformers' class of its network.
        AUTO_MAP: Code in a detector folder that transformers' Auto classes take; empty where
            transformers has the network itself.
        KEY_PREFIX: Prefix of transformers' class before the names of the tensors of `network`.
        CLASS_LOSSES: Names of the losses that say whether there is a finding and which, not where.
        CLASS_KEYS: Beginnings of the names of the tensors that predict classes.
        NORMALISES_INSIDE: Whether the network normalises grey levels, or the image processor.
        HAS_NMS: Whether of two detections of a class that overlap the weaker goes, above `nms_iou`
            of the configuration.
    """

    TITLE: str
    MODEL_TYPE: str
    ARCHITECTURE: str
    AUTO_MAP: Mapping[str, str]
    KEY_PREFIX: str
    CLASS_LOSSES: tuple[str, ...]
    CLASS_KEYS: tuple[str, ...]
    NORMALISES_INSIDE: bool
    HAS_NMS: bool

    def config_of(
        self, fields: Mapping[str, Any], *, store_px: int, is_coco: bool
    ) -> PreTrainedConfig:
        """Return the configuration of a recipe's detector.

        Args:
            fields: Those of the family's Section, and `id2label`, `label2id`, `protocol`,
                `size_px`, `image_mean` and `image_std`.
            store_px: Side of the stored images.
            is_coco: Whether the whole network starts from torchvision's COCO detector.

        Raises:
            RunError: If the detector can't take the store's images.
            TransferError: If the backbone can't carry the detector.
        """

    def read_config(
        self, content: Mapping[str, Any], *, labels: Mapping[str, Any], size_px: int, file: str
    ) -> PreTrainedConfig:
        """Return the configuration that a `config.json` from anyone states.

        Args:
            content: Content of the file; it names no path and no code.
            labels: `id2label` and `label2id`, checked.
            size_px: Side of the images that the processor hands over.
            file: Name of the file in messages.

        Raises:
            DataError: If a key or a value is not one that cxrssl writes.
            TransferError: If the backbone can't carry the detector.
        """

    def build(self, config: PreTrainedConfig) -> nn.Module:
        """Return a detector with random weights, its frozen parts frozen.

        Raises:
            TransferError: If timm lacks the backbone, or it can't carry the detector.
        """

    def body(self, model: nn.Module) -> nn.Module:
        """Return the timm backbone inside a detector."""

    def replace_body(self, model: nn.Module, body: nn.Module) -> None:
        """Put another body, with the same maps, into a detector."""

    def body_input(self, model: nn.Module, images: list[Tensor]) -> Tensor:
        """Return images [3, H, W] in [0, 1] as they reach the body, [B, 3, H, W]."""

    def seed_samples(self, model: nn.Module, seeds: list[int]) -> None:
        """Let the samples of the next batch's images be functions of these seeds, one an image."""

    def num_samples(self, model: nn.Module, true_boxes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the number of samples that each loss of the last batch is a mean over, by loss.

        Args:
            model: A detector.
            true_boxes: [N, 4] of each image that it was trained on.
        """

    def set_nms(self, model: nn.Module, *, iou: float, most: int) -> None:
        """Change the overlap above which the weaker of two detections goes, of a detector in use.

        Args:
            model: A detector.
            iou: The overlap; 1 keeps all.
            most: Detections an image, at most.

        Raises:
            DataError: If the family has no such step.
        """

    def network(self, model: nn.Module) -> nn.Module:
        """Return the part of a detector that transformers' class holds: what is saved."""

    def published_files(self) -> tuple[str, ...]:
        """Return the code that goes into a detector folder, files of `models.published`."""

    def former_files(self) -> tuple[str, ...]:
        """Return code that folders of earlier versions may hold besides."""


def family(name: FamilyName) -> Family:
    """Return the module of a family, by its name in recipes."""
    match name:
        case "faster_rcnn":
            return faster_rcnn
        case "rtdetr_v2":
            return rtdetr_v2
        case "fcos":
            return fcos
        case _:
            assert_never(name)


def families() -> tuple[Family, ...]:
    """Return all families."""
    return tuple(family(name) for name in get_args(FamilyName))


def family_of(model_type: object) -> Family | None:
    """Return the family whose configurations are of a `model_type`, None if there is none."""
    return next((module for module in families() if model_type == module.MODEL_TYPE), None)
