"""Detection in one image on one thread: FCOS on our pyramid, against small one-stage detectors.

    python benchmarks/one_stage.py [--rounds 30] [--size 160] [--backbone test_resnet]

Ours is the detector of the recipe finetune/fcos_demo, and beside it Faster R-CNN of finetune/demo.
The peers are torchvision's: SSDLite with MobileNetV3-Large at our size, and at the 320 px it is
made for; and FCOS and RetinaNet in torchvision's own classes, with heads of four layers as it gives
them, on the same backbone and a pyramid of our levels and width. Weights are random; each detector
has the threshold above which a hundred of its boxes are left, as in a trained one few are.
All have one process and thread and work in turns; what counts is the time of the process, since the
machine may have other work.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

BAR = 1.2
CLASSES = 14
RECIPES = Path(__file__).parents[1] / "recipes/finetune"
OURS, PEER = "cxrssl FCOS", "SSDLite-MobileNetV3"
CHANNELS = 32
Work = Callable[[], object]


def ours(recipe_name: str, backbone: str, size_px: int) -> nn.Module:
    """Return the detector of a recipe, as `cxrssl predict` has it."""
    from cxrssl.config.load import load_recipe
    from cxrssl.config.schema import FinetuneRecipe
    from cxrssl.models.detector import build_detector
    from cxrssl.models.families import family

    changes = [f"model.backbone={backbone}", f"size_px={size_px}"]
    recipe = load_recipe(RECIPES / f"{recipe_name}.yaml", FinetuneRecipe, overrides=changes)
    fields = recipe.model.model_dump(exclude={"family"}) | {
        "size_px": size_px,
        "id2label": {label: str(label) for label in range(CLASSES)},
    }
    kind = family(recipe.model.family)
    return build_detector(kind.config_of(fields, store_px=size_px, is_coco=False))


def of_torchvision(kind: str, backbone: str, size_px: int) -> nn.Module:
    """Return torchvision's FCOS or RetinaNet on the same body and levels, as wide as ours."""
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    from cxrssl.models.published.pyramid_cxr_rcnn import TimmPyramid, pyramid_body

    pyramid = TimmPyramid(pyramid_body(backbone, size_px=size_px), out_channels=CHANNELS)
    sides = ((4,), (8,), (16,), (32,), (64,))
    if kind == "FCOS":
        anchors = AnchorGenerator(sides, ((1.0,),) * 5)
        model: nn.Module = FCOS(pyramid, CLASSES, size_px, size_px, anchor_generator=anchors)
        return model
    anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 5)
    model = RetinaNet(pyramid, CLASSES + 1, size_px, size_px, anchor_generator=anchors)
    return model


def ssdlite(size_px: int) -> nn.Module:
    """Return torchvision's SSDLite, which resizes to `size_px` inside."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    model: nn.Module = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1
    )
    model.transform.min_size, model.transform.max_size = (size_px,), size_px  # type: ignore[union-attr]
    model.transform.fixed_size = (size_px, size_px)  # type: ignore[union-attr]
    return model


def set_threshold(model: nn.Module, score: float) -> None:
    """Set the least score of a detection."""
    place = getattr(model, "roi_heads", model)
    assert hasattr(place, "score_thresh")
    place.score_thresh = score


def detections_in(model: nn.Module, image: Tensor) -> object:
    """Detect in one image."""
    with torch.no_grad():
        return model([image])


def works(backbone: str, size_px: int) -> dict[str, Work]:
    """Return a detection in one image by each."""
    models = {
        OURS: ours("fcos_demo", backbone, size_px),
        "cxrssl Faster R-CNN": ours("demo", backbone, size_px),
        PEER: ssdlite(size_px),
        "SSDLite-MobileNetV3 at 320 px": ssdlite(320),
        "torchvision FCOS": of_torchvision("FCOS", backbone, size_px),
        "torchvision RetinaNet": of_torchvision("RetinaNet", backbone, size_px),
    }
    image = torch.rand(3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    for model in models.values():
        model.eval()
        set_threshold(model, 0.0)
        with torch.no_grad():
            scores = model([image])[0]["scores"].sort(descending=True).values
        set_threshold(model, float(scores[:100][-1]))
    return {name: partial(detections_in, model, image) for name, model in models.items()}


def main() -> None:
    """Detect in turns, and print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    given = parser.parse_args()
    if given.smallest:
        given.rounds, given.size = 1, 128  # torchvision's norms take no map of one pixel
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = works(given.backbone, given.size)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(given.rounds):
        for name, detect in work.items():
            start = time.process_time()
            detect()
            seconds[name].append(time.process_time() - start)
    for name, taken in seconds.items():
        ratio = median(a / b for a, b in zip(seconds[OURS], taken, strict=True))
        print(f"{name:36s} {1000 * median(taken):6.1f} ms; {OURS} takes {ratio:.2f} of it")
    ratio = median(a / b for a, b in zip(seconds[OURS], seconds[PEER], strict=True))
    print(f"ratio {ratio:.2f}x of {PEER}, bar {BAR}x")
    if ratio > BAR and not given.smallest:
        raise SystemExit("the bar is missed")


if __name__ == "__main__":
    main()
