"""`cxrssl finetune`: a detector on the labelled share of a store, from any start.

Shapes: B images in this process's slice of a batch, C = 3 channels, H and W pixels of the store.
"""

from pathlib import Path
from typing import Literal

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.licence_terms import data_record
from cxrssl.data.loaders import detection_loader
from cxrssl.data.shared_memory import shared_memory_faults
from cxrssl.data.store import Store
from cxrssl.evaluate.original import in_original_px, write_predictions
from cxrssl.finetune.batch import checked, on_device, seed_step, weighed
from cxrssl.finetune.labels import labels_of, training_images
from cxrssl.finetune.start import start_detector
from cxrssl.finetune.validation import Validation
from cxrssl.models.detector import detector_input
from cxrssl.models.detector_folder import load_detector, save_detector
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import RunFolder, check_run, open_run
from cxrssl.run.log import Log
from cxrssl.run.memory import memory_faults
from cxrssl.run.optimizer import build_optimizer
from cxrssl.run.processes import clip_gradients, leave, start_accelerator
from cxrssl.run.progress import TimedBatches, training_progress
from cxrssl.run.provenance import provenance
from cxrssl.run.schedule import LearningRate, set_lr


@memory_faults("Lower batch_size, or share the batch out among more processes.")
@shared_memory_faults()
def finetune(recipe: FinetuneRecipe, out: Path, *, resume: bool) -> Path:
    """Train a detector, score it on the test split, and return its folder.

    Raises:
        CxrsslError: If the store, the labels, the run folder or a start can't be used.
    """
    accelerator = start_accelerator(recipe.precision, batch_size=recipe.batch_size)
    rank, is_main = accelerator.process_index, accelerator.is_main_process
    num_processes, device = accelerator.num_processes, accelerator.device
    store, optim, every = Store(recipe.data.store), recipe.optim, recipe.log_every_steps
    labels = labels_of(store, recipe)
    images, plan = training_images(store, labels.train, recipe)
    drops = plan.starts_of(optim.drop_epochs)
    rate = LearningRate(optim.schedule, optim.peak_lr, optim.warmup_steps, plan.num_steps, drops)
    check_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    checkpoints = Checkpoints(
        out / "checkpoints", recipe.checkpoint_every_steps, is_main, accelerator.scaler
    )
    detector, transfers = start_detector(
        recipe, store, images, device, is_resumed=resume and checkpoints.exist()
    )
    model = detector.model
    run = open_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    run.write_start(
        transfer=transfers, provenance=provenance(accelerator, data=data_record(store, labels.ids))
    )
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    step = checkpoints.restore(model, optimizer)
    batches = plan.batches(from_step=step, rank=rank, num_processes=num_processes)
    loader = TimedBatches(detection_loader(images, batches, num_workers=recipe.data.num_workers))
    log = Log(run.log, every, num_steps=plan.num_steps, steps_done=step, writes=is_main)
    network, optimizer = accelerator.prepare(model, optimizer)
    validation = Validation(accelerator, detector, store, labels, plan, recipe, run)
    validation.try_out(steps_done=step)
    network.train()

    with training_progress("finetune", log, loader, shown=is_main) as meter:
        for epoch in plan.epochs(from_step=step):
            for _ in plan.steps_of(epoch, from_step=step):
                set_lr(optimizer, lr := rate.at(step))
                pixels, targets = on_device(next(loader), device)
                seed_step(detector, recipe, step, accelerator)
                losses = network(detector_input(pixels), targets)
                losses = weighed(accelerator, detector, losses, targets)
                accelerator.backward(sum(losses.values()))
                clip_gradients(accelerator, network, optim.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)  # gradients keep their place in memory
                step += 1
                losses = checked(accelerator, losses, steps_done=step)
                log.losses_if_due(losses, steps_done=step, epoch=epoch, lr=lr)
                validation.log_if_due(log, steps_done=step, epoch=epoch)
                checkpoints.save_if_due(model, optimizer, losses, steps_done=step)
                meter.at(step, f"epoch {epoch + 1}/{plan.num_epochs}")
    return finish(run, validation, keep=recipe.keep)


def finish(run: RunFolder, validation: Validation, *, keep: Literal["last", "best"]) -> Path:
    """Write the detector that is kept, score what was written on the test split, end the run."""
    labels, accelerator = validation.labels, validation.accelerator
    snapshot = validation.snapshot()
    if run.writes:
        save_detector(load_detector(run.best) if keep == "best" else snapshot, run.detector)
    accelerator.wait_for_everyone()
    written = load_detector(run.detector)
    written.model.to(accelerator.device)
    found = validation.detect(written, labels.test)
    leave()
    if run.writes:
        boxes = in_original_px(found, labels.test, validation.store)
        write_predictions(run.path / "predictions.json", boxes, labels.test, validation.store)
        counts = {
            "train_images": len(labels.train),
            "train_boxes": sum(len(example.boxes) for example in labels.train),
        }
        run.finish(validation.scores(labels.test, found) | counts)
    return run.detector
