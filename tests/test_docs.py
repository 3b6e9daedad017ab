"""The README says what is true: its commands, options, recipes and file map exist."""

import re
import shlex

import typer

from cxrssl.cli import commands
from support import ROOT

README = (ROOT / "README.md").read_text()
CODE = "\n".join(re.findall(r"^```\w*\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL))


def test_every_command_in_the_readme_parses() -> None:
    joined = CODE.replace("\\\n", " ")
    lines = re.findall(r"^(?:.* -m )?(cxrssl [a-z]+ .*)$", joined, flags=re.MULTILINE)
    group = typer.main.get_command(commands.app)
    assert len(lines) == 37
    for line in lines:
        name, *arguments = shlex.split(line)[1:]
        command = group.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, arguments)


def test_every_recipe_and_file_that_is_named_exists() -> None:
    named = re.findall(r"recipes/[a-z]+/\w+\.yaml|docs/\w+\.(?:png|md)|\b(?<!/)\w+\.md\b", README)
    assert len(named) == 33
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_file_map_names_every_module() -> None:
    block = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    package = ROOT / "src/cxrssl"
    words = set(re.findall(r"[a-z_]+", block))
    modules = {
        path.relative_to(package).parts[-1].removesuffix(".py")
        for path in [*package.glob("*.py"), *package.glob("*/*.py")]
        if not path.name.startswith("__")
    }
    assert modules - words == set()


def test_every_target_of_the_makefile_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make ([a-z-]+)", CODE, flags=re.MULTILINE))
    assert targets >= {"reproduce", "test", "hub-demo"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
