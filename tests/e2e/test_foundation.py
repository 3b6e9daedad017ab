"""Published weights from a Hub into a detector and a pretraining, with their licence; refusals."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save

from cxrssl.config.load import to_yaml
from hub_calls import Commands, commands
from hub_server import Hub, serve
from support import ROOT, finetune_recipe

pytestmark = pytest.mark.slow

REPO = "org/vit"
CARD = b"---\r\nlicense: other\nlicense_name: a-name\ntags: [x]\n---\n# A card\n"
CONFIG = json.dumps({"architecture": "test_vit", "pretrained_cfg": {"tag": "x"}}).encode()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Serve a Hub, and run commands that know it."""
    hub = Hub()
    server = serve(hub)
    with commands(hub, tmp_path_factory.mktemp("served") / "home") as calls:
        yield calls
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def weights() -> bytes:
    """Return the file of a ViT of timm's, head and all."""
    torch.manual_seed(3)
    return save(timm.create_model("test_vit").state_dict())


def recipe(store: Path, folder: Path, address: str, *changes: str) -> Path:
    path = folder / "recipe.yaml"
    start = ("model.backbone=test_vit", "init.start=published", f"init.weights={address}")
    path.write_text(to_yaml(finetune_recipe(store, *start, "max_steps=2", *changes)))
    return path


def test_a_detector_and_a_pretraining_start_from_published_weights_and_say_so(
    run: Commands, weights: bytes, store_folder: Path, tmp_path: Path
) -> None:
    run.hub.put(REPO, {"model.safetensors": weights, "config.json": CONFIG, "README.md": CARD})
    commit = run.hub.commit_of(REPO)
    # All stages frozen, so that the body stays as it came.
    changes = ("model.frozen_stages=7", "optim.layer_decay=0.7")
    path = recipe(store_folder, tmp_path, f"hf-hub:{REPO}@main", *changes)
    done = run("finetune", path, "--out", tmp_path / "det")
    assert done.code == 0, done.err
    asked = run.hub.downloaded(REPO)
    assert asked == {"config.json", "model.safetensors", "README.md"}
    record = json.loads((tmp_path / "det/transfer.json").read_text())
    (transfer,) = record["transfers"]
    assert record["start"] == "published"
    assert transfer["source"] == f"hf-hub:{REPO}@{commit}"
    assert transfer["terms"] == {"origin": None, "licence": "a-name"}
    assert (transfer["arrived"], transfer["resampled"]) == (True, [])
    saved = load_file(tmp_path / "det/detector/model.safetensors")
    torch.manual_seed(3)
    theirs = timm.create_model("test_vit").state_dict()
    body = "model.backbone.body.model."
    ours = {key.removeprefix(body): value for key, value in saved.items() if body in key}
    assert len(ours) > 50
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())

    out = tmp_path / "ssl"
    options = [
        part
        for change in (
            f"data.store={store_folder}", "body.backbone=test_vit", "body.start=published",
            f"body.weights=hf-hub:{REPO}@{commit}", "max_steps=1", "views.size_px=64",
        )
        for part in ("--set", change)
    ]  # fmt: skip
    done = run("pretrain", ROOT / "recipes/pretrain/smoke.yaml", *options, "--out", out)
    assert done.code == 0, done.err
    (transfer,) = json.loads((out / "transfer.json").read_text())["transfers"]
    assert transfer["terms"]["licence"] == "a-name"


def test_what_is_not_such_a_repository_is_refused(
    run: Commands, weights: bytes, store_folder: Path, tmp_path: Path
) -> None:
    other = json.dumps({"architecture": "test_resnet", "pretrained_cfg": {}}).encode()
    run.hub.put("org/pickle", {"pytorch_model.bin": b"x", "config.json": CONFIG})
    run.hub.put("org/other", {"model.safetensors": weights, "config.json": other})
    run.hub.put("org/cut", {"model.safetensors": weights[: len(weights) // 2]})
    run.hub.put("org/gated", {"model.safetensors": weights, "config.json": CONFIG})
    run.hub.gated.add("org/gated")
    texts = {
        "pickle": "has no model.safetensors, and no other file of weights is fetched: a pickle",
        "other": "is a test_resnet; the recipe has a test_vit. Set body.backbone (pretrain)",
        "cut": "is not safetensors",
        "gated": "Accept its terms on its page, http",
    }
    for name, text in texts.items():
        path = recipe(store_folder, tmp_path, f"hf-hub:org/{name}@main")
        done = run("finetune", path, "--out", tmp_path / name)
        assert done.code == 2, done
        assert text in " ".join(done.err.split()), done.err
        assert "Traceback" not in done.err
    assert "pytorch_model.bin" not in run.hub.downloaded("org/pickle")


def test_gated_weights_of_timms_say_what_to_do(run: Commands, tmp_path: Path) -> None:
    name = "timm/convnext_tiny.dinov3_lvd1689m"
    run.hub.put(name, {"model.safetensors": b"x"})
    run.hub.gated.add(name)
    out = tmp_path / "w.safetensors"
    done = run("weights", "imagenet", "convnext_tiny.dinov3_lvd1689m", "--out", out)
    assert done.code == 2
    error = " ".join(done.err.split("Error: ")[1].split())
    assert f"Accept its terms on its page, {run.hub.address}/{name}, and log in" in error
    assert error.endswith("Their licence is dinov3-license.")
