"""The image-level gate of a detector, fitted on its labelled images after its training.

A logistic regression on the pooled features of the detector's own backbone, then one temperature on
the validation split. The detector's weights stay, so that scores with and without the gate are of
the same detector. All is computed in float64 on the CPU from a fixed start: a run that is killed
and goes on fits the same gate.

Sources: an image-level classifier that overrules a detector, Luo et al. 2021, doi
10.1155/2021/2267635; the temperature, Guo et al. 2017, arXiv 1706.04599.
Shapes: N images, D features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrssl.config.gate import GateSection
from cxrssl.data.detection import Example
from cxrssl.data.loaders import DetectionImages, detection_loader
from cxrssl.data.sampling import in_order
from cxrssl.evaluate.detect import batch_size_on
from cxrssl.finetune.setup import Setup
from cxrssl.metrics.gate import GateScores, gate_scores
from cxrssl.metrics.logistic import GRADIENT, MOST_ITERATIONS, Fit, fit_logistic
from cxrssl.models.detector import Detector, detector_input
from cxrssl.models.gate import gate_probabilities, pooled_features, with_gate
from cxrssl.run.processes import gather_round_robin, warn
from cxrssl.run.progress import progress

_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.01, 100.0
_HALVINGS = 200
_CHANCE = 0.5
_MANY = 1_000
"""Images above which progress is shown."""


def add_gate(
    setup: Setup, section: GateSection | None, detector: Detector
) -> tuple[Detector, dict[str, Any]]:
    """Fit a gate for the detector that a run keeps; every process must call it.

    Args:
        setup: The run.
        section: The recipe's section; None for no gate.
        detector: The detector; its weights stay as they are.

    Returns:
        A copy of the detector that has the gate, and its record for `metrics.json`, under `gate`:
        its numbers, the temperature, and `val`, how well it tells the images apart on which that
        was fitted. Without a section, the detector itself and nothing.
    """
    if section is None:
        return detector, {}
    train, val = setup.splits.train, setup.splits.val
    features = _features(setup, detector, [*train, *val])
    seen, unseen = features[: len(train)], features[len(train) :]
    fit = fit_logistic(seen, torch.from_numpy(have_boxes(train)), section.weight_decay)
    temperature = fit_temperature(fit.logits(unseen), torch.from_numpy(have_boxes(val)))
    gated = with_gate(
        detector,
        (fit.weight / temperature).float()[None],
        (fit.bias / temperature).float()[None],
        power=section.power,
        drop_below=section.drop_below,
    )
    scores = gate_scores(gate_probabilities(gated, unseen).numpy(), have_boxes(val))
    for warning in _warnings(fit, scores) if setup.run.writes else []:
        warn(warning)
    num_train_with = int(have_boxes(train).sum())
    return gated, {
        "gate": {
            **section.model_dump(),
            "temperature": temperature,
            "num_features": features.shape[1],
            "num_constant_features": fit.num_constant,
            "train": {
                "num_with_boxes": num_train_with,
                "num_without_boxes": len(train) - num_train_with,
            },
            "val": scores.as_json(),
        }
    }


def with_record(scores: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of a run, what they have of a gate beside the record of its fit."""
    if not record:
        return scores
    return scores | {"gate": record["gate"] | scores["gate"]}


def have_boxes(examples: Sequence[Example]) -> NDArray[np.bool_]:
    """Return [N] which images have a box in the consensus."""
    return np.array([len(example.boxes) > 0 for example in examples], bool)


def fit_temperature(logits: Tensor, has_boxes: Tensor) -> float:
    """Return the temperature T > 0 by which logits are divided so that their sigmoid is calibrated.

    It has the least negative log likelihood. That has no minimum where every logit has the right
    sign, as in a small validation split: p would be 0 or 1. There, targets are Platt's
    (N1 + 1) / (N1 + 2) and 1 / (N0 + 2) in the place of 1 and 0. Elsewhere they make p too cautious
    (21 validation images: test images were less likely with them in 5 of 5 runs). T is from .01 to
    100; 100 means that the logits say nothing, or the wrong way round.

    Sources: Guo et al. 2017, arXiv 1706.04599, section 4.2; Platt 1999, section 2.2.

    Args:
        logits: [N] float64 of images that the logits were not fitted on.
        has_boxes: [N] bool, of both kinds.
    """
    num_with = int(has_boxes.sum())
    num_without = len(has_boxes) - num_with
    target = has_boxes.double()
    # Only the sign of a logit stays under a temperature.
    if bool(((logits > 0) == has_boxes).all()):
        target = torch.where(has_boxes, (num_with + 1) / (num_with + 2), 1 / (num_without + 2))

    def slope(inverse: float) -> float:
        """Return the derivative of the likelihood by 1 / T, which rises with it."""
        return float((logits * ((logits * inverse).sigmoid() - target)).mean())

    low, high = 1 / _MOST_TEMPERATURE, 1 / _LEAST_TEMPERATURE
    if slope(low) >= 0:
        return _MOST_TEMPERATURE
    if slope(high) <= 0:
        return _LEAST_TEMPERATURE
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) >= 0 else (middle, high)
    return 1 / high


def _features(setup: Setup, detector: Detector, examples: Sequence[Example]) -> Tensor:
    """Return the pooled features [N, D] float32 of images, not mirrored, on the CPU."""
    rank, num_processes = setup.accelerator.process_index, setup.accelerator.num_processes
    device = setup.accelerator.device
    local = examples[rank::num_processes]
    images = DetectionImages(setup.store, local, detector.intensity, flip_probability=0.0, seed=0)
    batches = in_order(len(local), batch_size_on(device))
    detector.model.to(device).eval()
    rows: list[Tensor] = []
    shown = setup.run.writes and len(local) > _MANY
    with progress("gate", total=len(local), unit="images", shown=shown) as meter:
        for pixels, _ in detection_loader(images, batches, num_workers=0):
            on_device = detector_input([image.to(device) for image in pixels])
            rows += pooled_features(detector, on_device).cpu()
            meter.at(len(rows))
    return torch.stack(gather_round_robin(rows, num_processes=num_processes))


def _warnings(fit: Fit, scores: GateScores) -> list[str]:
    """Return warnings of a gate that is likely to be of no use."""
    warnings = []
    if fit.gradient > GRADIENT:
        warnings.append(
            f"the gate's fit stopped after {MOST_ITERATIONS} iterations before its minimum "
            f"(gradient {fit.gradient:.1g}). Raise gate.weight_decay."
        )
    if scores.auroc is not None and scores.auroc <= _CHANCE:
        num = scores.num_with_boxes + scores.num_without_boxes
        warnings.append(
            f"the gate tells the {num} validation images with boxes from those without no better "
            f"than chance (AUROC {scores.auroc:.2f}), and yet it changes scores. Set gate to null, "
            "or give it more labelled images."
        )
    return warnings
