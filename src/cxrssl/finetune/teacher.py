"""A mean teacher for detection: boxes that it finds in images without labels teach its student.

The teacher is the average of the student's weights. It looks at a weak view of an image, its boxes
above a threshold are carried to a strong view, and the student is trained on them as on true ones,
except that the losses of box sides don't count: a score says whether there is a finding, not how
well it is framed.

An image in which the teacher is sure of nothing does not count at all: it may have findings that
were missed. One that is known to be normal counts as background.

Source: Unbiased Teacher, arXiv 2102.09480; relation consistency: arXiv 2005.07377.

Shapes: B images in this process's slice of a batch, D features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.config.label_savers import UnlabelledSection
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.geometry import clipped
from cxrssl.data.cuts.augmentation import cut_out, cut_squares
from cxrssl.data.loaders import Target
from cxrssl.data.unlabelled import TwoViews, unlabelled_loader
from cxrssl.finetune.batch import on_device, weighted
from cxrssl.finetune.pseudo_boxes import PseudoBoxes, PseudoBoxLog, no_boxes
from cxrssl.finetune.setup import Setup
from cxrssl.models.backbone import body_maps
from cxrssl.models.batch_norm import statistics_kept
from cxrssl.models.detector import detector_input
from cxrssl.run.log import Log
from cxrssl.run.processes import gather_round_robin
from cxrssl.run.progress import TimedBatches
from cxrssl.run.seed import image_seeds
from cxrssl.ssl.gather import all_processes

_LEAST_SIDE_PX = 1.0


class Teacher:
    """The average of a student's weights, and the images without labels that it looks at.

    Attributes:
        batches: Two views of those images, and how long the loop has waited for them.
    """

    def __init__(self, setup: Setup, recipe: FinetuneRecipe, *, steps_done: int) -> None:
        section, unlabelled = recipe.unlabelled, setup.unlabelled
        assert section is not None
        assert unlabelled is not None
        assert setup.average is not None
        self._setup, self._recipe, self._section = setup, recipe, section
        self._normal, self._teacher = unlabelled.normal, setup.average
        batches = unlabelled.plan.batches(
            from_step=max(0, steps_done - section.burn_in_steps),
            rank=setup.accelerator.process_index,
            num_processes=setup.accelerator.num_processes,
        )
        workers = recipe.data.num_workers
        self.batches = TimedBatches(
            unlabelled_loader(unlabelled.images, batches, num_workers=workers)
        )
        self._log = PseudoBoxLog(unlabelled, setup.store.classes, threshold=section.threshold)

    def backward(self, network: nn.Module, *, step: int) -> dict[str, Tensor]:
        """Add the gradient of a step's images without labels, and return its weighted losses.

        There are none before the burn-in is over. Every process must call it.

        Args:
            network: The student as accelerate has prepared it.
            step: Steps that are done.
        """
        section = self._section
        if step < section.burn_in_steps:
            return {}
        views = next(self.batches)
        found, teacher_rows = self._look(views)
        found = self._counted(views, found)
        self._log.add(views, found)
        shown = [strong_view(view, one) for view, one in zip(views, found, strict=True)]
        ramp = ramp_at(section, step)
        losses = {
            f"unlabelled_{name}": ramp * section.weight * loss
            for name, loss in self._losses(network, views, shown, step).items()
        }
        if section.relation_weight > 0:
            student = self._setup.detector.model
            with statistics_kept(student):
                student_rows = self._rows(student, [pixels for pixels, _ in shown])
            relation = relation_loss(all_processes(student_rows), all_processes(teacher_rows))
            losses["unlabelled_relation"] = ramp * section.relation_weight * relation
        self._setup.accelerator.backward(sum(losses.values()))
        counted = (*self._setup.detector.family.CLASS_LOSSES, "relation")
        return {
            name: losses[name]
            for name in (f"unlabelled_{part}" for part in counted)
            if name in losses
        }

    def log_if_due(self, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log what the pseudo boxes of the last step were worth; every process must call it."""
        self._log.write_if_due(self._setup.accelerator, log, steps_done=steps_done, epoch=epoch)

    @torch.no_grad()
    def _look(self, views: Sequence[TwoViews]) -> tuple[list[PseudoBoxes], Tensor]:
        """Return what the teacher finds in weak views, and its features of them [B, D]."""
        weak = [view.weak for view in views]
        found = [
            pseudo_boxes(detections, threshold=self._section.threshold)
            for detections in self._teacher(self._inputs(weak))
        ]
        if self._section.relation_weight > 0:
            return found, self._rows(self._teacher, weak)
        return found, torch.empty(0)

    def _counted(self, views: list[TwoViews], found: list[PseudoBoxes]) -> list[PseudoBoxes]:
        """Return the boxes that count: none on films known to be normal, others if shuffled."""
        setup = self._setup
        if self._section.pseudo_boxes == "shuffled":
            rank, num_processes = setup.accelerator.process_index, setup.accelerator.num_processes
            found = of_next_image(found, rank=rank, num_processes=num_processes)
        normal = [self._normal[view.place] for view in views]
        return [no_boxes() if quiet else one for one, quiet in zip(found, normal, strict=True)]

    def _losses(
        self,
        network: nn.Module,
        views: list[TwoViews],
        shown: list[tuple[Tensor, Target]],
        step: int,
    ) -> dict[str, Tensor]:
        """Return the student's losses on strong views, those of box sides times zero.

        Args:
            network: The student as accelerate has prepared it.
            views: Both views of the images of this process.
            shown: Their strong views as the student sees them, with the boxes that count.
            step: Steps that are done.
        """
        setup = self._setup
        rank, num_processes = setup.accelerator.process_index, setup.accelerator.num_processes
        normal = [self._normal[view.place] for view in views]
        counted = [
            place
            for place, (_, target) in enumerate(shown)
            if len(target["labels"]) or normal[place]
        ]
        # A process without any takes part all the same: the others wait for its gradient.
        places = counted or [0]
        # Their positions follow those of the labelled images of the global batch.
        first = self._recipe.batch_size + rank
        positions = [first + place * num_processes for place in places]
        seeds = image_seeds(self._recipe.seed, step, positions)
        setup.detector.family.seed_samples(setup.detector.model, seeds)
        batch = [shown[place][0] for place in places], [shown[place][1] for place in places]
        pixels, targets = on_device(batch, setup.accelerator.device)
        # An image that does not count moves no statistics of BatchNorm either.
        with statistics_kept(setup.detector.model, kept=not counted):
            losses = network(detector_input(pixels), targets)
        losses = weighted(setup.accelerator, setup.detector, losses, targets, counts=bool(counted))
        kinds = setup.detector.family.CLASS_LOSSES
        return {name: loss if name in kinds else 0 * loss for name, loss in losses.items()}

    def _inputs(self, images: Sequence[Tensor]) -> list[Tensor]:
        return detector_input([image.to(self._setup.accelerator.device) for image in images])

    def _rows(self, model: nn.Module, images: Sequence[Tensor]) -> Tensor:
        """Return the last map of a detector's body, averaged over places, [B, D]."""
        family = self._setup.detector.family
        with self._setup.accelerator.autocast():
            maps = body_maps(family.body(model), family.body_input(model, self._inputs(images)))
        *_, last = maps.values()
        return last.float().mean(dim=(2, 3))


def ramp_at(section: UnlabelledSection, step: int) -> float:
    """Return the share of their full weight that images without labels have at a step."""
    if section.ramp_steps == 0:
        return 1.0
    return min(1.0, max(0, step - section.burn_in_steps + 1) / section.ramp_steps)


def pseudo_boxes(detections: dict[str, Tensor], *, threshold: float) -> PseudoBoxes:
    """Return the detections of an image that score a threshold or more."""
    strong = detections["scores"] >= threshold
    boxes = detections["boxes"][strong].float().cpu().numpy()
    return PseudoBoxes(boxes, detections["labels"][strong].cpu().numpy())


def of_next_image(found: list[PseudoBoxes], *, rank: int, num_processes: int) -> list[PseudoBoxes]:
    """Give each image of the global batch the boxes of the next; every process must call it."""
    everywhere = gather_round_robin(found, num_processes=num_processes)
    return (everywhere[1:] + everywhere[:1])[rank::num_processes]


def strong_view(view: TwoViews, found: PseudoBoxes) -> tuple[Tensor, Target]:
    """Return a strong view [1, H, W] uint8 with its squares, and boxes of the weak view in it.

    A box whose middle is beyond the view's edge is left out, and so is one of less than a pixel.
    """
    pixels = view.strong[0].numpy().copy()
    height, width = pixels.shape
    boxes = view.to_strong.boxes(found.boxes)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxes = clipped(boxes, width_px=width, height_px=height)
    is_shown = np.all((middles >= 0) & (middles <= (width, height)), axis=1)
    is_shown &= np.all(boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE_PX, axis=1)
    boxes, labels = boxes[is_shown], found.labels[is_shown]
    pixels = cut_out(pixels, cut_squares(view.squares, boxes))
    target = Target(boxes=torch.from_numpy(boxes), labels=torch.from_numpy(labels))
    return torch.from_numpy(pixels)[None], target


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how much the likenesses of the images of a batch differ, student from teacher.

    The likenesses of an image with all others, the Gram matrix of their features, are a row of unit
    length; differences are squared and summed, and divided by the number of images.

    Args:
        student: [B, D] features of each image.
        teacher: [B, D] of the same images; no gradient reaches it.

    Source: Liu et al., arXiv 2005.07377, equations 3 to 5.
    """
    rows = [functional.normalize(one @ one.T, dim=1) for one in (student, teacher.detach())]
    return ((rows[0] - rows[1]) ** 2).sum() / len(student)
