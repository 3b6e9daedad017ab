"""`cxrssl recipes`, and how `pretrain` and `finetune` find what they are to run."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import timm
import transformers

import cxrssl
from cxrssl.config.catalogue import packaged_names
from cxrssl.config.load import to_yaml
from support import ROOT, pretrain_recipe, run_cxrssl


def test_recipes_lists_a_line_each_and_json_alone(tmp_path: Path) -> None:
    done = run_cxrssl("recipes", folder=tmp_path)
    lines = done.stdout.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(names) == packaged_names()
    entries = json.loads(run_cxrssl("recipes", "--json", folder=tmp_path).stdout)
    assert [entry["name"] for entry in entries] == names
    for entry in entries:
        assert Path(entry["path"]).is_file()
        assert entry["command"].split()[:2] == [
            "cxrssl",
            {"plan": "reproduce"}.get(entry["task"], entry["task"]),
        ]


def test_version(tmp_path: Path) -> None:
    done = run_cxrssl("--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"cxrssl {cxrssl.__version__}\n")


@pytest.mark.slow
def test_an_installed_package_has_its_recipes(tmp_path: Path) -> None:
    # As a wheel has them: inside of the package, and no checkout around it.
    package = tmp_path / "site/cxrssl"
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/cxrssl", package, ignore=skipped)
    shutil.copytree(ROOT / "recipes", package / "packaged/recipes")
    elsewhere = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = run_cxrssl("recipes", "--json", folder=tmp_path, **elsewhere)
    entries = json.loads(done.stdout)
    assert sorted(entry["name"] for entry in entries) == packaged_names()
    assert all(Path(entry["path"]).is_relative_to(package) for entry in entries)
    # It is found, and read: what is missing is the store that it names.
    done = run_cxrssl(
        *("finetune", "lungs", "--set", "data.store=nowhere"), folder=tmp_path, **elsewhere
    )
    assert done.returncode == 2
    assert "Error: nowhere" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain"], "Error: Expected a recipe: a file, or a packaged name (pretrain/"),
        (["finetune", "--out", "x"], "To go on with a run: cxrssl finetune --resume --out RUN"),
        (["pretrain", "--resume"], "Error: --resume without a recipe needs --out RUN"),
        (["pretrain", "--resume", "--out", "x"], "Error: x holds no run to go on with"),
        (["finetune", "pretrain/smoke"], "To run it: cxrssl pretrain pretrain/smoke"),
    ],
)
def test_what_can_not_be_run_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run_cxrssl(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_resume_alone_takes_the_recipe_of_its_own_run(store_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "smoke"
    run.mkdir()
    recipe = to_yaml(pretrain_recipe(store_folder, "max_steps=2", "log_every_steps=1"))
    (run / "recipe.yaml").write_text(recipe)
    other = run_cxrssl("finetune", "--resume", "--out", str(run), folder=tmp_path)
    assert other.returncode == 2
    assert "To run it: cxrssl pretrain" in other.stderr
    done = run_cxrssl("pretrain", "--resume", "--out", str(run), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "recipe.yaml").read_text() == recipe
    assert json.loads((run / "metrics.json").read_text())["num_steps"] == 2
    # What it says at its end is so: the line that loads its product does, the next command runs.
    assert done.stdout == f"{run / 'backbone'}\n"
    printed = dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line)
    assert "waiting for images" in printed["time"]
    assert eval(printed["load"], {"timm": timm}).num_features == 96
    command = shlex.split(printed["next"])
    assert command[:3] == ["cxrssl", "finetune", "finetune/smoke"]
    command[command.index("RUN")] = str(tmp_path / "detector")
    few = ["--set", "max_steps=1", "--set", "epochs=1"]
    done = run_cxrssl(*command[1:], *few, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line)
    assert {"AP", "AP50", "time", "load", "next", "all scores"} <= printed.keys()
    loaded = eval(printed["load"], {"transformers": transformers})
    assert loaded.model.config.num_labels == 14
    for folder in (run, tmp_path / "detector"):
        assert (folder / "training_images.png").is_file()
