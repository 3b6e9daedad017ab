"""The recipe's method on a backbone: its heads, copies and queues, at their start."""

from typing import assert_never

from torch import nn

from cxrssl.config.methods import (
    ByolSection,
    JigsawSection,
    MethodSection,
    MocoSection,
    PositionSection,
    SimclrSection,
    pairs_patients,
)
from cxrssl.data.cuts.tiles import NUM_TILES
from cxrssl.models.backbone import num_features
from cxrssl.ssl.byol import BYOL
from cxrssl.ssl.followers import Queue
from cxrssl.ssl.heads import normalised_head, projection_head
from cxrssl.ssl.jigsaw import Jigsaw
from cxrssl.ssl.moco import MoCo
from cxrssl.ssl.position import Position
from cxrssl.ssl.simclr import SimCLR

AnyMethod = SimCLR | MoCo | BYOL | Jigsaw | Position
"""Each is an `nn.Module` and a `Pretext`."""


def method_on(backbone: nn.Module, method: MethodSection) -> AnyMethod:
    """Put a method on a backbone; all its other weights are random."""
    pretext = _on(backbone, method)
    if pairs_patients(method):
        pretext.title += " with two films of a patient as positives (MICLe)"
        pretext.paper += ", 2101.05224"
    return pretext


def _on(backbone: nn.Module, method: MethodSection) -> AnyMethod:
    match method:
        case SimclrSection():
            return _simclr(backbone, method)
        case MocoSection():
            return _moco(backbone, method)
        case ByolSection():
            return _byol(backbone, method)
        case JigsawSection():
            return _jigsaw(backbone, method)
        case PositionSection():
            return _position(backbone, method)
        case _:
            assert_never(method)


def _simclr(backbone: nn.Module, method: SimclrSection) -> SimCLR:
    head = projection_head(
        num_features(backbone),
        hidden=method.projector_hidden,
        num_outputs=method.projector_outputs,
        num_layers=method.projector_layers,
        batch_norm=method.projector_batch_norm,
    )
    return SimCLR(backbone, head, temperature=method.temperature)


def _moco(backbone: nn.Module, method: MocoSection) -> MoCo:
    outputs = method.projector_outputs
    head = projection_head(
        num_features(backbone),
        hidden=method.projector_hidden,
        num_outputs=outputs,
        num_layers=2,
        batch_norm=False,
    )
    queue = Queue(method.queue_images, outputs)
    return MoCo(
        backbone,
        head,
        queue,
        temperature=method.temperature,
        momentum=method.momentum,
        mix_alpha=method.mix_alpha,
    )


def _byol(backbone: nn.Module, method: ByolSection) -> BYOL:
    hidden, outputs = method.heads_hidden, method.heads_outputs
    projector = normalised_head(num_features(backbone), hidden=hidden, num_outputs=outputs)
    predictor = normalised_head(outputs, hidden=hidden, num_outputs=outputs)
    return BYOL(backbone, projector, predictor, momentum=method.momentum)


def _jigsaw(backbone: nn.Module, method: JigsawSection) -> Jigsaw:
    classifier = projection_head(
        NUM_TILES * num_features(backbone),
        hidden=method.classifier_hidden,
        num_outputs=method.num_orders,
        num_layers=2,
        batch_norm=False,
    )
    return Jigsaw(backbone, classifier, num_orders=method.num_orders)


def _position(backbone: nn.Module, method: PositionSection) -> Position:
    num_cells = method.grid**2
    classifier = projection_head(
        num_features(backbone),
        hidden=method.classifier_hidden,
        num_outputs=num_cells,
        num_layers=2,
        batch_norm=False,
    )
    return Position(backbone, classifier, num_cells=num_cells)
