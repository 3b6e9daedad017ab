"""Recipes by name: every one that comes with cxrssl, and what is said of any other."""

from pathlib import Path

import pytest
import yaml

from cxrssl.config.catalogue import packaged_names, packaged_recipes, recipe_path
from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import RecipeError
from support import ROOT

KINDS = {"pretrain": PretrainRecipe, "finetune": FinetuneRecipe, "plan": Plan}


def test_the_catalogue_describes_every_recipe_by_its_own_header() -> None:
    recipes = packaged_recipes()
    assert sorted(recipe.name for recipe in recipes) == packaged_names()
    for recipe in recipes:
        text = recipe.path.read_text()
        header = " ".join(line.lstrip("# ") for line in text.splitlines() if line[:1] == "#")
        assert recipe.task == yaml.safe_load(text)["task"]
        assert recipe.summary
        assert recipe.summary in header
        assert ("Cost:" in header) == bool(recipe.cost)
        assert "Expect" not in recipe.cost + recipe.summary
        assert "Run:" not in recipe.cost + recipe.summary


@pytest.mark.parametrize("recipe", packaged_recipes(), ids=lambda recipe: recipe.name)
def test_a_command_takes_the_full_name_and_the_last_part_of_it(recipe) -> None:  # type: ignore[no-untyped-def]
    short = recipe.name.rpartition("/")[2]
    assert recipe_path(recipe.name, recipe.task) == recipe_path(short, recipe.task) == recipe.path
    assert recipe_path(str(recipe.path), recipe.task) == recipe.path


def test_a_file_comes_before_a_packaged_recipe_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lungs").mkdir()
    (tmp_path / "demo").write_text("")
    monkeypatch.chdir(tmp_path)
    assert recipe_path("demo", "finetune") == Path("demo")
    assert recipe_path("lungs", "finetune") == ROOT / "recipes/finetune/lungs.yaml"


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("finetune/lung", "finetune", r"Did you mean finetune/lungs\?"),
        ("recipes/finetune/lungs.yml", "finetune", r"Did you mean finetune/lungs\?"),
        ("lungs", "plan", "lungs is a fine-tuning recipe .*: cxrssl finetune finetune/lungs"),
        ("simclr_r50_paper", "finetune", "To run it: cxrssl pretrain pretrain/simclr_r50_paper"),
    ],
)
def test_a_wrong_name_leads_to_the_right_one(name: str, task: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_path(name, task)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["pretrain", "finetune", "plan"])
def test_an_error_offers_only_what_its_command_takes_and_all_of_it(task: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe_path("qqq", task)  # type: ignore[arg-type]
    listed = str(error.value).partition("`: ")[2].partition(". ")[0].split(", ")
    assert listed == packaged_names(task)  # type: ignore[arg-type]
    for name in listed:
        assert recipe_path(name, task).is_file()  # type: ignore[arg-type]
    assert "Did you mean" not in str(error.value)


def test_near_names_are_listed_first() -> None:
    with pytest.raises(RecipeError) as error:
        recipe_path("smok", "pretrain")
    assert "`cxrssl pretrain`: pretrain/smoke, " in str(error.value)


def test_the_folder_of_a_run_is_told_from_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: pretrain\n")
    with pytest.raises(RecipeError, match=r"folder of a run.*cxrssl pretrain --resume --out"):
        recipe_path(str(tmp_path), "finetune")


def test_the_recipe_of_a_run_of_another_task_goes_on_as_that_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: pretrain\n")
    (tmp_path / "provenance.json").write_text("{}")
    follow = rf"go on with that run: cxrssl pretrain --resume --out {tmp_path}$"
    with pytest.raises(RecipeError, match=follow):
        load_recipe(tmp_path / "recipe.yaml", FinetuneRecipe, overrides=[])


@pytest.mark.parametrize("actual", KINDS)
@pytest.mark.parametrize("expected", KINDS)
def test_a_recipe_of_another_task_names_the_command_that_takes_it(
    actual: str, expected: str
) -> None:
    if actual == expected:
        return
    path = recipe_path("smoke", actual)  # type: ignore[arg-type]
    command = {"plan": "reproduce"}.get(actual, actual)
    name = path.relative_to(ROOT / "recipes").with_suffix("")
    with pytest.raises(RecipeError, match=f"is expected. To run it: cxrssl {command} {name}$"):
        load_recipe(path, KINDS[expected], overrides=["nonsense=1"])
