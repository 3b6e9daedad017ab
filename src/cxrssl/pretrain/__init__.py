"""`cxrssl pretrain`: any method on the unlabelled pool of a store, to a backbone that timm opens.

Shapes: B images in this process's slice of a batch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from cxrssl.config.load import renew_run_recipe, to_yaml
from cxrssl.config.schema import PretrainRecipe
from cxrssl.data.licence_terms import data_record
from cxrssl.data.loaders import PoolImages, pool_loader
from cxrssl.data.sampling import Visit
from cxrssl.data.shared_memory import shared_memory_faults
from cxrssl.data.store import Store
from cxrssl.models.backbone import save_backbone, sync_batch_norm
from cxrssl.pretrain.gradient import Gradient, chunk_that_fits
from cxrssl.pretrain.health import ends_of, health_check
from cxrssl.pretrain.pool import assumption, notes, pool_images, pool_usage
from cxrssl.pretrain.preview import write_training_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import RunFolder, check_run, open_run
from cxrssl.run.log import Log, read_log
from cxrssl.run.memory import allocate_gradients, memory_faults
from cxrssl.run.optimizer import build_optimizer
from cxrssl.run.processes import Accelerator, clip_gradients, leave_process_group, start_accelerator
from cxrssl.run.progress import TimedBatches, say, training_progress
from cxrssl.run.provenance import provenance
from cxrssl.run.schedule import LearningRate, set_lr
from cxrssl.ssl.pretext import Pretext

Model = TypeVar("Model", bound=nn.Module)


@memory_faults("Lower max_chunk_images, or choose a smaller model or views.size_px.")
@shared_memory_faults()
def pretrain(recipe: PretrainRecipe, out: Path, *, resume: bool) -> Path:
    """Train an encoder by the recipe's method; return the folder of its backbone, in timm's format.

    Raises:
        CxrsslError: If the store, the pool, the run folder or a start can't be used.
    """
    accelerator = start_accelerator(recipe.precision, batch_size=recipe.batch_size)
    rank, is_main = accelerator.process_index, accelerator.is_main_process
    device, num_processes = accelerator.device, accelerator.num_processes
    check_folder(out, recipe, resume=resume, writes=is_main)
    store, optim, every = Store(recipe.data.store), recipe.optim, recipe.log_every_steps
    images, plan = pool_images(store, recipe)
    drops, num_steps = plan.first_steps_of(optim.drop_epochs), plan.num_steps
    rate = LearningRate(optim.schedule, optim.peak_lr, optim.warmup_steps, num_steps, drops)
    checkpoints = Checkpoints(
        out / "checkpoints", recipe.checkpoint_every_steps, num_steps, is_main, accelerator.scaler
    )
    pretext, transfers = build_pretext(recipe, is_resumed=resume and checkpoints.exist())
    run = open_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    write_record(run, accelerator, images, recipe, transfers)
    write_training_images(run, images, plan, recipe)
    model, chunk = on_device(
        pretext, accelerator, recipe, images[Visit(0, 0)], chunk_bound=run.read_chunk_size()
    )
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    step = checkpoints.restore(model, optimizer)
    batches = plan.batches(from_step=step, rank=rank, num_processes=num_processes)
    loader = TimedBatches(
        pool_loader(images, batches, recipe.data.num_workers, pin=device.type == "cuda")
    )
    log = Log(run.log, every, num_steps=num_steps, steps_done=step, writes=is_main)
    health = health_check(
        images, plan, recipe, pretext.couples, rank=rank, num_processes=num_processes
    )
    network, optimizer = accelerator.prepare(model, optimizer)
    gradient = Gradient(
        accelerator, network, pretext, images.intensity, recipe.seed, chunk, run.write_chunk_size
    )
    network.train()
    health.log_start(pretext.encoder, log, steps_done=step)
    say(assumption(recipe) or "", shown=is_main and assumption(recipe) is not None)

    with training_progress("pretrain", log, loader, shown=is_main) as meter:
        for epoch in plan.epochs(from_step=step):
            for _ in plan.steps_of(epoch, from_step=step):
                set_lr(optimizer, lr := rate.at(step))
                batch = {k: part.to(device, non_blocking=True) for k, part in next(loader).items()}
                losses = gradient.backward(batch, step=step)
                clip_gradients(accelerator, network, optim.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)  # see `on_device`
                step += 1
                pretext.after_step(step / num_steps)
                log.write_losses_if_due(losses, steps_done=step, epoch=epoch, lr=lr)
                health.log_if_due(pretext.encoder, log, steps_done=step, epoch=epoch)
                checkpoints.save_if_due(model, optimizer, losses, steps_done=step)
                meter.at(step, f"epoch {epoch + 1}/{plan.num_epochs}")
    return finish(run, pretext, recipe, log, images, gradient.chunk_images)


def check_folder(out: Path, recipe: PretrainRecipe, *, resume: bool, writes: bool) -> None:
    """Check that a run can begin or go on in a folder, one that an earlier version began as well.

    Raises:
        RunError: If it can't.
    """
    if resume and writes:
        renew_run_recipe(out, PretrainRecipe)
    check_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=writes)


def write_record(
    run: RunFolder,
    accelerator: Accelerator,
    images: PoolImages,
    recipe: PretrainRecipe,
    transfers: dict[str, Any] | None,
) -> None:
    """Write what the run is made of, and say which images its pool has and leaves out.

    Raises:
        RunError: If the run has a checkpoint of other data.
    """
    usage = pool_usage(images.store, recipe, images.ids)
    data = data_record(images.store, {"pool": images.ids}) | {"usage": usage.as_json()}
    run.write_provenance(transfer=transfers, provenance=provenance(accelerator, data=data))
    for line in [*usage.lines(), *notes(images, recipe)]:
        say(line, shown=run.writes)


def on_device(
    model: Model,
    accelerator: Accelerator,
    recipe: PretrainRecipe,
    item: Mapping[str, Tensor],
    *,
    chunk_bound: int | None,
) -> tuple[Model, int]:
    """Put a method where it is trained, and find how many images it can take there at once.

    Args:
        model: The method.
        accelerator: Device and processes of the run.
        recipe: The run's recipe.
        item: An item of the pool, any will do.
        chunk_bound: Most images that fitted into memory earlier in this run, None if all did.
    """
    model.to(accelerator.device)
    model.train()
    batch_images = recipe.batch_size // accelerator.num_processes
    chunk = chunk_that_fits(
        accelerator,
        model,
        num_images=min(
            batch_images, recipe.max_chunk_images or batch_images, chunk_bound or batch_images
        ),
        item=item,
        intensity=recipe.intensity.treatment,
    )
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        model = sync_batch_norm(model)  # torch has none for CPUs
    if recipe.compile:
        model.compile()
    allocate_gradients(model)
    return model, chunk


def finish(
    run: RunFolder,
    pretext: Pretext,
    recipe: PretrainRecipe,
    log: Log,
    images: PoolImages,
    chunk_images: int,
) -> Path:
    """Write the backbone and end the run."""
    leave_process_group()
    if run.writes:
        name, chance = recipe.method.name, pretext.chance_loss(recipe.batch_size)
        save_backbone(
            pretext.encoder,
            run.backbone,
            tag=f"{name}_cxr",
            size_px=recipe.views.size_px,
            intensity=images.intensity,
            fit=images.store.manifest["fit"],
        )
        run.finish(
            {
                "method": {"name": name, "title": pretext.title, "paper": pretext.paper},
                "loss": log.history("loss")[-1],
                **({} if chance is None else {"chance_loss": chance}),
                **ends_of(read_log(run.log.parent)),
                **({} if images.pairs is None else {"positives": images.pairs.as_json()}),
                "num_images": len(images.rows),
                "num_steps": log.num_steps,
                "chunk_images": chunk_images,
            }
        )
    return run.backbone
