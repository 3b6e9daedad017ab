"""`make hub-demo`: a plan's backbone and detector to a Hub here, and back without cxrssl.

    python tests/hub_demo.py RUNS PYTHON

RUNS is the folder of a plan, PYTHON that of an environment with timm and transformers and without
cxrssl. Both sides process one image; the outputs must be the same.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cxrssl.data.store import Store
from cxrssl.models.backbone import encoder, load_backbone
from cxrssl.predict import predict
from hub_calls import commands, python, tag_of
from hub_server import Hub, serve

# It runs where cxrssl is not installed: what a reader of the cards would write.
_WITHOUT_CXRSSL = """
import importlib.util, json, sys
assert importlib.util.find_spec("cxrssl") is None, "cxrssl is installed here"
import timm, torch, transformers
from transformers import AutoModel, pipeline
backbone, detector, image = sys.argv[1:]
torch.set_num_threads(1)
pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
body = timm.create_model(f"hf-hub:{backbone}", pretrained=True).eval()
maps = timm.create_model(f"hf-hub:{backbone}", pretrained=True, features_only=True).eval()
grey = timm.create_model(f"hf-hub:{backbone}", pretrained=True, in_chans=1).eval()
name, revision = backbone.split("@")
wrapped = AutoModel.from_pretrained(name, revision=revision).eval()
with torch.no_grad():
    features = body(pixels)
    last = maps(pixels)[-1]
    assert torch.equal(last, wrapped(pixels).last_hidden_state)
    assert grey(pixels[:, :1]).shape == features.shape
name, revision = detector.split("@")
detect = pipeline("object-detection", model=name, revision=revision, trust_remote_code=True)
boxes = detect(image, threshold=0.0)
print(json.dumps({
    "versions": [f"{library.__name__} {library.__version__}" for library in (timm, transformers)],
    "features": features[0].tolist(),
    "last map": last.flatten().tolist(),
    "boxes": [[box["label"], box["score"], list(box["box"].values())] for box in boxes],
}))
"""


def run_pair(runs: Path) -> tuple[Path, Path]:
    """Return a backbone's run, and a detector's that started from it and the report counts."""
    for name in json.loads((runs / "report.json").read_text()).get("counted", []):
        transfer = json.loads((runs / name / "transfer.json").read_text())
        for record in transfer["transfers"]:
            backbone = runs / Path(record["source"]).parent.name
            if (runs / name / "detector").is_dir() and (backbone / "backbone").is_dir():
                return backbone, runs / name
    raise SystemExit(f"{runs}/report.json counts no detector that started from a backbone there.")


def with_cxrssl(backbone: Path, detector: Path, image: Path, out: Path) -> dict[str, Any]:
    """Return what cxrssl makes of the image with the runs as they lie here."""
    torch.set_num_threads(1)
    architecture, weights, _ = load_backbone(backbone / "backbone")
    model = encoder(architecture).eval()
    model.load_state_dict(weights)
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model(pixels)[0].tolist()
        last = model.forward_features(pixels).flatten().tolist()  # type: ignore[operator]
    predict([detector], [image], out, threshold=0.0, formats=["coco"])
    content = json.loads((out / "predictions.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes = [
        (names[box["category_id"]], box["score"], box["bbox"]) for box in content["annotations"]
    ]
    return {"features": features, "last map": last, "boxes": boxes}


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Check that both sides computed the same."""
    for name in ("features", "last map"):
        assert ours[name] == theirs[name], f"{name} differ"
    assert ours["boxes"], "the detector finds nothing, which compares nothing"
    for (label, score, (x, y, w, h)), (label_2, score_2, corners) in zip(
        ours["boxes"], theirs["boxes"], strict=True
    ):
        assert (label, score) == (label_2, round(score_2, 5))
        # The pipeline cuts corners to whole pixels, ours are rounded to two digits.
        gaps = np.subtract([x, y, x + w, y + h], corners)
        assert gaps.min() >= -0.011, gaps
        assert gaps.max() <= 1.011, gaps


def main() -> None:
    """Push, pull, compare."""
    # Not resolved: the Python of an environment is a link, and known by its place.
    runs, executable = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    work = runs.parent / "hub-demo"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    image = work / "image.png"
    Image.fromarray(np.asarray(Store(runs / "store").pixels(0))).save(image)
    hub, (backbone, detector) = Hub(), run_pair(runs)
    serve(hub)
    print(f"A Hub answers at {hub.address}; {backbone.name} and {detector.name} go there.")
    with commands(hub, work / "pushing") as run:
        names = [
            f"{repo}@{tag_of(run('push', folder, repo))}"
            for folder, repo in ((backbone, "demo/backbone"), (detector, "demo/detector"))
        ]
    pulling = (_WITHOUT_CXRSSL, *names, str(image))
    pulled = python(hub, work / "pulling", *pulling, token=None, executable=executable)
    assert pulled.code == 0, pulled.err
    theirs = json.loads(pulled.out.splitlines()[-1])
    print(f"{' and '.join(names)} pulled without cxrssl, by {', '.join(theirs['versions'])}.")
    assert_equal(with_cxrssl(backbone, detector, image, work / "found"), theirs)
    print(f"Equal: features and last map bit for bit, {len(theirs['boxes'])} boxes to the pixel.")


if __name__ == "__main__":
    main()
