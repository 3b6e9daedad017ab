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
from hub_calls import Commands, code_of, commands, python, tag_of, without_cxrssl
from hub_server import TOKEN, Faults, Hub, environment, serve
from support import ROOT, finetune_recipe, pretrain_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Serve a Hub, and run commands that know it."""
    folder = tmp_path_factory.mktemp("served")
    own = Hub(folder / "hub")
    server = serve(own)
    with commands(own, folder / "home") as run:
        yield run
    server.shutdown()


@pytest.fixture
def run(served: Commands) -> Commands:
    """Return what runs a command, with a Hub that is well."""
    served.hub.faults = Faults()
    served.hub.asked.clear()
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
    """Write a picture."""
    path = tmp_path_factory.mktemp("film") / "film.png"
    levels = np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


def test_a_backbone_is_timms_and_transformers_own(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    tag = tag_of(run("push", plan / "ssl", "org/backbone"))
    home = tmp_path / "home"
    shutil.copytree(film.parent, home)
    card = run.hub.content("models", "org/backbone", "README.md").decode()
    program = f"""
{code_of(card)}
from timm.data import create_transform, resolve_model_data_config
from PIL import Image
own = timm.create_model("local-dir:{plan}/ssl/backbone", pretrained=True).eval()
pixels = torch.rand(2, 1, 64, 64)
colour = pixels.expand(-1, 3, -1, -1)
with torch.no_grad():
    assert torch.equal(encoder.eval()(colour), own(colour))
    assert torch.allclose(grey.eval()(pixels), own(colour), atol=1e-5)
    last = pyramid.eval()(colour)[-1]
    assert torch.equal(last, own.forward_features(colour))
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
    assert not [one for one in run.hub.asked if ".bin" in one or ".pth" in one]


def test_a_detector_finds_with_its_cards_code_what_it_finds_here(
    run: Commands, plan: Path, film: Path, store_folder: Path, tmp_path: Path
) -> None:
    out, home, repo = tmp_path / "found", tmp_path / "home", "org/detector"
    pushed = run("push", plan / "det", repo)
    assert run("predict", f"hf-hub:{repo}", film, "--out", out).code == 0
    # cxrssl has no use for the code that lies there.
    assert run.hub.fetched(repo) == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }
    card = run.hub.content("models", repo, "README.md").decode()
    shutil.copytree(film.parent, home)
    code = code_of(card).replace("threshold=0.3", "threshold=0.0")
    assert code != code_of(card)
    program = f"{code}\nimport json; print(json.dumps(boxes))"
    theirs = json.loads(without_cxrssl(run.hub, home, program))
    content = json.loads((out / "predictions.json").read_text())
    ours = content["annotations"]
    assert [one["score"] for one in ours] == [round(one["score"], 5) for one in theirs]
    assert len(ours) > 0
    commit = run.hub.commit_of(repo)
    assert content["info"]["detector"] == f"hf-hub:{repo}@{commit}"
    assert f'revision="{tag_of(pushed)}"' in card

    scores = tmp_path / "scores.json"
    done = run(
        "eval", f"hf-hub:{repo}@{commit}", "--data", store_folder, "--normals", "--json", scores
    )
    assert done.code == 0, done.err
    told = json.loads(scores.read_text())
    assert told["detector"]["source"] == f"hf-hub:{repo}@{commit}"
    assert told["metrics"] == json.loads((plan / "det/metrics.json").read_text())["metrics"]


def test_a_card_is_metadata_that_the_hub_reads_with_the_evidence_beside_it(
    run: Commands, plan: Path
) -> None:
    assert run("push", plan / "det", "org/card-a", "--license", "cc-by-nc-4.0").code == 0
    assert run("push", plan / "ssl", "org/card-b").code == 0
    metrics = json.loads((plan / "det/metrics.json").read_text())["metrics"]
    for repo, licence in (("org/card-a", "cc-by-nc-4.0"), ("org/card-b", "other")):
        card = ModelCard(run.hub.content("models", repo, "README.md").decode())
        assert card.data.license == licence
        results = {one.metric_type: one.metric_value for one in card.data.eval_results}
        assert results["map_50"] == round(metrics["AP50"]["value"], 4)
        assert "It saves \\*some\\* labels." in card.content
        assert "Trained on made images" in card.content
        assert run.hub.content("models", repo, "evidence/label_efficiency.png")[1:4] == b"PNG"
        for path in run.hub.files_of(repo):
            content = run.hub.content("models", repo, path)
            # No path of this machine.
            assert str(plan.parent).encode() not in content, path
    record = json.loads(run.hub.content("models", "org/card-a", "evidence/transfer.json"))
    assert record["transfers"][0]["source"] == "ssl/backbone"
    assert record["transfers"][0]["arrived"]


def test_a_licence_that_the_hub_does_not_take_is_refused_before_anything_is_sent(
    run: Commands, plan: Path
) -> None:
    done = run("push", plan / "ssl", "org/licence", "--license", "")
    assert done.code == 2
    assert "does not take the card's metadata" in done.err
    assert run.hub.read("models", "org/licence") is None


def test_a_data_set_is_boxes_alone_and_private_until_told_otherwise(
    run: Commands, store_folder: Path, tmp_path: Path
) -> None:
    assert run("push", store_folder, "org/boxes").code == 0
    assert run("push", store_folder, "org/pixels", "--images").code == 0
    assert "was there already" in run("push", store_folder, "org/boxes").out
    public = run("push", store_folder, "org/boxes", "--public")
    assert public.code == 2
    assert "is private, and this push is to be public" in public.err
    for repo in ("org/boxes", "org/pixels"):
        assert run.hub.repo_of("datasets", repo)["private"]
    program = f"""
import json, sys
sys.modules["cxrssl"] = None
{code_of(run.hub.content("datasets", "org/boxes", "README.md").decode())}
first = load_dataset("org/pixels", split="train")[0]
assert first["image"].size == (first["width"], first["height"]) == (64, 64)
print(json.dumps([list(data["train"].features), {{name: part[:] for name, part in data.items()}}]))
"""
    done = python(run.hub, tmp_path / "home", program)
    assert done.code == 0, done.err
    columns, parts = json.loads(done.out.splitlines()[-1])
    assert columns == [
        *("image_id", "width", "height", "original_width", "original_height"),
        *("objects", "readers"),
    ]
    store = Store(store_folder)
    splits = splits_of(store, protocol="corrected", normals=True)
    examples = {one.image_id: one for one in examples_of(store, fusion="consensus", iou=0.2)}
    for name, part in parts.items():
        assert sorted(part["image_id"]) == sorted(x for x in splits if splits[x] == name)
        for image_id, objects in zip(part["image_id"], part["objects"], strict=True):
            own = examples[image_id]
            assert np.array_equal(np.reshape(objects["bbox"], (-1, 4)), own.boxes)
            assert objects["support"] == own.support.tolist()
    assert parts.keys() == {"train", "val", "test"}


def test_pixels_of_vindr_go_nowhere_and_its_boxes_not_to_the_public(
    run: Commands, store_folder: Path, tmp_path: Path
) -> None:
    store, repo = tmp_path / "vindr", "org/vindr"
    shutil.copytree(store_folder, store)
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["made"]
    (store / "manifest.json").write_text(json.dumps(manifest | {"made": False}))
    word = "--i-have-the-right-to-share-images"
    pixels = run("push", store, repo, "--images")
    assert pixels.code == 2
    assert "forbid to pass its images on" in pixels.err
    public = run("push", store, repo, "--public")
    assert public.code == 2
    assert "not agreed to them" in public.err
    assert run("push", store, repo, "--images", "--dry-run", word).code == 0
    assert run.hub.asked == []
    assert run("push", store, repo).code == 0
    assert run.hub.commits("datasets", repo) == ["initial commit", "Push a data set with cxrssl"]
    assert b"taken for them (Nguyen et al." in run.hub.content("datasets", repo, "README.md")


def test_a_private_repository_a_bad_token_and_no_token_in_anything_that_is_left(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    wrong = "hf_" + "ThisOneMayNothing"
    out, repo = tmp_path / "out", "org/private"
    pushed = run("push", plan / "det", repo, "--private")
    assert pushed.code == 0
    hidden = run("predict", f"hf-hub:{repo}", film, "--out", out / "a", token=wrong)
    assert hidden.code == 2
    assert f"shows no {repo}@main" in hidden.err
    refused = run("push", plan / "det", "org/new", token=wrong)
    assert refused.code == 2
    assert "The token is missing, or old, or may not do that there" in refused.err
    nobody = run("push", plan / "det", "org/new", token=None)
    assert nobody.code == 2
    in_name = run("push", plan / "det", f"https://{TOKEN}@hub/org/det")
    assert in_name.code == 2
    assert "expected ORG/NAME" in in_name.err
    in_place = run("push", f"https://{TOKEN}@hub/org/det", "org/det")
    change = f"init.backbone=hf-hub:{TOKEN}/x"
    in_recipe = run("finetune", ROOT / "recipes/finetune/smoke.yaml", "--set", change)
    assert (in_place.code, in_recipe.code) == (2, 2)
    right = run("predict", f"hf-hub:{repo}", film, "--out", out / "b")
    assert right.code == 0
    for done in (pushed, hidden, refused, nobody, in_name, in_place, in_recipe, right):
        assert TOKEN not in done.out + done.err
        assert wrong not in done.out + done.err
    folders = (run.home, run.hub.root, out, plan)
    left = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(left) > 10
    for path in left:
        content = path.read_bytes()
        assert TOKEN.encode() not in content, path
        assert wrong.encode() not in content, path


def test_other_content_is_not_written_over_and_revisions_stay_apart(
    run: Commands, plan: Path, store_folder: Path, tmp_path: Path
) -> None:
    other, repo = tmp_path / "runs" / "other", "org/revisions"
    pretrain(pretrain_recipe(store_folder, "seed=1"), other, resume=False)
    first = run("push", plan / "ssl", repo)
    again = run("push", plan / "ssl", repo)
    assert (first.code, again.code) == (0, 0)
    assert "was there already" in again.out
    # Another card is no other content.
    assert run("push", plan / "ssl", repo, "--license", "mit").code == 0
    refused = run("push", other, repo)
    assert refused.code == 2
    assert "--revision NAME" in refused.err
    beside = run("push", other, repo, "--revision", "seed-1")
    late = run("push", plan / "ssl", repo, "--revision", "seed-1")
    assert (beside.code, late.code) == (0, 2)
    assert "--replace" in late.err
    replaced = run("push", other, repo, "--replace")
    title = "Push a backbone with cxrssl"
    assert run.hub.commits("models", repo) == ["initial commit", title, title, title]
    assert run.hub.commits("models", repo, "seed-1") == ["initial commit", title, title, title]
    assert tag_of(beside) == tag_of(replaced) != tag_of(first)

    # At its tag it is still what it was.
    folder = tmp_path / "det"
    place = f"hf-hub:{repo}@{tag_of(first)}"
    recipe = _written(finetune_recipe(store_folder, f"init.backbone={place}"), tmp_path)
    done = run("finetune", recipe, "--out", folder)
    assert done.code == 0, done.err
    (record,) = json.loads((folder / "transfer.json").read_text())["transfers"]
    assert record["source"] == f"hf-hub:{repo}@{run.hub.commit_of(repo, tag_of(first))}"
    own = json.loads((plan / "det/transfer.json").read_text())["transfers"][0]
    assert record["loaded_sha256"] == own["loaded_sha256"]
    # A recipe that says no revision would be another one tomorrow.
    done = run("finetune", recipe, "--set", f"init.backbone=hf-hub:{repo}", "--out", tmp_path / "x")
    assert done.code == 2
    assert "says which revision it means" in done.err


def _written(recipe: FinetuneRecipe, folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(recipe))
    return path


def test_one_request_in_five_fails_and_all_arrives_in_one_commit(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    run.hub.faults.every = 5
    pushed = run("push", plan / "ssl", "org/flaky")
    assert pushed.code == 0, pushed.err
    assert run.hub.commits("models", "org/flaky") == [
        *("initial commit", "Push a backbone with cxrssl")
    ]
    run.hub.faults.every = None
    assert run("push", plan / "det", "org/flaky-det").code == 0
    run.hub.faults.every = 5
    done = run("predict", "hf-hub:org/flaky-det", film, "--out", tmp_path / "found")
    assert done.code == 0, done.err


def test_a_commit_whose_answer_is_lost_is_found_and_not_made_twice(
    run: Commands, plan: Path
) -> None:
    first, second = (f"Push a {what} with cxrssl" for what in ("backbone", "detector"))
    run.hub.faults.commit_unheard = True
    assert run("push", plan / "ssl", "org/unheard").code == 0
    assert run.hub.commits("models", "org/unheard") == ["initial commit", first]
    # One that deletes could not be made again.
    before = set(run.hub.files_of("org/unheard"))
    run.hub.faults.commit_unheard = True
    done = run("push", plan / "det", "org/unheard", "--replace")
    assert done.code == 0, done.err
    assert run.hub.commits("models", "org/unheard") == ["initial commit", first, second]
    assert before - set(run.hub.files_of("org/unheard"))


def test_a_broken_line_and_a_killed_push_are_made_good_by_the_same_call(
    run: Commands, plan: Path, tmp_path: Path
) -> None:
    hub, repo = run.hub, "org/killed"
    command = [sys.executable, "-m", "cxrssl", "push", str(plan / "det"), repo]
    pushing = subprocess.Popen(command, env=environment(hub, tmp_path), stderr=subprocess.PIPE)
    hub.faults.break_upload = True
    hub.faults.before_commit = lambda: pushing.send_signal(signal.SIGKILL)
    _, said = pushing.communicate()
    assert pushing.returncode == -signal.SIGKILL, said
    assert hub.commits("models", repo) == ["initial commit"]
    uploads = [one for one in hub.asked if one.startswith("PUT")]
    assert len(uploads) > len(set(uploads))  # the one that broke was sent again
    assert run("push", plan / "det", repo).code == 0
    # What had arrived was not sent again.
    assert [one for one in hub.asked if one.startswith("PUT")] == uploads
    assert hub.commits("models", repo) == ["initial commit", "Push a detector with cxrssl"]


def test_a_full_disk_there_or_here_leaves_nothing_half_done(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    repo = "org/full"
    run.hub.faults.is_full = True
    full = run("push", plan / "det", repo)
    assert full.code == 2
    assert f"answers 507 for {repo}: no room is left on the Hub" in full.err
    assert run.hub.commits("models", repo) == ["initial commit"]
    run.hub.faults.is_full = False
    assert run("push", plan / "det", repo).code == 0
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
    assert run(*predict).code == 0


def test_what_the_cache_holds_is_used_offline_and_checked(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    repo = "org/cached"
    assert run("push", plan / "det", repo).code == 0
    predict = ["predict", f"hf-hub:{repo}", str(film), "--out", str(tmp_path / "a")]
    assert run(*predict).code == 0
    before = len(run.hub.asked)
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
    assert "org/elsewhere@main is not whole in the cache" in done.err
    assert (tmp_path / "b/predictions.json").is_file()
    assert len(run.hub.asked) == before
    (weights,) = run.home.rglob("models--org--cached/snapshots/*/model.safetensors")
    content = bytearray(weights.resolve().read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    damaged = run(*predict[:-1], tmp_path / "c")
    assert damaged.code == 2
    assert "is not what the Hub has" in damaged.err


def test_nothing_that_a_config_of_the_hub_names_is_followed(
    run: Commands, plan: Path, film: Path, tmp_path: Path
) -> None:
    changes: dict[str, dict[str, object]] = {
        "body": {"backbone": "hf-hub:stranger/body"},
        "path": {"backbone": "local-dir:/etc"},
        "kernel": {"attn_implementation": "stranger/kernel"},
        "code": {"auto_map": {"AutoConfig": "stranger/repo--config.Evil"}},
        "flash": {"attn_implementation": "flash_attention_2"},
        "quantized": {"quantization_config": {"quant_method": "awq"}},
        "kwargs": {"backbone_kwargs": {"checkpoint_path": "w.pth"}},
        "type": {"model_type": "stranger"},
        "labels": {"id2label": "x"},
        "number": {"score_threshold": "a"},
        "dtype": {"dtype": "nonsense"},
    }
    own = plan / "det/detector"
    for name, change in changes.items():
        config = json.loads((own / "config.json").read_text()) | change
        run.hub.put("evil/" + name, _files(own) | {"config.json": json.dumps(config).encode()})
    torch.save(load_file(own / "model.safetensors"), tmp_path / "pickle")
    pickled = _files(own) | {"pytorch_model.bin": (tmp_path / "pickle").read_bytes()}
    del pickled["model.safetensors"]
    run.hub.put("evil/pickled", pickled)
    whole = (own / "model.safetensors").read_bytes()
    run.hub.put("evil/cut", _files(own) | {"model.safetensors": whole[: len(whole) // 2]})
    lies = b"\xff" * 8 + whole[8:]
    run.hub.put("evil/header", _files(own) | {"model.safetensors": lies})
    said = {}
    for name in (*changes, "pickled", "cut", "header"):
        done = run("predict", f"hf-hub:evil/{name}", film, "--out", tmp_path / "out")
        assert done.code == 2, name
        assert done.err.startswith("Error: "), done.err
        assert run.hub.fetched(f"evil/{name}") <= {
            *("config.json", "model.safetensors", "preprocessor_config.json")
        }
        said[name] = done.err
    for name in ("body", "path", "kernel", "code", "flash", "quantized", "kwargs"):
        assert "none is followed" in said[name]
    assert "score_threshold 'a' (expected a number from 0 to 1)" in said["number"]
    assert "id2label is 'x'" in said["labels"]
    assert all(f"hf-hub:evil/{name}@" in text for name, text in said.items()), said
    assert "model.safetensors missing" in said["pickled"]
    assert "holds no detector that can be read" in said["cut"]
    assert "holds no detector that can be read" in said["header"]
    assert "stranger" not in "".join(run.hub.asked)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_backbone_of_the_hub_is_a_name_of_timm_and_the_recipes_own(
    run: Commands, plan: Path, store_folder: Path, tmp_path: Path
) -> None:
    own = plan / "ssl/backbone"
    config = json.loads((own / "config.json").read_text())
    said = {}
    for name, architecture in (("other", "test_convnext"), ("path", "local-dir:/etc")):
        changed = json.dumps(config | {"architecture": architecture}).encode()
        run.hub.put(f"evil/{name}", _files(own) | {"config.json": changed})
        change = f"init.backbone=hf-hub:evil/{name}@main"
        recipe = _written(finetune_recipe(store_folder, change), tmp_path)
        done = run("finetune", recipe, "--out", tmp_path / "run")
        assert done.code == 2
        said[name] = done.err
    assert "hf-hub:evil/other@" in said["other"]
    assert "is a test_convnext; the recipe has a test_resnet" in said["other"]
    assert "timm has no model called 'local-dir:/etc'" in said["path"]
    # A pretraining may start from the Hub, and ImageNet's weights may lie there.
    assert run("push", own.parent, "org/start").code == 0
    place = f"hf-hub:org/start@{run.hub.commit_of('org/start')}"
    for start in ("run", "imagenet"):
        out = tmp_path / start
        changes = [f"data.store={store_folder}", f"body.start={start}", f"body.weights={place}"]
        options = [part for one in [*changes, "max_steps=1"] for part in ("--set", one)]
        done = run("pretrain", ROOT / "recipes/pretrain/smoke.yaml", *options, "--out", out)
        assert done.code == 0, done.err
        (record,) = json.loads((out / "transfer.json").read_text())["transfers"]
        assert (record["source"], record["arrived"]) == (place, True)


def test_the_second_family_is_pulled_too_and_its_backbone_is_a_name_as_well(
    run: Commands, film: Path, tmp_path: Path
) -> None:
    save_detector(detector(rtdetr()), tmp_path / "rtdetr")
    files = _files(tmp_path / "rtdetr")
    run.hub.put("org/rtdetr", files)
    done = run("predict", "hf-hub:org/rtdetr", film, "--out", tmp_path / "found")
    assert done.code == 0, done.err
    config = json.loads(files["config.json"])
    for number, change in enumerate(
        (
            {"backbone": "hf-hub:stranger/body"},
            {"use_pretrained_backbone": True},
            {"model_type": "resnet"},
            None,
        )
    ):
        inside = "resnet18" if change is None else config["backbone_config"] | change
        changed = json.dumps(config | {"backbone_config": inside}).encode()
        run.hub.put(f"evil/rtdetr{number}", files | {"config.json": changed})
        done = run("predict", f"hf-hub:evil/rtdetr{number}", film, "--out", tmp_path / "x")
        assert done.code == 2
        assert done.err.startswith("Error: "), done.err
    assert "stranger" not in "".join(run.hub.asked)
