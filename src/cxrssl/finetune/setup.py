"""What a fine-tuning run needs before its loop: processes, data, folder and first detector."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from cxrssl.config.load import renew_run_recipe, to_yaml
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.licence_terms import data_record
from cxrssl.data.loaders import DetectionImages
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.finetune.initial_detector import initial_detector
from cxrssl.finetune.sheet import write_training_images
from cxrssl.finetune.splits import (
    LabelledSplits,
    labelled_splits,
    lines_on_changes,
    training_images,
)
from cxrssl.finetune.unlabelled import Unlabelled, unlabelled_images
from cxrssl.models.detector import Detector
from cxrssl.run.average import average_of
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import RunFolder, check_run, open_run
from cxrssl.run.processes import Accelerator, check_divides, start_accelerator
from cxrssl.run.progress import say
from cxrssl.run.provenance import provenance
from cxrssl.run.schedule import LearningRate


@dataclass(frozen=True)
class Setup:
    """A run that is ready to begin or to go on.

    Attributes:
        accelerator: This process among those of the run.
        store: Store of the images.
        splits: Training, validation and test examples.
        images: The training images as the loop loads them.
        batch_plan: The images of each step.
        rate: The learning rate of each step.
        detector: The detector before the first step, or before a checkpoint is restored.
        average: The average of its weights, None if the recipe has none.
        unlabelled: The images without labels, None if the recipe has none.
        run: The run's folder.
        checkpoints: The checkpoints in it.
    """

    accelerator: Accelerator
    store: Store
    splits: LabelledSplits
    images: DetectionImages
    batch_plan: BatchPlan
    rate: LearningRate
    detector: Detector
    average: nn.Module | None
    unlabelled: Unlabelled | None
    run: RunFolder
    checkpoints: Checkpoints

    @property
    def scored_model(self) -> nn.Module:
        """The network that is scored and kept: the average of the weights, where there is one."""
        return self.detector.model if self.average is None else self.average


def set_up(recipe: FinetuneRecipe, out: Path, *, resume: bool) -> Setup:
    """Check all that can be checked, build the detector, then begin the folder of the run.

    Raises:
        CxrsslError: If the store, its boxes, the run folder or initial weights can't be used.
    """
    accelerator = start_accelerator(recipe.precision, batch_size=recipe.batch_size)
    if recipe.unlabelled is not None:
        name, size = "unlabelled.batch_size", recipe.unlabelled.batch_size
        check_divides(name, size, num_processes=accelerator.num_processes)
    writes, recipe_yaml = accelerator.is_main_process, to_yaml(recipe)
    if resume and writes:
        renew_run_recipe(out, FinetuneRecipe)
    check_run(out, recipe_yaml=recipe_yaml, resume=resume, writes=writes)
    store, optim = Store(recipe.data.store), recipe.optim
    splits = labelled_splits(store, recipe)
    images, plan = training_images(store, splits.train, recipe)
    drops = plan.first_steps_of(optim.drop_epochs)
    rate = LearningRate(optim.schedule, optim.peak_lr, optim.warmup_steps, plan.num_steps, drops)
    checkpoints = Checkpoints(
        out / "checkpoints",
        recipe.checkpoint_every_steps,
        plan.num_steps,
        writes,
        accelerator.scaler,
    )
    unlabelled = unlabelled_images(store, splits, recipe, num_steps=plan.num_steps)
    detector, transfers = initial_detector(
        recipe, store, images, accelerator.device, is_resumed=resume and checkpoints.exist()
    )
    average = None if recipe.ema is None else average_of(detector.model)
    checkpoints = replace(checkpoints, average=average)
    run = open_run(out, recipe_yaml=recipe_yaml, resume=resume, writes=writes)
    record = data_record(store, splits.ids) | {"usage": splits.usage.as_json()}
    if unlabelled is not None:
        record["unlabelled"] = unlabelled.record()
    run.write_provenance(transfer=transfers, provenance=provenance(accelerator, data=record))
    lines = [*splits.usage.lines(), *lines_on_changes(images)]
    lines += [] if unlabelled is None else unlabelled.lines()
    for line in lines:
        say(line, shown=writes)
    write_training_images(run, images, plan, recipe.size_px)
    return Setup(
        accelerator,
        store,
        splits,
        images,
        plan,
        rate,
        detector,
        average,
        unlabelled,
        run,
        checkpoints,
    )
