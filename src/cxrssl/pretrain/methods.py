"""The recipe's method on a backbone: its heads, copies and queues, at their start."""

from typing import assert_never

from torch import nn

from cxrssl.config.methods import (
    ByolSection,
    DenseclSection,
    JigsawSection,
    MethodSection,
    MocoSection,
    PixproSection,
    PositionSection,
    SimclrSection,
    SimsiamSection,
    VicregSection,
    pairs_patients,
)
from cxrssl.data.cuts.tiles import NUM_TILES
from cxrssl.models.backbone import num_features, num_map_channels
from cxrssl.ssl.byol import BYOL
from cxrssl.ssl.densecl import DenseCL
from cxrssl.ssl.followers import Queue
from cxrssl.ssl.heads import dense_head, expander, normalised_head, projection_head
from cxrssl.ssl.jigsaw import Jigsaw
from cxrssl.ssl.moco import MoCo
from cxrssl.ssl.pixpro import PixPro, Propagation
from cxrssl.ssl.position import Position
from cxrssl.ssl.simclr import SimCLR
from cxrssl.ssl.simsiam import SimSiam
from cxrssl.ssl.vicreg import VICReg

AnyMethod = SimCLR | MoCo | DenseCL | BYOL | PixPro | SimSiam | VICReg | Jigsaw | Position
"""Each is an `nn.Module` and a `Pretext`."""


def method_on(backbone: nn.Module, method: MethodSection) -> AnyMethod:
    """Put a method on a backbone; all its other weights are random."""
    pretext = _on(backbone, method)
    if pairs_patients(method):
        pretext.title += " with two films of a patient as positives (MICLe)"
        pretext.paper += ", 2101.05224"
    return pretext


def _on(backbone: nn.Module, method: MethodSection) -> AnyMethod:  # noqa: C901 - flat
    match method:
        case SimclrSection():
            return _simclr(backbone, method)
        case MocoSection():
            return _moco(backbone, method)
        case DenseclSection():
            return _densecl(backbone, method)
        case ByolSection():
            return _byol(backbone, method)
        case SimsiamSection():
            return _simsiam(backbone, method)
        case VicregSection():
            return _vicreg(backbone, method)
        case PixproSection():
            return _pixpro(backbone, method)
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
    head = _moco_head(backbone, method)
    queue = Queue(method.queue_images, method.projector_outputs)
    return MoCo(
        backbone,
        head,
        queue,
        temperature=method.temperature,
        momentum=method.momentum,
        mix_alpha=method.mix_alpha,
    )


def _moco_head(backbone: nn.Module, method: MocoSection | DenseclSection) -> nn.Sequential:
    return projection_head(
        num_features(backbone),
        hidden=method.projector_hidden,
        num_outputs=method.projector_outputs,
        num_layers=2,
        batch_norm=False,
    )


def _densecl(backbone: nn.Module, method: DenseclSection) -> DenseCL:
    dense_projector = dense_head(
        num_map_channels(backbone),
        hidden=method.dense_hidden,
        num_outputs=method.dense_outputs,
        batch_norm=False,
    )
    lengths = method.projector_outputs, method.dense_outputs
    queue, dense_queue = (Queue(method.queue_images, length) for length in lengths)
    return DenseCL(
        backbone,
        (_moco_head(backbone, method), dense_projector),
        (queue, dense_queue),
        temperature=method.temperature,
        momentum=method.momentum,
        dense_weight=method.dense_weight,
    )


def _byol(backbone: nn.Module, method: ByolSection) -> BYOL:
    hidden, outputs = method.heads_hidden, method.heads_outputs
    projector = normalised_head(num_features(backbone), hidden=hidden, num_outputs=outputs)
    predictor = normalised_head(outputs, hidden=hidden, num_outputs=outputs)
    return BYOL(backbone, projector, predictor, momentum=method.momentum)


def _simsiam(backbone: nn.Module, method: SimsiamSection) -> SimSiam:
    outputs = method.projector_outputs
    projector = projection_head(
        num_features(backbone),
        hidden=method.projector_hidden,
        num_outputs=outputs,
        num_layers=3,
        batch_norm=True,
        scales_outputs=False,
    )
    predictor = normalised_head(outputs, hidden=method.predictor_hidden, num_outputs=outputs)
    return SimSiam(backbone, projector, predictor)


def _vicreg(backbone: nn.Module, method: VicregSection) -> VICReg:
    head = expander(
        num_features(backbone),
        hidden=method.expander_hidden,
        num_outputs=method.expander_outputs,
    )
    return VICReg(
        backbone,
        head,
        invariance=method.invariance,
        variance=method.variance,
        covariance=method.covariance,
    )


def _pixpro(backbone: nn.Module, method: PixproSection) -> PixPro:
    outputs = method.projector_outputs
    projector = dense_head(
        num_map_channels(backbone),
        hidden=method.projector_hidden,
        num_outputs=outputs,
        batch_norm=True,
    )
    propagation = Propagation(outputs, sharpness=method.sharpness)
    return PixPro(
        backbone,
        projector,
        propagation,
        momentum=method.momentum,
        pair_distance=method.pair_distance,
    )


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
