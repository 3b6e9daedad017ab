"""A training step of every method with a ResNet-50, against lightly's parts on the same views.

    python benchmarks/methods.py [--rounds 7] [--batch 16] [--size 224] [--recipes moco_r50]

Method by method three processes step in turns, two threads each: lightly's heads and losses on
timm's ResNet-50; the step of `cxrssl pretrain` with the recipe NAME_r50; and ours with SimCLR. What
lightly lacks is plain torch, as the paper has it. All get the same uint8 views, the same layout in
memory, heads of the same size, and SGD.

Bars: at most 1.1 of the peer's time; and at most 1.1 of SimCLR's but for what a method must
compute, counted in passes of the backbone over as many pixels: a view costs 3 with its gradient,
and 1 without; heads on each place of a map count as well.
"""

import argparse
import copy
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

BAR = 1.1
THREADS, FEATURES = 2, 2048
RECIPES = Path(__file__).parents[1] / "recipes/pretrain"
SIMCLR = "simclr_r50_corrected"
# C2L and MICLe are options of others.
NAMES = [
    f"{name}_r50"
    for name in ("moco", "densecl", "byol", "pixpro", "simsiam", "vicreg", "jigsaw", "position")
]
NAMES = [SIMCLR, *NAMES]
Batch = dict[str, Tensor]


class Peer(nn.Module):
    """A method of lightly's parts: a backbone, further modules, and a loss of a batch of views."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__()
        import timm

        self.backbone = timm.create_model("resnet50", num_classes=0)
        self.method = method
        self.slow: nn.ModuleList | None = None

    def follow(self, *parts: nn.Module) -> None:
        """Make a slow copy of `parts`, moved after each step."""
        self.followed = nn.ModuleList(parts)
        self.slow = copy.deepcopy(self.followed).requires_grad_(False)

    def after_step(self) -> None:
        """Move the slow copy."""
        from lightly.models.utils import update_momentum

        if self.slow is not None:
            update_momentum(self.followed, self.slow, m=self.method["momentum"])


class SimclrPeer(Peer):
    """SimCLR."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import SimCLRProjectionHead

        sizes = (FEATURES, method["projector_hidden"], method["projector_outputs"])
        self.head = SimCLRProjectionHead(*sizes)
        self.criterion = NTXentLoss(method["temperature"])

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        first, second = batch["views"].transpose(0, 1)
        return self.criterion(self.head(self.backbone(first)), self.head(self.backbone(second)))


class MocoPeer(Peer):
    """MoCo v2, without shuffled keys."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import MoCoProjectionHead

        sizes = (FEATURES, method["projector_hidden"], method["projector_outputs"])
        self.head = MoCoProjectionHead(*sizes)
        self.follow(self.backbone, self.head)
        queue = (method["queue_images"], method["projector_outputs"])
        self.criterion = NTXentLoss(method["temperature"], memory_bank_size=queue)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        first, second = batch["views"].transpose(0, 1)
        with torch.no_grad():
            keys = self.slow[1](self.slow[0](second))
        return self.criterion(self.head(self.backbone(first)), keys)


class ByolPeer(Peer):
    """BYOL."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead

        hidden, outputs = method["heads_hidden"], method["heads_outputs"]
        self.head = BYOLProjectionHead(FEATURES, hidden, outputs)
        self.predictor = BYOLPredictionHead(outputs, hidden, outputs)
        self.follow(self.backbone, self.head)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        first, second = batch["views"].transpose(0, 1)
        predictions = [self.predictor(self.head(self.backbone(view))) for view in (first, second)]
        with torch.no_grad():
            targets = [self.slow[1](self.slow[0](view)) for view in (second, first)]
        return sum(map(self.criterion, predictions, targets)) / 2


class SimsiamPeer(Peer):
    """SimSiam."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

        outputs = method["projector_outputs"]
        self.head = SimSiamProjectionHead(FEATURES, method["projector_hidden"], outputs)
        self.predictor = SimSiamPredictionHead(outputs, method["predictor_hidden"], outputs)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        outputs = [self.head(self.backbone(view)) for view in batch["views"].transpose(0, 1)]
        predictions = map(self.predictor, outputs)
        targets = [rows.detach() for rows in reversed(outputs)]
        return sum(map(self.criterion, predictions, targets)) / 2


class VicregPeer(Peer):
    """VICReg."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        from lightly.loss import VICRegLoss
        from lightly.models.modules.heads import VICRegProjectionHead

        self.head = VICRegProjectionHead(
            FEATURES, method["expander_hidden"], method["expander_outputs"]
        )
        self.criterion = VICRegLoss()

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        first, second = batch["views"].transpose(0, 1)
        return self.criterion(self.head(self.backbone(first)), self.head(self.backbone(second)))


class DenseclPeer(Peer):
    """DenseCL, without shuffled keys."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import DenseCLProjectionHead

        sizes = (FEATURES, method["projector_hidden"], method["projector_outputs"])
        dense_sizes = (FEATURES, method["dense_hidden"], method["dense_outputs"])
        self.head, self.dense_head = (
            DenseCLProjectionHead(*sizes),
            DenseCLProjectionHead(*dense_sizes),
        )
        self.follow(self.backbone, self.head, self.dense_head)
        queue = method["queue_images"]
        self.criterion = NTXentLoss(method["temperature"], (queue, method["projector_outputs"]))
        self.dense_criterion = NTXentLoss(method["temperature"], (queue, method["dense_outputs"]))

    @staticmethod
    def maps(backbone: nn.Module, head: nn.Module, dense_head: nn.Module, view: Tensor) -> Any:  # noqa: ANN401
        """Return places of the last map, and both heads' outputs."""
        places = backbone.forward_features(view).flatten(2).transpose(1, 2)
        return places, head(places.mean(1)), dense_head(places)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        from lightly.models.utils import select_most_similar

        first, second = batch["views"].transpose(0, 1)
        places, query, dense_query = self.maps(self.backbone, self.head, self.dense_head, first)
        with torch.no_grad():
            key_places, key, dense_key = self.maps(*self.slow, second)
        matched = select_most_similar(places, key_places, dense_key).flatten(0, 1)
        dense = self.dense_criterion(dense_query.flatten(0, 1), matched)
        weight = self.method["dense_weight"]
        return (1 - weight) * self.criterion(query, key) + weight * dense


class PixproPeer(Peer):
    """PixPro in plain torch, since lightly has no such method."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        hidden, outputs = method["projector_hidden"], method["projector_outputs"]
        self.head = nn.Sequential(
            nn.Conv2d(FEATURES, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1),
        )
        self.transform = nn.Conv2d(outputs, outputs, 1)
        self.follow(self.backbone, self.head)

    def propagated(self, values: Tensor) -> Tensor:
        """Return [B, N, D]: each place as the sum of all that are like it."""
        unit = functional.normalize(values.flatten(2), dim=1)
        likeness = (unit.transpose(1, 2) @ unit).clamp(min=0) ** self.method["sharpness"]
        return likeness @ self.transform(values).flatten(2).transpose(1, 2)

    def near(self, places: Tensor, side: int) -> Tensor:
        """Return [B, N, N] whether places of both views are near each other in the image."""
        steps = (torch.arange(side) + 0.5) / side
        low, high = places[..., :2], places[..., 2:]  # [B, 2, 2]
        along = low[..., None] + (high - low)[..., None] * steps  # [B, 2, 2, side]
        x, y = along[:, :, 0], along[:, :, 1]
        middles = torch.stack(
            [x[:, :, None].expand(-1, -1, side, -1), y[..., None].expand(-1, -1, -1, side)], -1
        ).flatten(2, 3)
        diagonal = ((high - low).abs() / side).norm(dim=-1).amax(1)
        distances = torch.cdist(middles[:, 0], middles[:, 1])
        return distances < self.method["pair_distance"] * diagonal[:, None, None]

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        views = batch["views"].transpose(0, 1)
        maps = [self.head(self.backbone.forward_features(view)) for view in views]
        predictions = [functional.normalize(self.propagated(values), dim=2) for values in maps]
        with torch.no_grad():
            slow = [self.slow[1](self.slow[0].forward_features(view)) for view in views]
        targets = [functional.normalize(v.flatten(2).transpose(1, 2), dim=2) for v in slow]
        near = self.near(batch["places"].float(), maps[0].shape[-1])
        cosines = predictions[0] @ targets[1].transpose(1, 2)
        cosines = cosines + (predictions[1] @ targets[0].transpose(1, 2)).transpose(1, 2)
        return -((cosines * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1)).mean()


class PartsPeer(Peer):
    """Jigsaw and position: plain torch, since lightly has neither."""

    def __init__(self, method: dict[str, Any]) -> None:
        super().__init__(method)
        self.is_jigsaw = method["name"] == "jigsaw"
        parts, classes = (9, method["num_orders"]) if self.is_jigsaw else (1, method["grid"] ** 2)
        hidden = method["classifier_hidden"]
        layers = nn.Linear(parts * FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        self.classifier = nn.Sequential(*layers)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        parts = batch["tiles" if self.is_jigsaw else "patches"]
        labels = batch["order" if self.is_jigsaw else "cell"].flatten()
        images = parts.flatten(0, 1)
        deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
        features = self.backbone((images - mean) / deviation.clamp(min=0.01))
        return functional.cross_entropy(self.classifier(features.view(len(labels), -1)), labels)


PEERS: dict[str, type[Peer]] = {
    "simclr": SimclrPeer,
    "moco": MocoPeer,
    "densecl": DenseclPeer,
    "byol": ByolPeer,
    "pixpro": PixproPeer,
    "simsiam": SimsiamPeer,
    "vicreg": VicregPeer,
    "jigsaw": PartsPeer,
    "position": PartsPeer,
}


def on_places(hidden: int, outputs: int) -> float:
    """Return what a head on each place of the last map adds to a ResNet-50's multiplications."""
    return 49 * hidden * (FEATURES + outputs) / 4.1e9  # at 224 px, and at any other in proportion


def passes(method: dict[str, Any], size_px: int) -> float:
    """Return what an image costs in forward passes of a view; with its gradient it is three."""
    match method["name"]:
        case "simclr" | "simsiam" | "vicreg":
            return 6
        case "moco":
            return 4
        case "densecl":
            return 4 * (1 + on_places(method["dense_hidden"], method["dense_outputs"]))
        case "byol":
            return 8
        case "pixpro":
            return 8 * (1 + on_places(method["projector_hidden"], method["projector_outputs"]))
        case "jigsaw":
            return 3 * 9 * (method["tile_px"] / size_px) ** 2
        case "position":
            return 3 * method["num_patches"] * (method["patch_px"] / size_px) ** 2
        case name:
            raise ValueError(f"how much does {name} compute?")


def recipe_of(name: str, batch: int, size_px: int) -> Any:  # noqa: ANN401
    """Return a recipe as it is compared: from a random start, in fp32, at these sizes."""
    from cxrssl.config.load import load_recipe
    from cxrssl.config.schema import PretrainRecipe

    path = RECIPES / f"{name}.yaml"
    method = yaml.safe_load(path.read_text(encoding="utf-8"))["method"]
    sizes = {"queue_images": 64 * batch, "tile_px": size_px * 2 // 7, "patch_px": size_px * 3 // 7}
    changes = [f"method.{field}={value}" for field, value in sizes.items() if field in method]
    changes += [f"batch_size={batch}", f"views.size_px={size_px}", "max_chunk_images=null"]
    changes += ["precision=fp32", "body.start=random", "body.weights=null", "optim.name=sgd"]
    return load_recipe(path, PretrainRecipe, overrides=changes)


def batch_of(recipe: Any, batch: int) -> Batch:  # noqa: ANN401
    """Return what the loader gives of a batch of noise."""
    import numpy as np
    from torch.utils.data import default_collate

    from cxrssl.data.loaders import pool_item

    cut, generator = recipe.method.cut(recipe.views.ranges), np.random.default_rng(0)
    images = generator.integers(256, size=(batch, *2 * (recipe.views.size_px,)), dtype=np.uint8)
    generators = tuple(generator.spawn(2))
    return default_collate(
        [pool_item(image, cut, generators, place=place) for place, image in enumerate(images)]
    )


def peer_step(method: dict[str, Any], batch: Batch) -> Callable[[], None]:
    """Return a step of the other side."""
    peer = PEERS[method["name"]](method).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD([p for p in peer.parameters() if p.requires_grad], lr=0.01)

    def step() -> None:
        levels = {
            name: ((part / 255 - 0.5) / 0.25).expand(-1, -1, 3, -1, -1) if part.ndim == 5 else part
            for name, part in batch.items()
        }
        peer(levels).backward()
        optimizer.step()
        optimizer.zero_grad()
        peer.after_step()

    return step


def cxrssl_step(name: str, batch: Batch, size_px: int) -> Callable[[], None]:
    """Return a step of `cxrssl pretrain`."""
    from cxrssl.pretrain import on_device
    from cxrssl.pretrain.gradient import Gradient
    from cxrssl.pretrain.start import build_pretext
    from cxrssl.run.optimizer import build_optimizer
    from cxrssl.run.processes import prepare_command, start_accelerator

    num_images = len(batch["image"])
    recipe = recipe_of(name, num_images, size_px)
    prepare_command()
    accelerator = start_accelerator(recipe.precision, batch_size=num_images)
    pretext, _ = build_pretext(recipe)
    item = {name: part[0] for name, part in batch.items()}
    model, chunk = on_device(pretext, accelerator, recipe, item, chunk_bound=None)
    optimizer = build_optimizer(model, "sgd", 0.9, 0.0)
    network, optimizer = accelerator.prepare(model, optimizer)
    intensity = recipe.intensity.treatment
    gradient = Gradient(
        accelerator, network, pretext, intensity, recipe.seed, chunk, remember_chunk=print
    )

    def step() -> None:
        gradient.backward(batch, step=0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        pretext.after_step(0.5)

    return step


def serve(build: Callable[[], Callable[[], None]], pipe: Connection) -> None:
    """Make a step for each message, and answer with its seconds and the peak memory so far."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    step = build()
    while pipe.recv():  # until it is False
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def try_out(name: str, batch: int, size_px: int) -> bool:
    """Make one step of a method and of its peer in this process, to see that they work."""
    recipe = recipe_of(name, batch, size_px)
    images = batch_of(recipe, batch)
    peer_step(recipe.method.model_dump(), images)()
    cxrssl_step(name, images, size_px)()
    print(f"{recipe.method.name}: both make a step", flush=True)
    return True


def compare(name: str, rounds: int, batch: int, size_px: int) -> bool:
    """Step a method, its peer and SimCLR in turns, print a line; return whether bars are met."""
    recipe, simclr = recipe_of(name, batch, size_px), recipe_of(SIMCLR, batch, size_px)
    method, images = recipe.method.model_dump(), batch_of(recipe, batch)
    sides = {
        "peer": partial(peer_step, method, images),
        "cxrssl": partial(cxrssl_step, name, images, size_px),
        "simclr": partial(cxrssl_step, SIMCLR, batch_of(simclr, batch), size_px),
    }
    context, pipes = multiprocessing.get_context("spawn"), dict[str, Connection]()
    for side, build in sides.items():
        pipes[side], there = context.Pipe()
        context.Process(target=serve, args=(build, there), daemon=True).start()
        there.close()  # so that a side that fails ends the comparison
    seconds: dict[str, list[float]] = {side: [] for side in pipes}
    peak_gib = dict.fromkeys(pipes, 0.0)
    skipped = min(2, rounds - 1)  # the first steps find their memory
    for number in range(rounds + skipped):
        for side, pipe in pipes.items():
            pipe.send(True)
            took, peak_gib[side] = pipe.recv()
            if number >= skipped:
                seconds[side].append(took)
    for pipe in pipes.values():
        pipe.send(False)

    def ratio(side: str) -> float:
        return median(a / b for a, b in zip(seconds["cxrssl"], seconds[side], strict=True))

    must = passes(method, size_px) / passes(simclr.method.model_dump(), size_px)
    of_peer, of_simclr = ratio("peer"), ratio("simclr")
    print(
        f"{method['name']:9s} {median(seconds['cxrssl']):6.2f} s a step, {of_peer:5.2f} of its "
        f"peer's; {of_simclr:5.2f} of SimCLR's, where it must compute {must:.2f}; memory "
        f"{peak_gib['cxrssl']:.2f} GiB, {peak_gib['peer']:.2f}, {peak_gib['simclr']:.2f}",
        flush=True,
    )
    return of_peer <= BAR and of_simclr <= BAR * must


def main() -> None:
    """Compare all methods; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--recipes", nargs="*", default=NAMES, help="recipes of recipes/pretrain")
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the processes that are begun as well
    if options.smallest:
        met = [try_out(name, 2, 96) for name in options.recipes]
    else:
        sizes = options.rounds, options.batch, options.size
        met = [compare(name, *sizes) for name in options.recipes]
    raise SystemExit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
