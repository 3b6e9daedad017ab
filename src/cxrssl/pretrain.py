"""`cxrssl pretrain`: SimCLR on the unlabelled pool of a store, to a backbone that plain timm opens.

Shapes: B images in this process's slice of a batch, C = 3 channels, D the embedding's length.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import DataError
from cxrssl.core.images import Intensity
from cxrssl.data.detection import splits_of
from cxrssl.data.loaders import ViewPairs, network_input, view_loader
from cxrssl.data.protocol import pool_ids
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.data.views import ViewRanges
from cxrssl.models.backbone import (
    NUM_CHANNELS,
    encoder,
    imagenet_weights,
    num_features,
    save_backbone,
)
from cxrssl.models.weights import transfer
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import RunFolder, open_run
from cxrssl.run.log import Log
from cxrssl.run.progress import progress
from cxrssl.run.provenance import provenance
from cxrssl.run.schedule import LearningRate, set_lr
from cxrssl.run.seed import INITIALISATION, STEP, seed_torch
from cxrssl.run.start import build_optimizer, clip_gradients, start_accelerator
from cxrssl.ssl.ntxent import nt_xent
from cxrssl.ssl.simclr import SimCLR


def pretrain(recipe: PretrainRecipe, out: Path, *, resume: bool) -> Path:
    """Train a SimCLR encoder and return the folder of its backbone, in timm's format.

    Raises:
        CxrsslError: If the store, the pool, the run folder or a start can't be used.
    """
    accelerator = start_accelerator(recipe.precision, batch_size=recipe.batch_size)
    rank, is_main = accelerator.process_index, accelerator.is_main_process
    store, optim = Store(recipe.data.store), recipe.optim
    views, plan = pool_views(store, recipe)
    model, transfers = build_model(recipe)
    run = open_run(out, recipe_yaml=to_yaml(recipe), resume=resume, writes=is_main)
    run.write_start(
        transfer=transfers, provenance=provenance(accelerator, data_fingerprint=store.fingerprint)
    )
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    rate = LearningRate(optim.schedule, optim.peak_lr, optim.warmup_steps, plan.num_steps)
    checkpoints = Checkpoints(run.checkpoints, recipe.checkpoint_every_steps, writes=is_main)
    step = checkpoints.restore(model, optimizer)
    batches = plan.batches(from_step=step, rank=rank, num_processes=accelerator.num_processes)
    loader = iter(view_loader(views, batches, num_workers=recipe.data.num_workers))
    log = Log(
        run.log,
        every_steps=recipe.log_every_steps,
        num_steps=plan.num_steps,
        steps_done=step,
        writes=is_main,
    )
    network, optimizer = accelerator.prepare(model, optimizer)
    network.train()

    with progress("pretrain", total=plan.num_steps, done=step, shown=is_main) as meter:
        for epoch in plan.epochs(from_step=step):
            for _ in plan.steps_of(epoch, from_step=step):
                seed_torch(recipe.seed, STEP, step, rank)
                lr = rate.at(step)
                set_lr(optimizer, lr)
                pixels = next(loader).to(accelerator.device)  # [B, 2, 1, H, W] uint8
                first, second = embed(network, pixels, views.intensity)  # [B, D] each
                loss = nt_xent(first, second, temperature=recipe.model.temperature)
                accelerator.backward(loss)
                clip_gradients(accelerator, network, optim.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                step += 1
                log.losses_if_due({"loss": loss}, steps_done=step, epoch=epoch, lr=lr)
                checkpoints.save_if_due(model, optimizer, steps_done=step)
                meter.at(step, f"epoch {epoch + 1}/{plan.num_epochs}")
    return finish(run, model, recipe, num_images=len(views.rows), num_steps=step, log=log)


def pool_views(store: Store, recipe: PretrainRecipe) -> tuple[ViewPairs, BatchPlan]:
    """Return the view pairs of the recipe's pool and the plan of their batches.

    Raises:
        DataError: If the pool does not fill one batch.
    """
    data = recipe.data
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    train = [name for name, split in splits.items() if split == "train"]
    pool = set(
        pool_ids(train, fraction=data.pool_fraction, seed=recipe.seed, protocol=data.protocol)
    )
    rows = [row for row, image in enumerate(store.images) if image.image_id in pool]
    if len(rows) < recipe.batch_size:
        raise DataError(
            f"a pool of {recipe.data.pool_fraction:.0%} holds {len(rows)} images, fewer than one "
            f"batch of {recipe.batch_size}. Take a larger pool or a smaller batch_size."
        )
    intensity = Intensity(**recipe.intensity.model_dump())
    ranges = ViewRanges(**recipe.views.model_dump())
    plan = BatchPlan(
        len(rows),
        batch_size=recipe.batch_size,
        num_epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
        drop_last=True,
    )
    return ViewPairs(store, rows, ranges, intensity, recipe.seed), plan


def build_model(recipe: PretrainRecipe) -> tuple[SimCLR, dict[str, Any]]:
    """Return the network at its start, and the record of what it starts from."""
    seed_torch(recipe.seed, INITIALISATION)
    body = encoder(recipe.model.backbone)
    model = SimCLR(
        body,
        num_features=num_features(body),
        hidden=recipe.model.projector_hidden,
        num_outputs=recipe.model.projector_outputs,
    )
    transfers = []
    if recipe.model.start == "imagenet":
        weights = imagenet_weights(recipe.model.backbone)
        transfers.append(transfer(body, weights, source="timm ImageNet").as_json())
    model.to(memory_format=torch.channels_last)  # measured: a quarter less time a step
    return model, {"start": recipe.model.start, "transfers": transfers}


def embed(network: Any, pixels: Tensor, intensity: Intensity) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Embed both views [B, 2, 1, H, W] uint8 in one forward pass; returns [B, D] for each."""
    both = pixels.transpose(0, 1).flatten(0, 1)  # [2B, 1, H, W]
    first, second = network(network_input(both, intensity, num_channels=NUM_CHANNELS)).chunk(2)
    return first, second


def finish(
    run: RunFolder,
    model: SimCLR,
    recipe: PretrainRecipe,
    *,
    num_images: int,
    num_steps: int,
    log: Log,
) -> Path:
    """Write the backbone and end the run."""
    if run.writes:
        save_backbone(
            model.encoder,
            run.backbone,
            tag="simclr_cxr",
            size_px=recipe.views.size_px,
            intensity=Intensity(**recipe.intensity.model_dump()),
        )
        chance = math.log(2 * recipe.batch_size - 1)
        counts = {"num_images": num_images, "num_steps": num_steps, "chance_loss": chance}
        run.finish({"loss": log.last("loss")} | counts)
    return run.backbone
