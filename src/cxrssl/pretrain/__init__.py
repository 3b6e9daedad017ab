"""`cxrssl pretrain`: SimCLR on the unlabelled pool of a store, to a backbone that plain timm opens.

Shapes: B images in this process's slice of a batch.
"""

import math
from pathlib import Path

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import PretrainRecipe
from cxrssl.data.licence_terms import data_record
from cxrssl.data.loaders import ViewPairs, view_loader
from cxrssl.data.shared_memory import shared_memory_faults
from cxrssl.data.store import Store
from cxrssl.models.backbone import save_backbone, sync_batch_norm
from cxrssl.pretrain.contrast import Contrast, chunk_that_fits
from cxrssl.pretrain.health import health_check
from cxrssl.pretrain.pool import assumed, pool_views
from cxrssl.pretrain.start import build_model
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import RunFolder, check_run, open_run
from cxrssl.run.log import Log
from cxrssl.run.memory import memory_faults, place_gradients
from cxrssl.run.optimizer import build_optimizer
from cxrssl.run.processes import Accelerator, clip_gradients, leave, start_accelerator
from cxrssl.run.progress import progress, say
from cxrssl.run.provenance import provenance
from cxrssl.run.schedule import LearningRate, set_lr
from cxrssl.ssl.simclr import SimCLR


@memory_faults("Lower max_chunk_images, or choose a smaller model or views.size_px.")
@shared_memory_faults()
def pretrain(recipe: PretrainRecipe, out: Path, *, resume: bool) -> Path:
    """Train a SimCLR encoder and return the folder of its backbone, in timm's format.

    Raises:
        CxrsslError: If the store, the pool, the run folder or a start can't be used.
    """
    accelerator = start_accelerator(recipe.precision, batch_size=recipe.batch_size)
    rank, is_main = accelerator.process_index, accelerator.is_main_process
    device, num_processes = accelerator.device, accelerator.num_processes
    store, optim, every = Store(recipe.data.store), recipe.optim, recipe.log_every_steps
    views, plan = pool_views(store, recipe)
    drops = plan.starts_of(optim.drop_epochs)
    rate = LearningRate(optim.schedule, optim.peak_lr, optim.warmup_steps, plan.num_steps, drops)
    check_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    checkpoints = Checkpoints(
        out / "checkpoints", recipe.checkpoint_every_steps, is_main, accelerator.scaler
    )
    model, transfers = build_model(recipe, is_resumed=resume and checkpoints.exist())
    run = open_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    made_with = provenance(accelerator, data=data_record(store, {"pool": views.ids}))
    run.write_start(transfer=transfers, provenance=made_with)
    model, chunk = on_device(model, accelerator, recipe, chunk_bound=run.chunk_bound())
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    step = checkpoints.restore(model, optimizer)
    batches = plan.batches(from_step=step, rank=rank, num_processes=num_processes)
    loader = iter(view_loader(views, batches, recipe.data.num_workers, pin=device.type == "cuda"))
    log = Log(run.log, every, num_steps=plan.num_steps, steps_done=step, writes=is_main)
    health = health_check(views, plan, recipe.health_images, seed=recipe.seed, measures=is_main)
    network, optimizer = accelerator.prepare(model, optimizer)
    contrast = Contrast(
        accelerator,
        network,
        views.intensity,
        recipe.method.temperature,
        recipe.seed,
        chunk,
        run.remember_chunk,
    )
    network.train()
    health.log_start(model, log, steps_done=step)
    say(assumed(recipe) or "", shown=is_main and assumed(recipe) is not None)

    with progress("pretrain", total=plan.num_steps, done=step, shown=is_main) as meter:
        for epoch in plan.epochs(from_step=step):
            for _ in plan.steps_of(epoch, from_step=step):
                lr = rate.at(step)
                set_lr(optimizer, lr)
                pixels = next(loader).to(device, non_blocking=True)  # [B, 2, 1, H, W] uint8
                losses = {"loss": contrast.backward(pixels, step=step)}
                clip_gradients(accelerator, network, optim.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)  # see `on_device`
                step += 1
                log.losses_if_due(losses, steps_done=step, epoch=epoch, lr=lr)
                health.log_if_due(model, log, steps_done=step, epoch=epoch)
                checkpoints.save_if_due(model, optimizer, losses, steps_done=step)
                meter.at(step, f"epoch {epoch + 1}/{plan.num_epochs}")
    return finish(run, model, recipe, log, views, contrast.chunk_images)


def on_device(
    model: SimCLR, accelerator: Accelerator, recipe: PretrainRecipe, *, chunk_bound: int | None
) -> tuple[SimCLR, int]:
    """Put the model where it is trained, and find how many images it can embed there at once."""
    model.to(accelerator.device)
    model.train()
    share = recipe.batch_size // accelerator.num_processes
    chunk = chunk_that_fits(
        accelerator,
        model,
        wanted=min(share, recipe.max_chunk_images or share, chunk_bound or share),
        size_px=recipe.views.size_px,
        intensity=recipe.intensity.treatment,
    )
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        model = sync_batch_norm(model)  # torch has none for CPUs
    if recipe.compile:
        model.compile()
    place_gradients(model)
    return model, chunk


def finish(
    run: RunFolder,
    model: SimCLR,
    recipe: PretrainRecipe,
    log: Log,
    views: ViewPairs,
    chunk_images: int,
) -> Path:
    """Write the backbone and end the run."""
    leave()
    if run.writes:
        save_backbone(
            model.encoder,
            run.backbone,
            tag="simclr_cxr",
            size_px=recipe.views.size_px,
            intensity=recipe.intensity.treatment,
            fit=views.store.manifest["fit"],
        )
        start, end = log.history("rankme")[0], log.history("rankme")[-1]
        run.finish(
            {
                "loss": log.history("loss")[-1],
                "chance_loss": math.log(2 * recipe.batch_size - 1),
                "rankme_start": start,
                "rankme": end,
                "num_images": len(views.rows),
                "num_steps": log.num_steps,
                "chunk_images": chunk_images,
            }
        )
    return run.backbone
