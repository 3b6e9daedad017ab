"""Scores of a detector during training, its best state, and the scores of the final one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.state import load_unique_tensors, unique_tensors
from cxrssl.data.detection import Example
from cxrssl.evaluate.checkpoint import scores_of, values_of
from cxrssl.evaluate.detect import BATCH_SIZE, ImageDetections, detect_in_turn
from cxrssl.evaluate.settings import Settings
from cxrssl.finetune.setup import Setup
from cxrssl.models.detector import Detector, build_detector
from cxrssl.models.detector_folder import save_detector
from cxrssl.run.log import Log
from cxrssl.run.processes import broadcast_from_main, warn

_NAMES = ("AP", "AP50", "AR100")
_CHOSEN_BY = "val_AP"


@dataclass(frozen=True)
class Validation:
    """Scores on the validation split; the processes of a run share its images.

    Attributes:
        setup: The run: its detector, its splits, and its folder, where the best goes as `best/`.
        recipe: How often scores are due, and how readers' boxes are fused.
    """

    setup: Setup
    recipe: FinetuneRecipe

    def check_first(self, *, steps_done: int) -> None:
        """Score two batches before the first step, so that errors show at once.

        Warns of splits that are allowed and yet unlikely to be meant.
        """
        if steps_done == 0:
            splits = self.setup.splits
            for warning in splits.warnings(batch_size=self.recipe.batch_size):
                if self.setup.run.writes:
                    warn(warning)
            examples = (splits.val or splits.test)[: 2 * BATCH_SIZE]
            values_of(self.detect(self.snapshot(), examples), examples, self.setup.store)

    def log_if_due(self, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log scores when the recipe says so and at the end, and keep the best detector.

        The best is that of the highest AP.

        It comes before the checkpoint of the same step, so that a kill loses neither; a run that
        goes on from an earlier one does it again, with the same outcome on a CPU.
        """
        every, plan = self.recipe.validate_every_epochs, self.setup.batch_plan
        if every is None or not plan.is_boundary(steps_done):
            return
        if (epoch + 1) % every and steps_done != plan.num_steps:
            return
        snapshot, examples = self.snapshot(), self.setup.splits.val
        detections = self.detect(snapshot, examples)
        if self.setup.run.writes:
            best = max(log.history(_CHOSEN_BY), default=-1.0)
            scores = values_of(detections, examples, self.setup.store)
            values = {f"val_{name}": scores[name] for name in _NAMES}
            log.write(values, steps_done=steps_done, epoch=epoch)
            if (values[_CHOSEN_BY] or 0.0) > best:
                save_detector(snapshot, self.setup.run.best)
        self.setup.accelerator.wait_for_everyone()

    def snapshot(self) -> Detector:
        """Return a copy of the detector as it would be saved; every process must call it.

        accelerate has changed the one that is trained: it computes in the run's precision even in
        use, and the statistics of its norms are each process's own.
        """
        detector, accelerator = self.setup.detector, self.setup.accelerator
        model = build_detector(detector.config).to(accelerator.device)
        load_unique_tensors(model, unique_tensors(self.setup.scored_model))
        broadcast_from_main(accelerator, model.state_dict().values())
        return replace(detector, model=model)

    def detect(self, detector: Detector, examples: Sequence[Example]) -> list[ImageDetections]:
        """Return the detections on each example; every process must call it."""
        return detect_in_turn(
            detector,
            self.setup.store,
            examples,
            rank=self.setup.accelerator.process_index,
            num_processes=self.setup.accelerator.num_processes,
        )

    def scores(
        self, examples: Sequence[Example], detections: Sequence[ImageDetections]
    ) -> dict[str, Any]:
        """Return all scores of detections in the test images, an entry each, with intervals."""
        data = self.recipe.data
        settings = Settings("test", data.fusion, data.consensus_iou, data.normals)
        store, train = self.setup.store, self.setup.splits.train
        return scores_of(detections, examples, store, settings=settings, train=train)
