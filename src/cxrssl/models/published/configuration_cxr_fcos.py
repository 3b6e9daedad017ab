"""All that shapes an FCOS on a timm backbone; written beside its weights as `config.json`.

One of the files that travel with a published detector: it imports transformers and no cxrssl.
"""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

Norm = Literal["frozen", "recalibrated", "bn", "sync", "gn"]


@strict
class CxrFcosConfig(PreTrainedConfig):  # type: ignore[misc]
    """Every number of the detector; `id2label` names its classes, counted from 0.

    A *location* is a place of a level's map. It predicts a score for each class, the four distances
    to the sides of a box, and how near it is to the middle of it.

    Attributes:
        backbone: timm architecture.
        norm: What the backbone's BatchNorms are: `frozen` keeps what was loaded, `recalibrated` too
            after taking the statistics of the training images, `bn` trains with the batch's, `sync`
            with those of all processes (GPUs), `gn` is GroupNorm in their place.
        frozen_stages: Backbone stages that are not trained, norms included: 1 is the stem, 2 the
            first stage as well.
        size_px: Longer side to which an image is resized inside the detector.
        image_mean: Subtracted from pixels in [0, 1].
        image_std: Divides what is left.
        fpn_channels: Channels of every pyramid level and of the heads; a multiple of 8.
        head_layers: 3x3 convolutions in each of the two heads, before those that predict.
        anchor_sizes_px: One length s for each of the five levels, the unit of what it predicts. A
            location answers for a box whose farthest side is 4 s to 8 s away; the first level takes
            all nearer ones too, the last all farther ones.
        center_radius: A location answers only for boxes whose middle is nearer than this many s, in
            x and in y.
        candidates_per_level: Pairs of location and class a level before NMS, in use.
        score_threshold: Least score of a detection: the root of class score times nearness to the
            middle.
        nms_iou: Overlap above which the weaker of two detections of a class goes.
        detections_per_image: At most so many.
        protocol: How the images it was trained on were split from those it is tested on.
    """

    model_type = "cxr_fcos"

    backbone: str = "resnet50"
    norm: Norm = "frozen"
    frozen_stages: int = 0
    size_px: int = 512
    image_mean: float = 0.5
    image_std: float = 0.25
    fpn_channels: int = 256
    head_layers: int = 4
    anchor_sizes_px: tuple[int, ...] | list[int] = (4, 8, 16, 32, 64)
    center_radius: float = 1.5
    candidates_per_level: int = 1000
    score_threshold: float = 0.2
    nms_iou: float = 0.6
    detections_per_image: int = 100
    protocol: str = "corrected"
