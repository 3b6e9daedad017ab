"""The state of the representation at the end of each epoch, without labels to learn from.

Only the encoder is measured, which every method has: heads are thrown away.

Shapes: N images of the sample, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from cxrssl.metrics.representation import Health, health_of
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.run.log import Log
from cxrssl.run.processes import warn

_BATCH = 16
_DRAWN = 0x4EA1
# A random network begins with all features nearly alike; it has this long to change that.
_STEPS_TO_SPREAD = 50


@dataclass(frozen=True)
class HealthCheck:
    """Measures an encoder on a fixed sample of the pool, with the same two views each time.

    Attributes:
        images: The pool, cut into two views whatever the method is given.
        size_px: Side of a view.
        rows: [N] the sample, as indices into the pool.
        findings: [N, K] whether an image has a finding, for the log alone; None without labels.
        plan: Plan of the batches, for the ends of epochs.
        measures: Whether this process measures.
    """

    images: PoolImages
    size_px: int
    rows: Sequence[int]
    findings: NDArray[np.bool_] | None
    plan: BatchPlan
    measures: bool

    def log_start(self, encoder: nn.Module, log: Log, *, steps_done: int) -> None:
        """Log the state before the first step, where a collapse is expected.

        BatchNorm in a random network has no statistics yet: ranks of it come out far too low.
        """
        if self.measures and steps_done == 0:
            log.write(self.measure(encoder).as_json(), steps_done=0, epoch=0)

    def log_if_due(self, encoder: nn.Module, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log the state after the last step of an epoch, and warn of a collapse."""
        if not self.measures or not self.plan.is_boundary(steps_done):
            return
        health = self.measure(encoder)
        log.write(health.as_json(), steps_done=steps_done, epoch=epoch)
        if health.collapse and steps_done >= _STEPS_TO_SPREAD:
            warn(f"epoch {epoch + 1}: {health.collapse}")

    @torch.no_grad()
    def measure(self, encoder: nn.Module) -> Health:
        """Return the state of an encoder, in evaluation mode and in full precision.

        So a detector would use it. In a run of lower precision the method's own `forward` computes
        in that one, and its parts do not.

        Raises:
            TrainingError: If features are not finite.
        """
        was_training = encoder.training
        encoder.eval()
        features, first, second = [], [], []
        for start in range(0, len(self.rows), _BATCH):
            rows = self.rows[start : start + _BATCH]
            features.append(self._features(encoder, self._images(rows)))
            views = torch.stack([self.images[Visit(_DRAWN, row)]["views"] for row in rows])
            first.append(self._features(encoder, views[:, 0]))
            second.append(self._features(encoder, views[:, 1]))
        encoder.train(was_training)
        return health_of(torch.cat(features), torch.cat(first), torch.cat(second), self.findings)

    def _images(self, rows: Sequence[int]) -> Tensor:
        """Return images as they are, at the size of a view: [N, 1, size, size] uint8."""
        size = self.size_px
        images = [rescaled(self.images.image(row), height=size, width=size)[None] for row in rows]
        return torch.from_numpy(np.stack(images))

    def _features(self, encoder: nn.Module, pixels: Tensor) -> Tensor:
        device = next(encoder.parameters()).device
        inputs = network_input(pixels.to(device), self.images.intensity, num_channels=NUM_CHANNELS)
        features: Tensor = encoder(inputs)
        if not bool(torch.isfinite(features).all()):
            raise TrainingError(
                "the encoder's features of an image are not finite: steps were too large for its "
                "weights. Lower optim.peak_lr, or set optim.clip_norm."
            )
        return features.float().cpu()


def health_check(
    images: PoolImages, plan: BatchPlan, recipe: PretrainRecipe, *, measures: bool
) -> HealthCheck:
    """Return the check on a sample of the pool, the same for equal seeds."""
    order = np.random.default_rng((recipe.seed, _DRAWN)).permutation(len(images.rows))
    rows = sorted(int(row) for row in order[: recipe.health_images])
    findings = findings_of(images.store, [images.rows[row] for row in rows])
    views = replace(images, cut=TwoViews(recipe.views.ranges), pairs=None)
    return HealthCheck(views, recipe.views.size_px, rows, findings, plan, measures)
