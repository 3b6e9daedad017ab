"""A commit on record is that of cxrssl's own checkout, never of the project it is installed in."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import cxrssl
from cxrssl.run.processes import start_accelerator
from support import ROOT, output_of

CODE = """
import json
from cxrssl.run.provenance import provenance
from cxrssl.run.processes import start_accelerator
print(json.dumps(provenance(start_accelerator("fp32", batch_size=1), data={})))
"""
CXRSSL_PROJECT = '[project]\nname = "cxrssl"\n'


def git(folder: Path, *arguments: str) -> str:
    person = ("-c", "user.name=x", "-c", "user.email=x@x")
    command = ["git", "-c", "init.defaultBranch=main", *person, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path, pyproject: str | None) -> str:
    """Make a repository of what is in a folder, and return its commit."""
    if pyproject is not None:
        (folder / "pyproject.toml").write_text(pyproject)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "begin", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


def copied(place: Path) -> Path:
    """Copy the package, and return the folder to import it from."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(cxrssl.__file__).parent, place / "cxrssl", ignore=unwanted)
    return place


def recorded(place: Path) -> dict[str, Any]:
    """Return the record that the code in a folder makes."""
    file = place / "cxrssl" / "run" / "provenance.py"
    spec = importlib.util.spec_from_file_location("copied_provenance", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    record: dict[str, Any] = module.provenance(start_accelerator("fp32", batch_size=1), data={})
    assert record["versions"]["cxrssl"] == cxrssl.__version__
    return record


@pytest.mark.parametrize(
    ("place", "pyproject"),
    [
        ("venv/lib/python3/site-packages", '[project]\nname = "a-hospitals-study"\n'),
        ("venv/lib/python3/site-packages", None),
        ("venv/lib/python3/site-packages", "no toml ["),
        ("venv/lib/python3/site-packages", "project = 3\n"),
        # Installed from another checkout or an index, in one's checkout of cxrssl.
        (".venv/lib/python3/site-packages", CXRSSL_PROJECT),
        ("src", '[project]\nname = "a-hospitals-study"\n'),
    ],
)
def test_the_commit_of_a_users_project_is_not_taken_for_cxrssls(
    place: str, pyproject: str | None, tmp_path: Path
) -> None:
    (tmp_path / place).mkdir(parents=True)
    package = copied(tmp_path / place)
    repository(tmp_path, pyproject)
    assert recorded(package)["git"] is None


def test_a_checkouts_commit_and_changes_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, other = copied(tmp_path / "own/src"), tmp_path / "other"
    commit = repository(tmp_path / "own", CXRSSL_PROJECT)
    other.mkdir()
    repository(other, None)
    assert recorded(package)["git"] == {"sha": commit, "dirty": False}
    with monkeypatch.context() as hook:  # as in a git hook of another repository
        hook.setenv("GIT_DIR", str(other / ".git"))
        assert recorded(package)["git"] == {"sha": commit, "dirty": False}
    (package / "cxrssl" / "run" / "seed.py").write_text("")
    assert recorded(package)["git"] == {"sha": commit, "dirty": True}


def test_without_a_repository_or_without_git_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = copied(tmp_path / "src")
    (tmp_path / "pyproject.toml").write_text(CXRSSL_PROJECT)
    assert recorded(package)["git"] is None
    repository(tmp_path, CXRSSL_PROJECT)
    assert recorded(package)["git"] is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recorded(package)["git"] is None


@pytest.mark.slow
def test_a_process_that_imports_an_installed_copy_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    package = copied(tmp_path / "site-packages")
    repository(tmp_path, None)
    printed = output_of("-c", CODE, PYTHONPATH=str(package))
    assert json.loads(printed)["git"] is None


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the sources are no checkout")
def test_these_sources_know_their_commit() -> None:
    assert recorded(ROOT / "src")["git"]["sha"] == git(ROOT, "rev-parse", "HEAD")
