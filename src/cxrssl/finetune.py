"""`cxrssl finetune`: a Faster R-CNN on the labelled share of a store, from any start.

Shapes: B images in this process's slice of a batch, C = 3 channels, H and W pixels of the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import FasterRCNN

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.files import write_json
from cxrssl.core.images import Intensity
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.loaders import Batch, DetectionImages, Target, detection_loader
from cxrssl.data.protocol import labelled_ids
from cxrssl.data.sampling import BatchPlan, repeat_factors
from cxrssl.data.store import Store
from cxrssl.evaluate import as_coco, detect, score, scores_of
from cxrssl.models.backbone import imagenet_weights
from cxrssl.models.detector import (
    DetectorSettings,
    build_detector,
    detector_input,
    save_detector,
    settle_norm,
)
from cxrssl.models.starts import run_start
from cxrssl.models.weights import transfer
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import RunFolder, open_run
from cxrssl.run.log import Log
from cxrssl.run.optimizer import build_optimizer
from cxrssl.run.progress import progress
from cxrssl.run.provenance import provenance
from cxrssl.run.schedule import LearningRate, set_lr
from cxrssl.run.seed import INITIALISATION, STEP, seed_torch
from cxrssl.run.start import clip_gradients, start_accelerator


def finetune(recipe: FinetuneRecipe, out: Path, *, resume: bool) -> Path:
    """Train a detector, score it on the test split, and return its folder.

    Raises:
        CxrsslError: If the store, the labels, the run folder or a start can't be used.
    """
    accelerator = start_accelerator(recipe.precision, batch_size=recipe.batch_size)
    rank, is_main = accelerator.process_index, accelerator.is_main_process
    store, optim = Store(recipe.data.store), recipe.optim
    train, val, test = labelled_splits(store, recipe)
    images, plan = training_images(store, train, recipe)
    settings = detector_settings(recipe, classes=store.classes)
    model, transfers = build_model(recipe, settings)
    run = open_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    run.write_start(
        transfer=transfers, provenance=provenance(accelerator, data_fingerprint=store.fingerprint)
    )
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    rate = LearningRate(optim.schedule, optim.peak_lr, optim.warmup_steps, plan.num_steps)
    checkpoints = Checkpoints(
        run.checkpoints, recipe.checkpoint_every_steps, is_main, accelerator.scaler
    )
    step = checkpoints.restore(model, optimizer)
    batches = plan.batches(from_step=step, rank=rank, num_processes=accelerator.num_processes)
    loader = iter(detection_loader(images, batches, num_workers=recipe.data.num_workers))
    every = recipe.log_every_steps
    log = Log(run.log, every, num_steps=plan.num_steps, steps_done=step, writes=is_main)
    network, optimizer = accelerator.prepare(model, optimizer)
    validation = Validation(store, val, settings.intensity, recipe.validate_every_epochs, is_main)
    network.train()

    with progress("finetune", total=plan.num_steps, done=step, shown=is_main) as meter:
        for epoch in plan.epochs(from_step=step):
            for _ in plan.steps_of(epoch, from_step=step):
                seed_torch(recipe.seed, STEP, step, rank)
                lr = rate.at(step)
                set_lr(optimizer, lr)
                pixels, targets = on_device(next(loader), accelerator.device)
                losses = network(detector_input(pixels), targets)
                accelerator.backward(sum(losses.values()))
                clip_gradients(accelerator, network, optim.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                step += 1
                log.losses_if_due(losses, steps_done=step, epoch=epoch, lr=lr)
                checkpoints.save_if_due(model, optimizer, steps_done=step)
                meter.at(step, f"epoch {epoch + 1}/{plan.num_epochs}")
            validation.score_if_due(model, log, steps_done=step, epoch=epoch)
    return finish(run, model, settings, store, train=train, test=test)


@dataclass(frozen=True)
class Validation:
    """Scores on the validation split while a run goes on; one process of a run does it.

    Attributes:
        store: Where the images are.
        examples: The split.
        intensity: How grey levels reach the detector.
        every_epochs: How often it is due; None is never.
        scores: Whether this process is the one that does it.
    """

    store: Store
    examples: Sequence[Example]
    intensity: Intensity
    every_epochs: int | None
    scores: bool

    def score_if_due(self, model: FasterRCNN, log: Log, *, steps_done: int, epoch: int) -> None:
        """Log AP, AP50 and AR100 after every `every_epochs` epochs."""
        if self.every_epochs is None or (epoch + 1) % self.every_epochs or not self.scores:
            return
        device = next(model.parameters()).device
        found = score(model, self.store, self.examples, intensity=self.intensity, device=device)
        names = ("AP", "AP50", "AR100")
        values = {f"val_{name}": found["metrics"][name]["value"] for name in names}
        log.write(values, steps_done=steps_done, epoch=epoch)


def labelled_splits(
    store: Store, recipe: FinetuneRecipe
) -> tuple[list[Example], list[Example], list[Example]]:
    """Return the labelled share of the training split, the validation and the test split.

    Raises:
        DataError: If one that is needed is empty.
    """
    data = recipe.data
    examples = examples_of(store, fusion=data.fusion, iou=data.consensus_iou)
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    train = {e.image_id: e for e in in_split(examples, splits, "train")}
    ids = [name for name in splits if name in train]
    seen = set(
        labelled_ids(ids, fraction=data.label_fraction, seed=recipe.seed, protocol=data.protocol)
    )
    validates = recipe.validate_every_epochs is not None
    return (
        [example for name, example in train.items() if name in seen],
        in_split(examples, splits, "val") if validates else [],
        in_split(examples, splits, "test"),
    )


def training_images(
    store: Store, train: list[Example], recipe: FinetuneRecipe
) -> tuple[DetectionImages, BatchPlan]:
    """Return the training images and the plan of their batches, with repeat-factor sampling."""
    threshold = recipe.data.oversample_threshold
    factors = None
    if threshold is not None:
        factors = repeat_factors([example.labels for example in train], threshold=threshold)
    plan = BatchPlan(
        len(train),
        batch_size=recipe.batch_size,
        num_epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
        factors=factors,
        rounding=recipe.data.oversample_rounding,
    )
    intensity = Intensity(**recipe.intensity.model_dump())
    return DetectionImages(store, train, intensity, recipe.data.flip_probability, recipe.seed), plan


def detector_settings(recipe: FinetuneRecipe, *, classes: tuple[str, ...]) -> DetectorSettings:
    """Return what shapes the recipe's detector for a store of these classes."""
    return DetectorSettings(
        classes=classes,
        protocol=recipe.data.protocol,
        size_px=recipe.size_px,
        intensity=Intensity(**recipe.intensity.model_dump()),
        **recipe.model.model_dump(),
    )


def build_model(
    recipe: FinetuneRecipe, settings: DetectorSettings
) -> tuple[FasterRCNN, dict[str, Any]]:
    """Return the detector at its start, and the audit of what it starts from.

    Raises:
        TransferError: If weights do not arrive whole, or were trained on other grey levels.
    """
    seed_torch(recipe.seed, INITIALISATION)
    model = build_detector(settings)
    body, init = model.backbone.body, recipe.init
    transfers = []
    if init.start == "imagenet":
        weights = imagenet_weights(settings.backbone)
        transfers.append(transfer(body, weights, source="timm ImageNet").as_json())
    if init.backbone is not None:
        weights, source = run_start(
            init.backbone, architecture=settings.backbone, intensity=settings.intensity
        )
        transfers.append(transfer(body, weights, source=source).as_json())
    settle_norm(model, settings.norm)
    model.to(memory_format=torch.channels_last)  # measured: 7 % less time a step
    return model, {"start": init.start, "transfers": transfers}


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move images and targets to a device."""
    images, targets = batch
    moved = [Target(boxes=t["boxes"].to(device), labels=t["labels"].to(device)) for t in targets]
    return [image.to(device) for image in images], moved


def finish(
    run: RunFolder,
    model: FasterRCNN,
    settings: DetectorSettings,
    store: Store,
    *,
    train: list[Example],
    test: list[Example],
) -> Path:
    """Write the detector, score it on the test split, and end the run."""
    if run.writes:
        save_detector(model, settings, run.detector)
        device = next(model.parameters()).device
        found = detect(model, store, test, intensity=settings.intensity, device=device)
        write_json(run.path / "predictions.json", as_coco(found, test))
        counts = {
            "split": "test",
            "train_images": len(train),
            "train_boxes": sum(len(example.boxes) for example in train),
        }
        run.finish(scores_of(found, test, classes=store.classes) | counts)
    return run.detector
