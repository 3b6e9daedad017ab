"""Pushing to a Hub over HTTP and pulling back, in processes of their own; most without cxrssl."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.detection import examples_of, splits_of
from cxrssl.data.store import Store
from cxrssl.finetune import finetune
from cxrssl.models.detector_folder import save_detector
from cxrssl.pretrain import pretrain
from detectors import detector, rtdetr
from hub_calls import Commands, Done, code_of, commands, python, tag_of, without_cxrssl
from hub_server import TOKEN, Faults, Hub, environment, serve
from support import ROOT, finetune_recipe, pretrain_recipe

pytestmark = pytest.mark.slow

FILES = {"config.json", "model.safetensors", "preprocessor_config.json"}
PUSHED = "Push a {} with cxrssl"


def assert_refused(done: Done, *texts: str) -> None:
    """Check that a command ended with an error of cxrssl's that says this."""
    assert done.code == 2, done
    assert "Traceback" not in done.err, done.err
    for text in ("Error: ", *texts):
        assert text in done.err


def assert_done(done: Done) -> Done:
    """Check that a command succeeded, and return what it said."""
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Serve a Hub, and run commands that know it."""
    hub = Hub()
    server = serve(hub)
    with commands(hub, tmp_path_factory.mktemp("served") / "home") as run:
        yield run
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(served: Commands) -> Commands:
    """Return what runs a command, with a Hub that is well."""
    served.hub.faults = Faults()
    served.hub.requests.clear()
    return served


@pytest.fixture(scope="module")
def plan(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a backbone, a detector that started from it, and a report."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    pretrain(pretrain_recipe(store_folder), folder / "ssl", resume=False)
    changes = (f"init.backbone={folder}/ssl/backbone", "model.score_threshold=0.0")
    finetune(finetune_recipe(store_folder, *changes), folder / "det", resume=False)
    report = {"plan": "smoke", "answer": "It saves *some* labels.", "remarks": ["one seed"]}
    report |= {"cautions": ["Made."], "counted": ["ssl", "det"]}
    (folder / "report.json").write_text(json.dumps(report))
    Image.new("L", (8, 8)).save(folder / "report.png")
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an image."""
    path = tmp_path_factory.mktemp("film") / "film.png"
    levels = np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


def _card(hub: Hub, repo: str, kind: str = "models") -> str:
    return hub.files(repo, kind)["README.md"].decode()


def _written(recipe: FinetuneRecipe, folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(recipe))
    return path


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_backbone_opens_in_timm_and_transformers(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    tag = tag_of(run("push", plan / "ssl", "org/backbone"))
    home = tmp_path / "home"
    shutil.copytree(film.parent, home)
    card = _card(run.hub, "org/backbone")
    program = f"""
{code_of(card)}
from timm.data import create_transform, resolve_model_data_config
from PIL import Image
local = timm.create_model("local-dir:{plan}/ssl/backbone", pretrained=True).eval()
pixels = torch.rand(2, 1, 64, 64)
colour = pixels.expand(-1, 3, -1, -1)
with torch.no_grad():
    assert torch.equal(encoder.eval()(colour), local(colour))
    assert torch.allclose(grey.eval()(pixels), local(colour), atol=1e-5)
    last = pyramid.eval()(colour)[-1]
    assert torch.equal(last, local.forward_features(colour))
    assert torch.equal(model.eval()(colour).last_hidden_state, last)
config = resolve_model_data_config(encoder)
assert config["crop_mode"] == "squash", config
shape = create_transform(**config)(Image.fromarray(image)).shape
assert shape == processor(image, return_tensors="pt")["pixel_values"][0].shape == (3, 64, 64)
print("equal")
"""
    assert without_cxrssl(run.hub, home, program) == "equal\n"
    assert f"hf-hub:org/backbone@{tag}" in card
    assert "det started from it and was fine-tuned on 100 % of the training labels." in card
    assert not [line for line in run.hub.requests if ".bin" in line or ".pth" in line]


def test_detector_gives_the_same_boxes_by_its_cards_code(
    run: Commands, plan: Path, film: Path, store_folder: Path, tmp_path: Path
) -> None:
    out, home, repo = tmp_path / "found", tmp_path / "home", "org/detector"
    tag = tag_of(run("push", plan / "det", repo))
    assert_done(run("predict", f"hf-hub:{repo}", film, "--out", out))
    assert run.hub.downloaded(repo) == FILES  # not the code that lies there
    card = _card(run.hub, repo)
    shutil.copytree(film.parent, home)
    code = code_of(card).replace("threshold=0.3", "threshold=0.0")
    assert code != code_of(card)
    program = f"{code}\nimport json; print(json.dumps(boxes))"
    theirs = json.loads(without_cxrssl(run.hub, home, program))
    content = json.loads((out / "predictions.json").read_text())
    scores = [box["score"] for box in content["annotations"]]
    assert scores == [round(box["score"], 5) for box in theirs]
    assert len(scores) > 0
    place = f"hf-hub:{repo}@{run.hub.commit_of(repo)}"
    assert content["info"]["detector"] == place
    assert f'revision="{tag}"' in card

    report = tmp_path / "scores.json"
    assert_done(run("eval", place, "--data", store_folder, "--normals", "--json", report))
    evaluated = json.loads(report.read_text())
    assert evaluated["detector"]["source"] == place
    assert evaluated["metrics"] == json.loads((plan / "det/metrics.json").read_text())["metrics"]


def test_card_has_valid_metadata_and_its_evidence_beside_it(run: Commands, plan: Path) -> None:
    assert_done(run("push", plan / "det", "org/card-a", "--license", "cc-by-nc-4.0"))
    assert_done(run("push", plan / "ssl", "org/card-b"))
    metrics = json.loads((plan / "det/metrics.json").read_text())["metrics"]
    for repo, licence in (("org/card-a", "cc-by-nc-4.0"), ("org/card-b", "other")):
        files = run.hub.files(repo)
        card = ModelCard(files["README.md"].decode())
        assert card.data.license == licence
        results = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert results["map_50"] == round(metrics["AP50"]["value"], 4)
        assert "It saves \\*some\\* labels." in card.content
        assert "Trained on made images" in card.content
        assert files["evidence/label_efficiency.png"][1:4] == b"PNG"
        for path, content in files.items():
            assert str(plan.parent).encode() not in content, path
    record = json.loads(run.hub.files("org/card-a")["evidence/transfer.json"])
    assert record["transfers"][0]["source"] == "ssl/backbone"
    assert record["transfers"][0]["arrived"]


def test_unknown_licence_is_refused_before_anything_is_sent(run: Commands, plan: Path) -> None:
    done = run("push", plan / "ssl", "org/licence", "--license", "")
    assert_refused(done, "does not take the card's metadata")
    assert ("models", "org/licence") not in run.hub.repos


def test_data_set_has_boxes_alone_and_is_private_by_default(
    run: Commands, store_folder: Path, tmp_path: Path
) -> None:
    assert_done(run("push", store_folder, "org/boxes"))
    assert_done(run("push", store_folder, "org/pixels", "--images"))
    assert "was there already" in run("push", store_folder, "org/boxes").out
    public = run("push", store_folder, "org/boxes", "--public")
    assert_refused(public, "is private, and this push is to be public")
    assert all(run.hub.repos["datasets", repo].private for repo in ("org/boxes", "org/pixels"))
    program = f"""
import json, sys
sys.modules["cxrssl"] = None
{code_of(_card(run.hub, "org/boxes", "datasets"))}
first = load_dataset("org/pixels", split="train")[0]
assert first["image"].size == (first["width"], first["height"]) == (64, 64)
print(json.dumps([list(data["train"].features), {{name: part[:] for name, part in data.items()}}]))
"""
    done = assert_done(python(run.hub, tmp_path / "home", program))
    columns, parts = json.loads(done.out.splitlines()[-1])
    assert columns == [
        *("image_id", "width", "height", "original_width", "original_height"),
        *("objects", "readers"),
    ]
    store = Store(store_folder)
    splits = splits_of(store, protocol="corrected", normals=True)
    examples = {item.image_id: item for item in examples_of(store, fusion="consensus", iou=0.2)}
    for name, part in parts.items():
        assert sorted(part["image_id"]) == sorted(key for key in splits if splits[key] == name)
        for image_id, objects in zip(part["image_id"], part["objects"], strict=True):
            assert np.array_equal(np.reshape(objects["bbox"], (-1, 4)), examples[image_id].boxes)
            assert objects["support"] == examples[image_id].support.tolist()
    assert parts.keys() == {"train", "val", "test"}


def test_vindr_pixels_go_nowhere_and_its_boxes_not_to_the_public(
    run: Commands, store_folder: Path, tmp_path: Path
) -> None:
    store, repo = tmp_path / "vindr", "org/vindr"
    shutil.copytree(store_folder, store)
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["made"]
    (store / "manifest.json").write_text(json.dumps(manifest | {"made": False}))
    assert_refused(run("push", store, repo, "--images"), "forbid to pass its images on")
    assert_refused(run("push", store, repo, "--public"), "not agreed to them")
    right = "--i-have-the-right-to-share-images"
    assert_done(run("push", store, repo, "--images", "--dry-run", right))
    assert run.hub.requests == []
    assert_done(run("push", store, repo))
    assert run.hub.titles(repo, "datasets") == ["initial commit", PUSHED.format("data set")]
    assert "taken for them (Nguyen et al." in _card(run.hub, repo, "datasets")


def test_private_repository_bad_token_and_no_token_left_anywhere(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    wrong = "hf_" + "ThisOneMayNothing"
    out, repo = tmp_path / "out", "org/private"
    pushed = assert_done(run("push", plan / "det", repo, "--private"))
    assert run.hub.repos["models", repo].private
    hidden = run("predict", f"hf-hub:{repo}", film, "--out", out / "a", token=wrong)
    assert_refused(hidden, f"{repo}@main", "It is not there, or private and not for this token")
    refused = run("push", plan / "det", "org/new", token=wrong)
    assert_refused(refused, "The token is missing, or old, or may not do that there")
    nobody = run("push", plan / "det", "org/new", token=None)
    assert_refused(nobody)
    in_name = run("push", plan / "det", f"https://{TOKEN}@hub/org/det")
    assert_refused(in_name, "expected ORG/NAME")
    in_place = run("push", f"https://{TOKEN}@hub/org/det", "org/det")
    change = f"init.backbone=hf-hub:{TOKEN}/x"
    in_recipe = run("finetune", ROOT / "recipes/finetune/smoke.yaml", "--set", change)
    assert (in_place.code, in_recipe.code) == (2, 2)
    right = assert_done(run("predict", f"hf-hub:{repo}", film, "--out", out / "b"))
    texts = [
        done.out + done.err
        for done in (pushed, hidden, refused, nobody, in_name, in_place, in_recipe, right)
    ]
    files = [path for place in (run.home, out, plan) for path in place.rglob("*") if path.is_file()]
    assert len(files) > 10
    contents = [text.encode() for text in texts] + [path.read_bytes() for path in files]
    contents += run.hub.files(repo).values()
    for secret in (TOKEN.encode(), wrong.encode()):
        assert not [content for content in contents if secret in content]


def test_other_content_is_kept_and_revisions_stay_apart(
    run: Commands, plan: Path, store_folder: Path, tmp_path: Path
) -> None:
    other, repo = tmp_path / "runs" / "other", "org/revisions"
    pretrain(pretrain_recipe(store_folder, "seed=1"), other, resume=False)
    first = run("push", plan / "ssl", repo)
    again = assert_done(run("push", plan / "ssl", repo))
    assert "was there already" in again.out
    # Another card is no other content.
    assert_done(run("push", plan / "ssl", repo, "--license", "mit"))
    assert_refused(run("push", other, repo), "--revision NAME")
    beside = run("push", other, repo, "--revision", "seed-1")
    assert_refused(run("push", plan / "ssl", repo, "--revision", "seed-1"), "--replace")
    before = run.hub.files(repo).keys()
    assert "evidence/detector_metrics.json" in before
    replaced = run("push", other, repo, "--replace")
    assert before - run.hub.files(repo).keys()  # what only the first had is gone
    titles = ["initial commit", *[PUSHED.format("backbone")] * 3]
    assert run.hub.titles(repo) == run.hub.titles(repo, branch="seed-1") == titles
    assert tag_of(beside) == tag_of(replaced) != tag_of(first)

    # At its tag it is still what it was.
    folder = tmp_path / "det"
    place = f"hf-hub:{repo}@{tag_of(first)}"
    recipe = _written(finetune_recipe(store_folder, f"init.backbone={place}"), tmp_path)
    assert_done(run("finetune", recipe, "--out", folder))
    (record,) = json.loads((folder / "transfer.json").read_text())["transfers"]
    assert record["source"] == f"hf-hub:{repo}@{run.hub.commit_of(repo, tag_of(first))}"
    local = json.loads((plan / "det/transfer.json").read_text())["transfers"][0]
    assert record["loaded_sha256"] == local["loaded_sha256"]
    # A recipe that says no revision would be another one tomorrow.
    done = run("finetune", recipe, "--set", f"init.backbone=hf-hub:{repo}", "--out", tmp_path / "x")
    assert_refused(done, "says which revision it means")


def test_any_lost_answer_is_made_good_and_one_commit_results(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    for number in range(20):
        run.hub.requests.clear()
        run.hub.faults.lost_answer = number
        repo = f"org/lost{number}"
        tag = tag_of(run("push", plan / "ssl", repo, "--revision", "beside"))
        titles = ["initial commit", PUSHED.format("backbone")]
        assert run.hub.titles(repo, branch="beside") == titles
        assert run.hub.commit_of(repo, tag) == run.hub.commit_of(repo, "beside")
        if len(run.hub.requests) <= number:
            break
    assert 10 < number < 19
    # A commit that deletes could not be made again.
    run.hub.faults.lost_answer = "/commit/"
    assert_done(run("push", plan / "det", repo, "--revision", "beside", "--replace"))
    assert run.hub.faults.lost_answer is None
    assert run.hub.titles(repo, branch="beside") == [*titles, PUSHED.format("detector")]
    place = f"hf-hub:{repo}@beside"
    for number in range(4):
        run.hub.requests.clear()
        run.hub.faults.lost_answer = number
        shutil.rmtree(run.home / "hub", ignore_errors=True)
        assert_done(run("predict", place, film, "--out", tmp_path / str(number)))


def test_killed_push_is_completed_by_the_same_call(
    run: Commands, plan: Path, tmp_path: Path
) -> None:
    hub, repo = run.hub, "org/killed"
    command = [sys.executable, "-m", "cxrssl", "push", str(plan / "det"), repo]
    pushing = subprocess.Popen(command, env=environment(hub, tmp_path), stderr=subprocess.PIPE)
    hub.faults.before_commit = lambda: pushing.send_signal(signal.SIGKILL)
    _, err = pushing.communicate()
    assert pushing.returncode == -signal.SIGKILL, err
    assert hub.titles(repo) == ["initial commit"]
    uploads = [line for line in hub.requests if line.startswith("PUT")]
    assert uploads
    assert_done(run("push", plan / "det", repo))
    # What had arrived was not sent again.
    assert [line for line in hub.requests if line.startswith("PUT")] == uploads
    assert hub.titles(repo) == ["initial commit", PUSHED.format("detector")]


def test_what_another_commits_at_the_same_time_is_not_written_over(
    run: Commands, plan: Path
) -> None:
    hub, repo = run.hub, "org/both"
    hub.faults.before_commit = lambda: hub.repos["models", repo].commit("theirs", {"a": b"b"})
    done = run("push", plan / "det", repo, "--replace")
    assert_refused(done, f"answers 412 for {repo}", "Someone else wrote there at the same time")
    assert hub.titles(repo) == ["initial commit", "theirs"]


def test_full_disk_there_or_here_leaves_nothing_half_done(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    repo = "org/full"
    run.hub.faults.is_full = True
    full = run("push", plan / "det", repo)
    assert_refused(full, f"answers 507 for {repo}: no room is left on the Hub")
    assert run.hub.titles(repo) == ["initial commit"]
    run.hub.faults.is_full = False
    assert_done(run("push", plan / "det", repo))
    predict = ["predict", f"hf-hub:{repo}", str(film), "--out", str(tmp_path / "found")]
    small = 100_000
    assert (plan / "det/detector/model.safetensors").stat().st_size > small
    limited = subprocess.run(
        [sys.executable, "-m", "cxrssl", *predict],
        env=environment(run.hub, tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)),
    )
    assert limited.returncode == 2, limited.stderr
    assert "a limit on files (ulimit -f) is reached" in limited.stderr
    assert not (tmp_path / "found").exists()
    assert_done(run(*predict))


def test_cache_is_used_offline_and_checked(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    repo = "org/cached"
    assert_done(run("push", plan / "det", repo))
    assert_done(run("predict", f"hf-hub:{repo}", film, "--out", tmp_path / "a"))
    run.hub.requests.clear()
    program = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from cxrssl.cli import main
repo, film, out = sys.argv[1:]
for name in ("org/elsewhere", repo):
    sys.argv = ["cxrssl", "predict", f"hf-hub:{name}", film, "--out", out]
    try:
        main()
    except SystemExit as ended:
        print("CODE", ended.code)
"""
    done = python(run.hub, run.home, program, repo, str(film), str(tmp_path / "b"))
    assert done.out.count("CODE 2") == 1, done.out + done.err
    assert "org/elsewhere@main is not complete in the cache" in done.err
    assert (tmp_path / "b/predictions.json").is_file()
    assert run.hub.requests == []
    (weights,) = run.home.rglob("models--org--cached/snapshots/*/model.safetensors")
    content = bytearray(weights.resolve().read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    damaged = run("predict", f"hf-hub:{repo}", film, "--out", tmp_path / "c")
    assert_refused(damaged, "is not what the Hub has")


def test_nothing_that_a_config_of_the_hub_names_is_followed(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    # More of them are in tests/models/test_detector_folder.py.
    changes: dict[str, dict[str, object]] = {
        "body": {"backbone": "hf-hub:stranger/body"},
        "kernel": {"attn_implementation": "stranger/kernel"},
        "flash": {"attn_implementation": "flash_attention_2"},
        "code": {"auto_map": {"AutoConfig": "stranger/repo--config.Evil"}},
        "quantized": {"quantization_config": {"quant_method": "awq"}},
        "kwargs": {"backbone_kwargs": {"checkpoint_path": "w.pth"}},
        "type": {"model_type": "stranger"},
    }
    files = _files(plan / "det/detector")
    config, weights = json.loads(files["config.json"]), files["model.safetensors"]
    repos = {
        name: files | {"config.json": json.dumps(config | change).encode()}
        for name, change in changes.items()
    }
    torch.save(load_file(plan / "det/detector/model.safetensors"), tmp_path / "pickle")
    repos["pickled"] = files | {"pytorch_model.bin": (tmp_path / "pickle").read_bytes()}
    del repos["pickled"]["model.safetensors"]
    repos["cut"] = files | {"model.safetensors": weights[: len(weights) // 2]}
    texts = {
        **dict.fromkeys(changes.keys() - {"type"}, "none is followed"),
        "pickled": "model.safetensors missing",
        "cut": "holds no detector that can be read",
    }
    for name, content in repos.items():
        run.hub.put(f"evil/{name}", content)
        done = run("predict", f"hf-hub:evil/{name}", film, "--out", tmp_path / "out")
        assert_refused(done, f"hf-hub:evil/{name}@", texts.get(name, ""))
        assert run.hub.downloaded(f"evil/{name}") <= FILES
    assert "stranger" not in "".join(run.hub.requests)


def test_backbone_of_the_hub_must_be_the_recipes_timm_model(
    run: Commands, plan: Path, store_folder: Path, tmp_path: Path
) -> None:
    files = _files(plan / "ssl/backbone")
    config = json.loads(files["config.json"])
    other = "is a test_convnext; the recipe has a test_resnet"
    no_model = "timm has no model called 'local-dir:/etc'"
    for name, text in (("test_convnext", other), ("local-dir:/etc", no_model)):
        changed = json.dumps(config | {"architecture": name}).encode()
        run.hub.put("evil/backbone", files | {"config.json": changed})
        change = "init.backbone=hf-hub:evil/backbone@main"
        recipe = _written(finetune_recipe(store_folder, change), tmp_path)
        assert_refused(run("finetune", recipe, "--out", tmp_path / "run"), text)
    # A pretraining may start from the Hub, and ImageNet's weights may lie there.
    assert_done(run("push", plan / "ssl", "org/start"))
    place = f"hf-hub:org/start@{run.hub.commit_of('org/start')}"
    for start in ("run", "imagenet"):
        out = tmp_path / start
        changes = [f"data.store={store_folder}", f"body.start={start}", f"body.weights={place}"]
        options = [part for change in [*changes, "max_steps=1"] for part in ("--set", change)]
        assert_done(run("pretrain", ROOT / "recipes/pretrain/smoke.yaml", *options, "--out", out))
        (record,) = json.loads((out / "transfer.json").read_text())["transfers"]
        assert (record["source"], record["arrived"]) == (place, True)


def test_rtdetr_is_pulled_and_names_in_its_backbone_are_refused(
    run: Commands, film: Path, tmp_path: Path
) -> None:
    save_detector(detector(rtdetr()), tmp_path / "rtdetr")
    files = _files(tmp_path / "rtdetr")
    run.hub.put("org/rtdetr", files)
    assert_done(run("predict", "hf-hub:org/rtdetr", film, "--out", tmp_path / "found"))
    config = json.loads(files["config.json"])
    changes = (
        {"backbone": "hf-hub:stranger/body"},
        {"use_pretrained_backbone": True},
        {"model_type": "resnet"},
        None,
    )
    for number, change in enumerate(changes):
        inside = "resnet18" if change is None else config["backbone_config"] | change
        changed = json.dumps(config | {"backbone_config": inside}).encode()
        run.hub.put(f"evil/rtdetr{number}", files | {"config.json": changed})
        assert_refused(run("predict", f"hf-hub:evil/rtdetr{number}", film, "--out", tmp_path / "x"))
    assert "stranger" not in "".join(run.hub.requests)
