"""One global batch of a fine-tuning run, whichever processes share it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.loaders import Batch, Target
from cxrssl.models.detector import Detector
from cxrssl.run.log import check_finite
from cxrssl.run.processes import Accelerator, mean_over_processes
from cxrssl.run.seed import STEP, image_seeds, seed_torch


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move images and targets to a device."""
    images, targets = batch
    moved = [Target(boxes=t["boxes"].to(device), labels=t["labels"].to(device)) for t in targets]
    return [image.to(device) for image in images], moved


def seed_step(
    detector: Detector, recipe: FinetuneRecipe, step: int, accelerator: Accelerator
) -> None:
    """Make all that is random in a step a function of the seed, the step and the image's place."""
    rank, num_processes = accelerator.process_index, accelerator.num_processes
    seed_torch(recipe.seed, STEP, step, rank)
    batch_positions = range(rank, recipe.batch_size, num_processes)
    detector.family.seed_samples(detector.model, image_seeds(recipe.seed, step, batch_positions))


def weighted(
    accelerator: Accelerator,
    detector: Detector,
    losses: Mapping[str, Tensor],
    targets: Sequence[Target],
    *,
    counts: bool = True,
) -> dict[str, Tensor]:
    """Weigh the losses of this process so that their mean over processes is the global batch's.

    Each is a mean over what this process sampled, and processes may have sampled more or less.

    Args:
        accelerator: This process among those of the run.
        detector: The detector.
        losses: Losses of this process.
        targets: What they were computed for.
        counts: Whether this process's images count; else its losses are zero.
    """
    if accelerator.num_processes == 1:
        return {name: loss * float(counts) for name, loss in losses.items()}
    boxes = [target["boxes"] for target in targets]
    num_samples = detector.family.num_samples(detector.model, boxes)
    local = torch.stack([num_samples[name] for name in losses]).float() * float(counts)
    total = accelerator.reduce(local, reduction="sum")
    # Without any sample a loss is divided by one.
    weights = local.clamp(min=1) * accelerator.num_processes / total.clamp(min=1)
    return {
        name: loss * weight * float(counts)
        for (name, loss), weight in zip(losses.items(), weights, strict=True)
    }


def checked(
    accelerator: Accelerator, losses: Mapping[str, Tensor], *, steps_done: int
) -> dict[str, Tensor]:
    """Return the losses of the global batch, without gradient, if they are numbers.

    They are read from the device at every step: torchvision's detector waits for it all the time.

    Raises:
        TrainingError: If a part is infinite or not a number.
    """
    means = mean_over_processes(accelerator, losses)
    check_finite(means, step=steps_done)
    return means
