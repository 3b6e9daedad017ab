"""The state of the representation in the course of a run, without labels to learn from.

Only the encoder is measured, which every method has: heads are thrown away.

Before the first step a random network's BatchNorms have no statistics, after it those of views, and
those of a pretrained start are of other images. So that start and end are compared like with like,
each measurement is of a copy whose BatchNorms are settled on the sample, as `model.norm:
recalibrated` does for a detector. The backbone that a run leaves keeps the statistics that training
gave it: used with these, it may do worse than the log says.

Shapes: N images of the sample, F features.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import TrainingError
from cxrssl.core.pixels import rescaled
from cxrssl.data.cuts.two_views import TwoViews
from cxrssl.data.detection import findings_of
from cxrssl.data.loaders import PoolImages, network_input
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.data.store import Store
from cxrssl.metrics.representation import Health, Labels, health_of
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.models.batch_norm import (
    Statistics,
    batch_statistics,
    has_statistics,
    settle_statistics,
)
from cxrssl.run.log import Log
from cxrssl.run.processes import gather_round_robin, warn
from cxrssl.ssl.pretext import Couples

Part = TypeVar("Part")
_BATCH = 16
_DRAWN, _HALVES = 0x4EA1, 0x4A1F
# A random network begins with all features nearly alike; it has this long to change that.
_STEPS_TO_SPREAD = 50
# An image of the sample takes as long as one of a step (8.4 and 9.0 ms, demo recipe on one core):
# so measuring takes less than a twentieth of the time.
_TRAINED_TO_MEASURED = 20
# Healthy runs narrow features somewhat: from a RankMe of 34 to 20 in the demo plan.
_NARROWED = 1 / 8
# SimSiam without what keeps its heads apart came to 0.01 and 0.03, with it to 0.5 and more.
_COLLAPSED_SPREAD = 0.1


@dataclass(frozen=True)
class HealthCheck:
    """Measures an encoder on a fixed sample of the pool, with the same two views each time.

    Attributes:
        images: The pool, cut into two views whatever the method is given.
        size_px: Side of a view.
        rows: [N] the sample, as indices into the pool.
        labels: Findings of the sample, for the log alone; None without labels.
        plan: Plan of the batches, for the ends of epochs.
        every_epochs: Epochs from one measurement to the next, beginning after the first epoch; the
            last is always measured.
        advice: What to change if the representation collapses.
        rank: Number of this process.
        num_processes: Processes that share the sample.
    """

    images: PoolImages
    size_px: int
    rows: Sequence[int]
    labels: Labels | None
    plan: BatchPlan
    every_epochs: int
    advice: str
    rank: int
    num_processes: int

    def log_start(self, encoder: nn.Module, log: Log, *, steps_done: int) -> None:
        """Log the state before the first step, where a collapse is expected.

        Every process must call it.
        """
        if steps_done == 0:
            log.write(self.measure(encoder).as_json(), steps_done=0, epoch=0)

    def log_if_due(self, encoder: nn.Module, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log the state after the last step of an epoch, and warn of a collapse.

        Every process must call it. A small pool is not measured after each epoch.
        """
        is_last = steps_done == self.plan.num_steps
        is_due = self.plan.is_boundary(steps_done) and epoch % self.every_epochs == 0
        if not is_due and not is_last:
            return
        health = self.measure(encoder)
        log.write(health.as_json(), steps_done=steps_done, epoch=epoch)
        if self.rank == 0 and steps_done >= _STEPS_TO_SPREAD:
            fault = (
                health.collapse
                or narrowing(health.rankme, log.history("rankme")[0])
                or shrinking(log.history("spread"))
            )
            if fault:
                warn(f"epoch {epoch + 1}: {fault}. {self.advice}")

    def measure(self, encoder: nn.Module) -> Health:
        """Return the state of an encoder, in evaluation mode and in full precision.

        So a detector would use it. In a run of lower precision the method's own `forward` computes
        in that one, and its parts do not. The encoder stays as it is in every bit, and so do random
        states. Every process must call it with the same weights, and all return what one would.

        Raises:
            TrainingError: If features are not finite; in every process.
        """
        features, first, second = self._measured(encoder)
        is_finite = bool(torch.isfinite(torch.cat([features, first, second])).all())
        # Settled statistics must not hide that those of the backbone are of no use.
        are_finite = self._of_all([is_finite and _is_finite(encoder)])
        if not all(are_finite):
            raise TrainingError(
                "the encoder's features of an image are not finite: steps were too large for its "
                "weights. Lower optim.peak_lr, or set optim.clip_norm."
            )
        return health_of(features, first, second, self.labels)

    @torch.no_grad()
    def _measured(self, encoder: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Return [N, F] float32 on the CPU: images as they are, and two views of each."""
        settled = deepcopy(encoder).eval()
        mine = batches_of(self.rows)[self.rank :: self.num_processes]
        if has_statistics(settled):
            statistics = [
                batch_statistics(settled, self._input(settled, self._whole(rows))) for rows in mine
            ]
            settle_statistics(settled, self._of_all([_on_cpu(part) for part in statistics]))
        parts = self._of_all([self._features(settled, rows) for rows in mine])
        features, first, second = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return features, first, second

    def _of_all(self, parts: Sequence[Part]) -> list[Part]:
        return gather_round_robin(parts, num_processes=self.num_processes)

    def _features(self, encoder: nn.Module, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return [B, F] float32 on the CPU, of images as they are and of two views of each."""
        views = torch.stack([self.images[Visit(_DRAWN, row)]["views"] for row in rows])
        inputs = (self._whole(rows), views[:, 0], views[:, 1])
        first, second, third = (
            encoder(self._input(encoder, pixels)).float().cpu() for pixels in inputs
        )
        return first, second, third

    def _whole(self, rows: Sequence[int]) -> Tensor:
        """Return images as they are, at the size of a view: [B, 1, size, size] uint8."""
        size = self.size_px
        images = [rescaled(self.images.image(row), height=size, width=size)[None] for row in rows]
        return torch.from_numpy(np.stack(images))

    def _input(self, encoder: nn.Module, pixels: Tensor) -> Tensor:
        device = next(encoder.parameters()).device
        return network_input(pixels.to(device), self.images.intensity, num_channels=NUM_CHANNELS)


def narrowing(rankme: float, rankme_start: float) -> str | None:
    """Return what has been lost of the features' dimensions since the start, None if not much."""
    if rankme >= _NARROWED * rankme_start:
        return None
    return (
        f"features use few of the dimensions that they had: RankMe {rankme:.1f}, "
        f"{rankme_start:.1f} at the start (dimensional collapse)"
    )


def shrinking(spreads: Sequence[float]) -> str | None:
    """Return that what the loss compares has collapsed, by the last of its logged spreads, or None.

    The encoder need not have: heads may send all features to one place, and nothing is learnt then.
    """
    if not spreads or spreads[-1] >= _COLLAPSED_SPREAD:
        return None
    return (
        f"the method's heads have collapsed: the spread of what the loss compares is "
        f"{spreads[-1]:.3f} (0 is one direction, about 1 is healthy)"
    )


def batches_of(rows: Sequence[int]) -> list[Sequence[int]]:
    """Return rows in batches of nearly equal sizes, for BatchNorm can't do with a last one of 1.

    A process takes whole ones, so that each is in bits what it is in a single process.
    """
    parts = np.array_split(np.asarray(rows), -(-len(rows) // _BATCH))
    return [part.tolist() for part in parts]


def _on_cpu(statistics: Statistics) -> Statistics:
    return {name: values.cpu() for name, values in statistics.items()}


def _is_finite(encoder: nn.Module) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in encoder.state_dict().values())


def health_check(
    images: PoolImages,
    plan: BatchPlan,
    recipe: PretrainRecipe,
    couples: Couples,
    *,
    rank: int,
    num_processes: int,
) -> HealthCheck:
    """Return the check on a sample of the pool, the same for equal seeds.

    Args:
        images: The pool.
        plan: Plan of its batches.
        recipe: The run's recipe.
        couples: Of the recipe's method.
        rank: Number of this process.
        num_processes: Processes of the run.
    """
    order = np.random.default_rng((recipe.seed, _DRAWN)).permutation(len(images.rows))
    rows = sorted(int(row) for row in order[: recipe.health_images])
    views = replace(images, cut=TwoViews(recipe.views.ranges), pairs=None)
    return HealthCheck(
        views,
        recipe.views.size_px,
        rows,
        _labels(images.store, [images.rows[row] for row in rows], recipe.seed),
        plan,
        math.ceil(_TRAINED_TO_MEASURED * len(rows) / len(images.rows)),
        _advice(recipe, couples),
        rank,
        num_processes,
    )


def _labels(store: Store, rows: Sequence[int], seed: int) -> Labels | None:
    findings = findings_of(store, rows)
    if findings is None:
        return None
    patients = [store.images[row].patient or store.images[row].image_id for row in rows]
    return Labels(findings, first_half(patients, seed))


def first_half(patients: Sequence[str], seed: int) -> NDArray[np.bool_]:
    """Return [N] whether an image is in the first of two halves, given its patient.

    Patients come in a random order, each with all images into the half that has fewer.
    """
    images_of = Counter(sorted(patients))
    names, is_first, sizes = list(images_of), dict[str, bool](), [0, 0]
    for number in np.random.default_rng((seed, _HALVES)).permutation(len(names)):
        name = names[int(number)]
        is_first[name] = sizes[0] <= sizes[1]
        sizes[0 if is_first[name] else 1] += images_of[name]
    return np.array([is_first[patient] for patient in patients], dtype=bool)


def _advice(recipe: PretrainRecipe, couples: Couples) -> str:
    """Return what to change of a run whose representation collapses, by what its method has."""
    fields = type(recipe.method).model_fields
    raised = [f"method.{name}" for name in ("temperature", "momentum") if name in fields]
    if couples == "batch":
        raised.append("batch_size")
    remedies = [f"raise {' or '.join(raised)}"] if raised else []
    if recipe.body.start == "random":
        remedies.append("begin from pretrained weights (body.start)")
    also = f"; if it stays, {', or '.join(remedies)}" if remedies else ""
    return f"Lower optim.peak_lr or lengthen optim.warmup_steps{also}."


def ends_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, float | int]:
    """Return what `metrics.json` has of the first and the last measurement in a log.

    Runs that an earlier version began have no probe at their start.
    """
    measured = [line for line in lines if "rankme" in line]
    start, end = measured[0], measured[-1]
    found = {
        "rankme_start": start["rankme"],
        "rankme": end["rankme"],
        "probe_auroc_start": start.get("probe_auroc"),
        "probe_auroc": end.get("probe_auroc"),
        "probe_findings": end.get("probe_findings"),
    }
    return {name: value for name, value in found.items() if value is not None}
