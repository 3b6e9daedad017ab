"""`cxrssl finetune`: a detector on the labelled share of a store, from any start.

Shapes: B images in this process's slice of a batch, C = 3 channels, H and W pixels of the store.
"""

from pathlib import Path
from typing import Any, Literal

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.loaders import detection_loader
from cxrssl.data.shared_memory import shared_memory_faults
from cxrssl.evaluate.original import in_original_px, write_predictions
from cxrssl.finetune.batch import checked, on_device, seed_step, weighted
from cxrssl.finetune.counts import label_counts
from cxrssl.finetune.gate import add_gate, with_record
from cxrssl.finetune.layer_rates import detector_optimizer
from cxrssl.finetune.pseudo_boxes import summary
from cxrssl.finetune.setup import Setup, set_up
from cxrssl.finetune.similarity import Similarity
from cxrssl.finetune.teacher import Teacher
from cxrssl.finetune.validation import Validation
from cxrssl.models.detector import detector_input
from cxrssl.models.detector_folder import load_detector, save_detector
from cxrssl.run.average import move_average
from cxrssl.run.log import Log, read_log
from cxrssl.run.memory import memory_faults
from cxrssl.run.processes import clip_gradients, leave_process_group
from cxrssl.run.progress import TimedBatches, training_progress
from cxrssl.run.schedule import set_lr


@memory_faults("Lower batch_size, or share the batch out among more processes.")
@shared_memory_faults()
def finetune(recipe: FinetuneRecipe, out: Path, *, resume: bool) -> Path:
    """Train a detector, score it on the test split, and return its folder.

    Raises:
        CxrsslError: If the store, its boxes, the run folder or initial weights can't be used.
    """
    setup, optim, every = set_up(recipe, out, resume=resume), recipe.optim, recipe.log_every_steps
    accelerator, detector, model = setup.accelerator, setup.detector, setup.detector.model
    run, plan, checkpoints = setup.run, setup.batch_plan, setup.checkpoints
    rank, num_processes = accelerator.process_index, accelerator.num_processes
    optimizer = detector_optimizer(detector, recipe)
    step = checkpoints.restore(model, optimizer)
    teacher = None if recipe.unlabelled is None else Teacher(setup, recipe, steps_done=step)
    Similarity(setup.store, setup.splits.train, run).keep_start(detector, steps_done=step)
    batches = plan.batches(from_step=step, rank=rank, num_processes=num_processes)
    loader = TimedBatches(
        detection_loader(setup.images, batches, num_workers=recipe.data.num_workers)
    )
    loaders = [loader] if teacher is None else [loader, teacher.batches]
    log = Log(run.log, every, num_steps=plan.num_steps, steps_done=step, writes=run.writes)
    network, optimizer = accelerator.prepare(model, optimizer)
    validation = Validation(setup, recipe)
    validation.check_first(steps_done=step)
    network.train()

    with training_progress("finetune", log, *loaders, shown=run.writes) as meter:
        for epoch in plan.epochs(from_step=step):
            for _ in plan.steps_of(epoch, from_step=step):
                set_lr(optimizer, lr := setup.rate.at(step))
                pixels, targets = on_device(next(loader), accelerator.device)
                seed_step(detector, recipe, step, accelerator)
                losses = network(detector_input(pixels), targets)
                losses = weighted(accelerator, detector, losses, targets)
                accelerator.backward(sum(losses.values()))
                if teacher is not None:
                    losses |= teacher.backward(network, step=step)
                clip_gradients(accelerator, network, optim.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)  # gradients keep their place in memory
                step += 1
                if setup.average is not None and recipe.ema is not None:
                    decay = recipe.ema.decay
                    move_average(setup.average, model, decay=decay, steps_done=step)
                losses = checked(accelerator, losses, steps_done=step)
                log.write_losses_if_due(losses, steps_done=step, epoch=epoch, lr=lr)
                if teacher is not None:
                    teacher.log_if_due(log, steps_done=step, epoch=epoch)
                validation.log_if_due(log, steps_done=step, epoch=epoch)
                checkpoints.save_if_due(model, optimizer, losses, steps_done=step)
                meter.at(step, f"epoch {epoch + 1}/{plan.num_epochs}")
    return finish(setup, validation, keep=recipe.keep)


def finish(setup: Setup, validation: Validation, *, keep: Literal["last", "best"]) -> Path:
    """Write the detector that is kept, score what was written on the test split, end the run."""
    run, splits, accelerator = setup.run, setup.splits, setup.accelerator
    snapshot = validation.snapshot()
    kept = load_detector(run.best) if keep == "best" else snapshot
    kept, gate = add_gate(setup, validation.recipe.gate, kept)
    if run.writes:
        save_detector(kept, run.detector)
    accelerator.wait_for_everyone()
    written = load_detector(run.detector)
    written.model.to(accelerator.device)
    detections = validation.detect(written, splits.test)
    leave_process_group()
    if run.writes:
        boxes = in_original_px(detections, splits.test, setup.store)
        write_predictions(run.path / "predictions.json", boxes, splits.test, setup.store)
        counts = label_counts(splits.train, fusion=validation.recipe.data.fusion)
        used: dict[str, Any] = {"usage": splits.usage.as_json()}
        if setup.unlabelled is not None:
            worth = {"pseudo_boxes": summary(read_log(run.path))}
            used["unlabelled"] = setup.unlabelled.as_json() | worth
        moved = Similarity(setup.store, splits.train, run).since_start(written)
        scores = with_record(validation.scores(splits.test, detections), gate)
        run.finish(scores | counts | used | moved)
    return run.detector
