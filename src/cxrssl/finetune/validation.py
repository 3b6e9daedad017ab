"""Scores of a detector while it is trained, the best one kept, and the scores of the product."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.state import load_own_state, own_state
from cxrssl.data.detection import Example
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import scores_of, values_of
from cxrssl.evaluate.detect import BATCH_SIZE, ImageDetections, detect_in_turn
from cxrssl.evaluate.settings import Settings
from cxrssl.finetune.labels import Labels
from cxrssl.models.detector import Detector, build_detector
from cxrssl.models.detector_folder import save_detector
from cxrssl.run.folder import RunFolder
from cxrssl.run.log import Log
from cxrssl.run.processes import Accelerator, from_main, warn

_NAMES = ("AP", "AP50", "AR100")
_CHOSEN_BY = "val_AP"


@dataclass(frozen=True)
class Validation:
    """Scores on the validation split; the processes of a run share its images.

    Attributes:
        accelerator: Of the run.
        detector: What is trained.
        store: Where the images are.
        labels: The splits.
        plan: When epochs end.
        recipe: How often it is due, and how readers' boxes are fused.
        run: Where the best detector goes, as `best/`.
    """

    accelerator: Accelerator
    detector: Detector
    store: Store
    labels: Labels
    plan: BatchPlan
    recipe: FinetuneRecipe
    run: RunFolder

    def try_out(self, *, steps_done: int) -> None:
        """Score two batches before the first step, so that what is broken shows at once.

        What is not broken and yet unlikely to be meant is said.
        """
        if steps_done == 0:
            for caution in self.labels.cautions(batch_size=self.recipe.batch_size):
                if self.run.writes:
                    warn(caution)
            few = (self.labels.val or self.labels.test)[: 2 * BATCH_SIZE]
            values_of(self.detect(self.snapshot(), few), few, self.store)

    def log_if_due(self, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log scores when the recipe says so and at the end, and keep the best detector.

        The best is that of the highest AP.

        It comes before the checkpoint of the same step, so that a kill loses neither; a run that
        goes on from an earlier one does it again, with the same outcome on a CPU.
        """
        every = self.recipe.validate_every_epochs
        if every is None or not self.plan.is_boundary(steps_done):
            return
        if (epoch + 1) % every and steps_done != self.plan.num_steps:
            return
        snapshot = self.snapshot()
        found = self.detect(snapshot, self.labels.val)
        if self.run.writes:
            best = max(log.history(_CHOSEN_BY), default=-1.0)
            scores = values_of(found, self.labels.val, self.store)
            values = {f"val_{name}": scores[name] for name in _NAMES}
            log.write(values, steps_done=steps_done, epoch=epoch)
            if (values[_CHOSEN_BY] or 0.0) > best:
                save_detector(snapshot, self.run.best)
        self.accelerator.wait_for_everyone()

    def snapshot(self) -> Detector:
        """Return a copy of the detector as it would be saved; every process must call it.

        accelerate has changed the one that is trained: it computes in the run's precision even in
        use, and the statistics of its norms are each process's own.
        """
        model = build_detector(self.detector.config).to(self.accelerator.device)
        load_own_state(model, own_state(self.detector.model))
        from_main(self.accelerator, model.state_dict().values())
        return replace(self.detector, model=model)

    def detect(self, detector: Detector, examples: Sequence[Example]) -> list[ImageDetections]:
        """Return the detections on each example; every process must call it."""
        return detect_in_turn(
            detector,
            self.store,
            examples,
            rank=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
        )

    def scores(
        self, examples: Sequence[Example], found: Sequence[ImageDetections]
    ) -> dict[str, Any]:
        """Return all scores of detections in the test images, an entry each, with intervals."""
        data = self.recipe.data
        settings = Settings("test", data.fusion, data.consensus_iou, data.normals)
        return scores_of(found, examples, self.store, settings=settings)
