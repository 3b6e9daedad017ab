"""The optimizer of a detector, with a lower rate for lower layers where the recipe says so."""

from torch.optim import Optimizer

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.models.detector import Detector
from cxrssl.models.stages import layer_lr_scales
from cxrssl.run.optimizer import build_optimizer


def detector_optimizer(detector: Detector, recipe: FinetuneRecipe) -> Optimizer:
    """Return the recipe's optimizer over what is trained of a detector.

    Raises:
        TransferError: If timm does not know the layers of the backbone.
    """
    optim = recipe.optim
    return build_optimizer(
        detector.model,
        optim.name,
        optim.momentum,
        optim.weight_decay,
        lr_scales=_lr_scales(detector, recipe),
    )


def _lr_scales(detector: Detector, recipe: FinetuneRecipe) -> dict[str, float] | None:
    """Return the factors of the body's parameters by their names in the model; None for one rate.

    Pyramid and heads are not named: their factor is 1.
    """
    decay, body = recipe.optim.layer_decay, detector.body
    if decay is None:
        return None
    scales = layer_lr_scales(body, recipe.model.backbone, decay)
    scale_of = {id(parameter): scales[name] for name, parameter in body.named_parameters()}
    return {
        name: scale_of[id(parameter)]
        for name, parameter in detector.model.named_parameters()
        if id(parameter) in scale_of
    }
