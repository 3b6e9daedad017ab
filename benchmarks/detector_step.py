"""A detector's training step and inference, ResNet-50 FPN at 512 px, against torchvision's own.

    python benchmarks/detector_step.py [--rounds 9] [--batch 2] [--size 512] [--norm frozen]
                                       [--device cuda]

The peer is `fasterrcnn_resnet50_fpn` of torchvision with the same weights, sizes, budgets and norm,
fed with float images of three channels made beforehand, and plain SGD. Ours is the step of
`cxrssl finetune` with the recipe faster_rcnn_r50_corrected: from uint8 images to updated weights,
RoIAlign as a sparse product, the layout that suits the processor, memory that is kept. Each has a
process and two threads to itself and they step in turns: the setting of the C library's allocator
holds for a whole process, and so does peak memory. The first losses of both are printed: they are
those of one network, but for RoIAlign's fifth digit.
"""

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

BARS = {"train": 1.65, "infer": 1.4}
MEMORY_BAR = 1.15
CLASSES = 14
THREADS = 2
RECIPE = Path(__file__).parents[1] / "recipes/finetune/faster_rcnn_r50_corrected.yaml"
Work = Callable[[], float]


def torchvision_model(size_px: int, norm: str) -> nn.Module:
    """Return torchvision's detector, all stages trained, with the norms that a recipe names."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    layer = nn.BatchNorm2d if norm == "bn" else FrozenBatchNorm2d
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=layer, trainable_layers=5
    )
    grey = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    model: nn.Module = FasterRCNN(backbone, CLASSES + 1, min_size=size_px, max_size=size_px, **grey)
    # Of random weights every proposal would be a finding of every class.
    model.roi_heads.box_predictor.cls_score.bias.data[0] = 3.0  # type: ignore[union-attr, operator]
    return model


def examples(batch: int, size_px: int, device: str) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Return images [B, 1, S, S] uint8, and eight boxes in each."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 1, size_px, size_px), generator=generator)
    corners = torch.rand(batch, 8, 2, generator=generator) * 0.7 * size_px
    sides = (0.05 + 0.25 * torch.rand(batch, 8, 2, generator=generator)) * size_px
    labels = torch.randint(1, CLASSES + 1, (batch, 8), generator=generator)
    boxes = torch.cat([corners, corners + sides], dim=2)
    return pixels.to(device, torch.uint8), [
        {"boxes": box.to(device), "labels": label.to(device)}
        for box, label in zip(boxes, labels, strict=True)
    ]


def torchvision_work(batch: int, size_px: int, norm: str, device: str) -> dict[str, Work]:
    """Return a training step and an inference of torchvision's detector."""
    model = torchvision_model(size_px, norm).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    pixels, targets = examples(batch, size_px, device)
    images = list(pixels.float().div(255).expand(-1, 3, -1, -1).contiguous())

    def train() -> float:
        torch.manual_seed(0)
        loss: Tensor = sum(model.train()(images, targets).values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    def infer() -> float:
        with torch.no_grad():
            return float(sum(len(one["boxes"]) for one in model.eval()(images)))

    return {"train": train, "infer": infer}


def cxrssl_work(batch: int, size_px: int, norm: str, device: str) -> dict[str, Work]:
    """Return a training step and an inference as `cxrssl finetune` makes them."""
    from cxrssl.config.load import load_recipe
    from cxrssl.config.schema import FinetuneRecipe
    from cxrssl.models.detector import build_detector, detector_input
    from cxrssl.models.families import faster_rcnn
    from cxrssl.run.memory import allocate_gradients, training_layout
    from cxrssl.run.optimizer import build_optimizer
    from cxrssl.run.processes import prepare_command, start_accelerator

    weights = torchvision_model(size_px, norm).state_dict()
    sizes = "model.anchor_sizes_px=[32, 64, 128, 256, 512]"
    changes = [f"model.norm={norm}", sizes, f"size_px={size_px}", "optim.peak_lr=1e-4"]
    recipe = load_recipe(RECIPE, FinetuneRecipe, overrides=[*changes, "precision=fp32"])
    prepare_command()
    accelerator = start_accelerator(recipe.precision, batch_size=batch)
    fields = recipe.model.model_dump(exclude={"family"}) | {
        "size_px": size_px,
        "id2label": {label: str(label) for label in range(CLASSES)},
    }
    # torchvision's frozen norms have the eps of its COCO weights.
    config = faster_rcnn.config_of(fields, store_px=size_px, is_coco=norm == "frozen")
    model = build_detector(config)
    model.load_state_dict(weights, strict=True)
    model.to(device, memory_format=training_layout(torch.device(device)))
    allocate_gradients(model)
    optim = recipe.optim
    optimizer = build_optimizer(model, optim.name, optim.momentum, optim.weight_decay)
    for group in optimizer.param_groups:
        group["lr"] = optim.peak_lr
    network, optimizer = accelerator.prepare(model, optimizer)
    pixels, targets = examples(batch, size_px, device)

    def train() -> float:
        torch.manual_seed(0)
        loss: Tensor = sum(network.train()(detector_input(list(pixels)), targets).values())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return float(loss.detach())

    def infer() -> float:
        with torch.no_grad():
            found = model.eval()(detector_input(list(pixels)))
            return float(sum(len(one["boxes"]) for one in found))

    return {"train": train, "infer": infer}


def serve(
    name: str, task: str, batch: int, size_px: int, norm: str, device: str, pipe: Connection
) -> None:
    """Work once for each message, and answer with seconds, peak memory so far and what came out."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)  # the same weights in both processes
    make = {"torchvision": torchvision_work, "cxrssl": cxrssl_work}[name]
    work = make(batch, size_px, norm, device)[task]
    while pipe.recv():  # until it is False
        start = time.perf_counter()
        value = work()  # reading it waits for the device
        seconds = time.perf_counter() - start
        pipe.send((seconds, peak_gib(device), value))


def peak_gib(device: str) -> float:
    """Return the most memory that this process has held on its device."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def compare(task: str, rounds: int, batch: int, size_px: int, norm: str, device: str) -> bool:
    """Work in turns, print the ratios of time and memory; return whether the bars are met."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name in ("torchvision", "cxrssl"):
        here, there = context.Pipe()
        arguments = (name, task, batch, size_px, norm, device, there)
        context.Process(target=serve, args=arguments, daemon=True).start()
        pipes[name] = here
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    peak, first = dict.fromkeys(pipes, 0.0), dict.fromkeys(pipes, 0.0)
    skipped = min(2, rounds - 1)  # the first steps find their memory
    for number in range(rounds + skipped):
        for name, pipe in pipes.items():
            pipe.send(True)
            took, peak[name], value = pipe.recv()
            if number == 0:
                first[name] = value
            if number >= skipped:
                seconds[name].append(took)
    for pipe in pipes.values():
        pipe.send(False)
    ratio = median(a / b for a, b in zip(seconds["torchvision"], seconds["cxrssl"], strict=True))
    unit = "loss" if task == "train" else "boxes"
    for name in pipes:
        print(
            f"{task} {name:12s} {median(seconds[name]):6.2f} s, peak {peak[name]:5.2f} GiB, "
            f"first {unit} {first[name]:.4f}"
        )
    share = peak["cxrssl"] / peak["torchvision"]
    print(f"{task} ratio {ratio:.2f}x, bar {BARS[task]}x; memory {share:.2f}, bar {MEMORY_BAR}")
    return ratio >= BARS[task] and share <= MEMORY_BAR


def main() -> None:
    """Compare training, then inference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--norm", choices=["frozen", "bn"], default="frozen")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    given = parser.parse_args()
    if given.smallest:
        given.rounds, given.batch, given.size = 1, 1, 64
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the processes that are begun as well
    tasks = [
        compare(task, given.rounds, given.batch, given.size, given.norm, given.device)
        for task in ("train", "infer")
    ]
    if not all(tasks) and not given.smallest:
        raise SystemExit("a bar is missed")


if __name__ == "__main__":
    main()
