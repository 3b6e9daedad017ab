"""The state of the representation at the end of each epoch, without labels to learn from.

Shapes: N images of the sample, F features, D the embedding's length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrssl.core.pixels import rescaled
from cxrssl.data.detection import findings_of
from cxrssl.data.loaders import ViewPairs, network_input
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.metrics.representation import Health, health_of
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.run.log import Log
from cxrssl.run.processes import warn
from cxrssl.ssl.simclr import SimCLR

_BATCH = 16
_DRAWN = 0x4EA1
# A random network begins with all embeddings nearly alike; it is given so long to leave that.
_STEPS_TO_SPREAD = 50


@dataclass(frozen=True)
class HealthCheck:
    """Measures a network on a fixed sample of the pool, with the same views each time.

    Attributes:
        views: The pool.
        rows: [N] the sample, as places in the pool.
        findings: [N, K] which image has which finding; they are looked at for the log alone.
        plan: Says where epochs end.
        measures: Whether this process is the one that does it.
    """

    views: ViewPairs
    rows: Sequence[int]
    findings: NDArray[np.bool_] | None
    plan: BatchPlan
    measures: bool

    def log_start(self, model: SimCLR, log: Log, *, steps_done: int) -> None:
        """Log the state before the first step, where a collapse is no news.

        BatchNorm in a random network has no statistics yet: ranks of it come out far too low.
        """
        if self.measures and steps_done == 0:
            log.write(self.measure(model).as_json(), steps_done=0, epoch=0)

    def log_if_due(self, model: SimCLR, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log the state after the last step of an epoch, and warn of a collapse."""
        if not self.measures or not self.plan.is_boundary(steps_done):
            return
        found = self.measure(model)
        log.write(found.as_json(), steps_done=steps_done, epoch=epoch)
        if found.collapse and steps_done >= _STEPS_TO_SPREAD:
            warn(f"epoch {epoch + 1}: {found.collapse}")

    @torch.no_grad()
    def measure(self, model: SimCLR) -> Health:
        """Return the state of a network, in evaluation mode and in full precision.

        So a detector would use it. In a run of lower precision the network's own `forward` computes
        in that one, and its parts do not: here all goes through the parts.
        """
        was_training = model.training
        model.eval()
        embedding = torch.nn.Sequential(model.encoder, model.projector)
        features, first, second = [], [], []
        for start in range(0, len(self.rows), _BATCH):
            rows = self.rows[start : start + _BATCH]
            features.append(self._through(model.encoder, self._images(rows)))
            pairs = torch.stack([self.views[Visit(_DRAWN, row)] for row in rows])
            first.append(self._through(embedding, pairs[:, 0]))
            second.append(self._through(embedding, pairs[:, 1]))
        model.train(was_training)
        return health_of(torch.cat(features), torch.cat(first), torch.cat(second), self.findings)

    def _images(self, rows: Sequence[int]) -> Tensor:
        """Return images as they are, at the size of a view: [N, 1, size, size] uint8."""
        size = self.views.ranges.size_px
        images = [rescaled(self.views.image(row), height=size, width=size)[None] for row in rows]
        return torch.from_numpy(np.stack(images))

    def _through(self, network: torch.nn.Module, pixels: Tensor) -> Tensor:
        device = next(network.parameters()).device
        wide = network_input(pixels.to(device), self.views.intensity, num_channels=NUM_CHANNELS)
        found: Tensor = network(wide)
        return found.float().cpu()


def health_check(
    views: ViewPairs, plan: BatchPlan, num_images: int, *, seed: int, measures: bool
) -> HealthCheck:
    """Return the check on at most `num_images` of the pool, the same for equal seeds."""
    order = np.random.default_rng((seed, _DRAWN)).permutation(len(views.rows))
    rows = sorted(int(row) for row in order[:num_images])
    findings = findings_of(views.store, [views.rows[row] for row in rows])
    return HealthCheck(views, rows, findings, plan, measures)
