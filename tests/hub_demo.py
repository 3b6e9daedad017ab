"""`make hub-demo`: a plan's backbone and detector to a Hub here, and back without cxrssl.

    python tests/hub_demo.py RUNS PYTHON

RUNS is the folder of a plan, PYTHON that of an environment with timm and transformers and without
cxrssl. Both sides say what they make of one film; it must be the same.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cxrssl.data.store import Store
from cxrssl.models.backbone import encoder, load_backbone
from cxrssl.predict import predict
from hub_calls import Done as Said
from hub_calls import tag_of
from hub_server import Hub, environment, serve

# It runs where cxrssl is not installed: what a reader of the cards would write.
_THEIRS = """
import importlib.util, json, sys
assert importlib.util.find_spec("cxrssl") is None, "cxrssl is installed here"
import timm, torch, transformers
from PIL import Image
from transformers import AutoModel, pipeline
backbone, detector, film, out = sys.argv[1:]
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
found = detect(film, threshold=0.0)
told = {
    "versions": {one.__name__: one.__version__ for one in (timm, transformers, torch)},
    "features": features[0].tolist(),
    "last": last.flatten().tolist(),
    "found": [[one["label"], one["score"], list(one["box"].values())] for one in found],
}
open(out, "w").write(json.dumps(told))
"""


def pair(runs: Path) -> tuple[Path, Path]:
    """Return a detector that the plan's report counts, and the run of the backbone it is from."""
    for name in json.loads((runs / "report.json").read_text()).get("counted", []):
        transfer = json.loads((runs / name / "transfer.json").read_text())
        for record in transfer["transfers"]:
            place = runs / Path(record["source"]).parent.name
            if (runs / name / "detector").is_dir() and (place / "backbone").is_dir():
                return place, runs / name
    raise SystemExit(
        f"{runs}/report.json counts no detector that started from a backbone of the plan. If it is "
        f"of before, write it anew: cxrssl report {runs}"
    )


def pushed(run: Path, repo: str, env: dict[str, str]) -> str:
    """Push a run and return what it is called on the Hub, with its tag."""
    command = [sys.executable, "-m", "cxrssl", "push", str(run), repo]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(done.stdout, end="")
    return f"{repo}@{tag_of(Said(done.returncode, done.stdout, done.stderr))}"


def film_of(runs: Path, work: Path) -> Path:
    """Write an image of the plan's store as a PNG."""
    store = Store(runs / "store")
    path = work / "film.png"
    Image.fromarray(np.asarray(store.pixels(0))).save(path)
    return path


def ours(backbone: Path, detector: Path, film: Path, work: Path) -> dict[str, object]:
    """Return what cxrssl makes of the film with the runs as they lie here."""
    torch.set_num_threads(1)
    architecture, weights, _ = load_backbone(backbone / "backbone")
    model = encoder(architecture).eval()
    model.load_state_dict(weights)
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model(pixels)[0].tolist()
        last = model.forward_features(pixels).flatten().tolist()  # type: ignore[operator]
    predict(detector, [film], work / "found", threshold=0.0, overlays=False)
    content = json.loads((work / "found" / "predictions.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    found = [
        (names[one["category_id"]], one["score"], one["bbox"]) for one in content["annotations"]
    ]
    return {"features": features, "last": last, "found": found}


def compare(own: dict[str, object], theirs: dict[str, object]) -> None:
    """End with an error unless both are the same."""
    for name in ("features", "last"):
        if own[name] != theirs[name]:
            raise SystemExit(f"{name} differ.")
    print(f"backbone: {len(own['features'])} features and the last map are equal, bit for bit")
    mine, other = own["found"], theirs["found"]
    if not mine:
        raise SystemExit("the detector finds nothing, which compares nothing.")
    if [(label, score) for label, score, _ in mine] != [(a, round(b, 5)) for a, b, _ in other]:
        raise SystemExit("classes or scores differ.")
    for (_, _, (x, y, w, h)), (_, _, box) in zip(mine, other, strict=True):
        # The pipeline cuts corners to whole pixels, ours are rounded to two digits.
        gaps = np.subtract([x, y, x + w, y + h], box)
        if gaps.min() < -0.011 or gaps.max() > 1.011:
            raise SystemExit(f"boxes differ: {[x, y, x + w, y + h]} and {box}.")
    print(f"detector: {len(mine)} boxes: equal classes, scores to 5 digits, corners to the pixel")


def main() -> None:
    """Push, pull, compare."""
    # Not resolved: the Python of an environment is a link, and known by its place.
    runs, python = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    work = runs.parent / "hub-demo"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    hub = Hub(work / "hub")
    serve(hub)
    env = environment(hub, work / "pushing")
    backbone, detector = pair(runs)
    print(f"A Hub answers at {hub.address}; {backbone.name} and {detector.name} go there.")
    names = [pushed(backbone, "demo/backbone", env), pushed(detector, "demo/detector", env)]
    film, out = film_of(runs, work), work / "theirs.json"
    pulled = subprocess.run(
        [python, "-c", _THEIRS, *names, str(film), str(out)],
        env=environment(hub, work / "pulling", token=None),
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    if pulled.returncode:
        raise SystemExit(pulled.stderr)
    theirs = json.loads(out.read_text())
    print("pulled without cxrssl, by", ", ".join(map(" ".join, theirs["versions"].items())))
    compare(ours(backbone, detector, film, work), theirs)
    print("The outputs are equal.")


if __name__ == "__main__":
    main()
