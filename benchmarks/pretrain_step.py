"""A SimCLR training step of a ResNet-50 at 512 px, batch 4, against lightly's own example.

    python benchmarks/pretrain_step.py [--rounds 9] [--batch 4] [--size 512] [--device cuda]

The peer is the step of lightly's example `simclr.py`: torchvision's ResNet-50 without its last
layer, lightly's projection head and NTXentLoss, one forward pass a view, SGD. Its input are float
images of three channels, made beforehand. Ours is the step of `cxrssl pretrain`, from uint8 views
to updated weights. Each has a process and two threads to itself and they step in turns, since the
setting of the C library's allocator holds for a whole process, and so does peak memory; neither
process imports the other's packages. Then the real loop runs, log, checkpoints and all, and what
it spends outside of forward, backward and optimizer is printed.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch

BAR, OUTSIDE_BAR = 1.5, 0.05
LOOP_STEPS = 9
RECIPE = Path(__file__).parents[1] / "recipes/pretrain/simclr_r50_paper.yaml"
THREADS = 2


def lightly_step(batch: int, size_px: int, device: str) -> Callable[[], None]:
    """Return a step of lightly's example."""
    import torchvision
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from torch import nn

    backbone = nn.Sequential(*list(torchvision.models.resnet50().children())[:-1])
    head = SimCLRProjectionHead(2048, 2048, 128)
    model = nn.Sequential(backbone, nn.Flatten(), head).to(device)
    criterion = NTXentLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    first, second = torch.randn(2, batch, 3, size_px, size_px, device=device)

    def step() -> None:
        loss = criterion(model(first), model(second))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def cxrssl_step(batch: int, size_px: int, device: str) -> Callable[[], None]:
    """Return a step of `cxrssl pretrain`."""
    from cxrssl.config.load import load_recipe
    from cxrssl.config.schema import PretrainRecipe
    from cxrssl.pretrain import on_device
    from cxrssl.pretrain.gradient import Gradient
    from cxrssl.pretrain.start import build_pretext
    from cxrssl.run.optimizer import build_optimizer
    from cxrssl.run.processes import prepare_command, start_accelerator
    from cxrssl.run.schedule import set_lr

    changes = [f"batch_size={batch}", f"views.size_px={size_px}"]
    recipe = load_recipe(RECIPE, PretrainRecipe, overrides=changes)
    prepare_command()
    accelerator = start_accelerator(recipe.precision, batch_size=batch)
    views = torch.randint(0, 256, (batch, 2, 1, size_px, size_px), dtype=torch.uint8).to(device)
    pretext, _ = build_pretext(recipe)
    images = torch.arange(batch, device=device)
    item = {"views": views[0], "image": images[0]}
    model, chunk = on_device(pretext, accelerator, recipe, item, chunk_bound=None)
    optim = recipe.optim
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    network, optimizer = accelerator.prepare(model, optimizer)
    intensity = recipe.intensity.treatment
    gradient = Gradient(
        accelerator, network, pretext, intensity, recipe.seed, chunk, remember_chunk=print
    )

    def step() -> None:
        set_lr(optimizer, optim.peak_lr)
        gradient.backward({"views": views, "image": images}, step=0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    return step


def serve(name: str, batch: int, size_px: int, device: str, pipe: Connection) -> None:
    """Make a step for each message, and answer with its seconds and the peak memory so far."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)  # the same weights in every run of the benchmark
    step = {"lightly": lightly_step, "cxrssl": cxrssl_step}[name](batch, size_px, device)
    while pipe.recv():  # until it is False
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        pipe.send((seconds, peak_gib(device)))


def peak_gib(device: str) -> float:
    """Return the most memory that this process has held on its device."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def compare(rounds: int, batch: int, size_px: int, device: str) -> bool:
    """Step in turns, print the ratio of times and of memory; return whether the bars are met."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name in ("lightly", "cxrssl"):
        here, there = context.Pipe()
        context.Process(
            target=serve, args=(name, batch, size_px, device, there), daemon=True
        ).start()
        there.close()  # so that a side that fails ends the comparison
        pipes[name] = here
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    peak = dict.fromkeys(pipes, 0.0)
    skipped = min(2, rounds - 1)  # the first steps find their memory
    for number in range(rounds + skipped):
        for name, pipe in pipes.items():
            pipe.send(True)
            took, peak[name] = pipe.recv()
            if number >= skipped:
                seconds[name].append(took)
    for pipe in pipes.values():
        pipe.send(False)
    ratio = median(a / b for a, b in zip(seconds["lightly"], seconds["cxrssl"], strict=True))
    for name in pipes:
        print(f"{name:8s} {median(seconds[name]):6.2f} s a step, peak {peak[name]:5.2f} GiB")
    print(
        f"ratio    {ratio:6.2f}x, bar {BAR}x; memory {peak['cxrssl'] / peak['lightly']:.2f} of its"
    )
    return ratio >= BAR and peak["cxrssl"] <= peak["lightly"]


class Clock:
    """Adds up the seconds that functions take, once it runs."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def watch(self, owner: Any, function: str, name: str) -> None:  # noqa: ANN401
        """Have calls of `owner.function` counted under a name."""
        inner = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        setattr(owner, function, timed)


def watch_loop(batch: int, size_px: int, num_steps: int, num_films: int) -> bool:
    """Run the real loop on a made store, print where its steps' time goes; is enough inside?"""
    from accelerate import Accelerator
    from torch.utils.data.dataloader import _BaseDataLoaderIter

    from cxrssl.pretrain import pretrain
    from cxrssl.run.processes import prepare_command
    from cxrssl.run.progress import Meter
    from cxrssl.ssl.simclr import SimCLR

    torch.set_num_threads(THREADS)
    clock = Clock()
    ends: list[float] = []
    spent: list[Counter[str]] = []
    clock.watch(SimCLR, "forward", "forward")
    clock.watch(Accelerator, "backward", "backward")
    clock.watch(torch.optim.SGD, "step", "optimizer")
    clock.watch(_BaseDataLoaderIter, "__next__", "waiting for views")
    shown = Meter.at

    def at(self: Meter, done: int, note: str = "") -> None:
        shown(self, done, note)
        if done == 1:  # the first step finds its memory
            clock.seconds.clear()
        if done < num_steps:  # in the last step the health of the epoch is measured
            ends.append(time.perf_counter())
            spent.append(clock.seconds.copy())

    Meter.at = at  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        recipe = recipe_on_phantom(Path(name), batch, size_px, num_steps, num_films)
        prepare_command()
        pretrain(recipe, Path(name) / "run", resume=False)
    total, steps, parts = ends[-1] - ends[0], len(ends) - 1, spent[-1]
    waited = parts.pop("waiting for views")
    outside = total - waited - sum(parts.values())
    print(
        f"the loop, {steps} steps: {total / steps:.2f} s a step, {waited / steps:.3f} s of it views"
    )
    for part, seconds in parts.items():
        print(f"  {part:10s} {100 * seconds / (total - waited):5.1f} %")
    share = outside / (total - waited)
    print(f"  {'else':10s} {100 * share:5.1f} %, bar {100 * OUTSIDE_BAR:.0f} %")
    return share < OUTSIDE_BAR


def recipe_on_phantom(
    folder: Path, batch: int, size_px: int, num_steps: int, num_films: int
) -> Any:  # noqa: ANN401
    """Return the paper's recipe, short, for a made store that one epoch does not exhaust."""
    from cxrssl.config.load import load_recipe
    from cxrssl.config.schema import PretrainRecipe
    from cxrssl.data.phantom import make_phantom
    from cxrssl.ingest import ingest
    from cxrssl.ingest.shards import Settings

    make_phantom(
        folder / "source",
        num_images=num_films,
        seed=0,
        normal_share=0.0,
        min_side_px=600,
        max_side_px=700,
        num_workers=2,
    )
    ingest(folder / "source", folder / "store", Settings(size_px), num_workers=2)
    changes = [
        f"data.store={folder / 'store'}",
        "data.protocol=corrected",
        "data.pool_fraction=1.0",
        "data.num_workers=0",
        f"batch_size={batch}",
        f"views.size_px={size_px}",
        f"max_steps={num_steps}",
        "epochs=1",
        "log_every_steps=1",
        "health_images=8",
    ]
    return load_recipe(RECIPE, PretrainRecipe, overrides=changes)


def main() -> None:
    """Compare, then watch the loop; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    if options.smallest:
        options.rounds, options.batch, options.size = 1, 2, 32
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the processes that are begun as well
    met = [compare(options.rounds, options.batch, options.size, options.device)]
    num_steps, num_films = (3, 20) if options.smallest else (LOOP_STEPS, 60)
    met.append(watch_loop(options.batch, options.size, num_steps, num_films))
    raise SystemExit(0 if options.smallest or all(met) else 1)


if __name__ == "__main__":
    main()
