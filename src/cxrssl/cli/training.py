"""`cxrssl pretrain` and `cxrssl finetune`; heavy imports wait until the recipe is read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cxrssl.cli.interrupts import explain_interrupts, is_main_process, run_resume_advice
from cxrssl.cli.options import Out, Resume, Set, app, say
from cxrssl.core.interrupts import end_if_interrupted

if TYPE_CHECKING:
    from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe

    Recipe = TypeVar("Recipe", PretrainRecipe, FinetuneRecipe)

RecipeName = Annotated[
    str | None,
    typer.Argument(
        help="A recipe file, or a name that `cxrssl recipes` lists, such as smoke. With --resume "
        "and --out it may be left out: the run's own recipe.yaml is taken.",
        show_default=False,
    ),
]


@app.command()
def pretrain(
    recipe: RecipeName = None,
    set_: Set = None,
    out: Out = None,
    resume: Resume = False,
    preview: Annotated[
        Path | None, typer.Option(help="Write a PNG sheet of training views and stop.")
    ] = None,
) -> None:
    """Pretrain a backbone on unlabelled images."""
    from cxrssl.config.schema import PretrainRecipe

    merged, folder = _read(recipe, PretrainRecipe, set_ or [], out, resume=resume)
    if preview is not None:
        from cxrssl.pretrain.preview import preview as show

        say(show(merged, preview))
        return
    with explain_interrupts(lambda: run_resume_advice("pretrain", folder)):
        from cxrssl.pretrain import pretrain as run
        from cxrssl.run.processes import prepare_command

        prepare_command()
        _print_resume_text(folder, resume=resume)
        product = run(merged, folder, resume=resume)
        end_if_interrupted()
        if is_main_process():
            from cxrssl.cli.show_summary import print_pretraining

            print_pretraining(folder, merged.data.store)
            say(product)


@app.command()
def finetune(
    recipe: RecipeName = None,
    set_: Set = None,
    out: Out = None,
    resume: Resume = False,
    preview: Annotated[
        Path | None, typer.Option(help="Write a PNG sheet of training images and stop.")
    ] = None,
) -> None:
    """Train a detector on labelled images, from any start."""
    from cxrssl.config.schema import FinetuneRecipe

    merged, folder = _read(recipe, FinetuneRecipe, set_ or [], out, resume=resume)
    if preview is not None:
        from cxrssl.finetune.sheet import preview as show

        path, lines = show(merged, preview)
        for line in lines:
            say(line, err=True)
        say(path)
        return
    with explain_interrupts(lambda: run_resume_advice("finetune", folder)):
        from cxrssl.finetune import finetune as run
        from cxrssl.run.processes import prepare_command

        prepare_command()
        _print_resume_text(folder, resume=resume)
        product = run(merged, folder, resume=resume)
        end_if_interrupted()
        if is_main_process():
            from cxrssl.cli.show_summary import print_finetuning

            print_finetuning(folder, merged.data.store)
            say(product)


def _read(
    name: str | None,
    kind: "type[Recipe]",
    overrides: list[str],
    out: Path | None,
    *,
    resume: bool,
) -> "tuple[Recipe, Path]":
    """Return the recipe of a command, and the folder of the run.

    Raises:
        RecipeError: If neither a recipe nor a run to resume is named, or the recipe is wrong.
    """
    from typing import get_args

    from cxrssl.config.catalogue import packaged_names, recipe_path
    from cxrssl.config.load import load_recipe, load_run_recipe
    from cxrssl.core.errors import RecipeError

    task = get_args(kind.model_fields["task"].annotation)[0]
    if name is not None:
        path = recipe_path(name, task)
        return load_recipe(path, kind, overrides=overrides), out or Path("runs", task, path.stem)
    if not resume:
        raise RecipeError(
            f"Expected a recipe: a file, or a packaged name ({', '.join(packaged_names(task))}). "
            f"To go on with a run: cxrssl {task} --resume --out RUN"
        )
    if out is None:
        raise RecipeError("--resume without a recipe needs --out RUN: the folder of the run.")
    run_recipe = out / "recipe.yaml"
    if not run_recipe.is_file():
        raise RecipeError(
            f"{out} holds no run to go on with: {run_recipe} is missing. Name the folder of a run "
            f"with --out, or begin one: cxrssl {task} RECIPE --out {out}"
        )
    return load_run_recipe(out, kind, overrides=overrides), out


def _print_resume_text(folder: Path, *, resume: bool) -> None:
    """Print what --resume finds, unless an error will say it; the main process does."""
    from cxrssl.run.folder import is_finished, resume_text

    if resume and is_main_process() and not is_finished(folder):
        say(resume_text(folder), err=True)
