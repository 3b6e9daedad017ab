"""The wheel holds all that the commands and type checkers read besides code."""

import zipfile
from pathlib import Path

import pytest

from support import ROOT, output_of, run_python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it; what builds it comes from the package index."""
    folder = tmp_path_factory.mktemp("wheel")
    done = run_python("-m", "pip", "wheel", ROOT, "--no-deps", "-q", "-w", folder)
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("no package index to fetch hatchling from")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def cxrssl(site: Path, home: Path, *arguments: str) -> str:
    """Run the unpacked command line where there is no checkout, and return what it prints."""
    check = f"import cxrssl; assert cxrssl.__file__.startswith({str(site)!r}), cxrssl.__file__"
    program = f"{check}; import sys; from cxrssl.cli import main; main()"
    return output_of("-c", program, *arguments, folder=home, PYTHONPATH=str(site))


def test_the_types_of_the_api_are_in_the_wheel(unpacked: Path) -> None:
    for name in ("py.typed", "__init__.pyi"):
        assert (unpacked / "cxrssl" / name).is_file(), name


def test_recipes_and_templates_are_all_in_the_wheel(unpacked: Path) -> None:
    for name, pattern in (("recipes", "*.yaml"), ("hub", "*.md")):
        expected = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob(pattern)}
        packaged = unpacked / "cxrssl/packaged" / name
        assert {path.relative_to(packaged) for path in packaged.rglob(pattern)} == expected
        assert expected


def test_packaged_plan_and_card_work_without_the_checkout(
    unpacked: Path, store_folder: Path, tmp_path: Path
) -> None:
    assert "ssl" in cxrssl(unpacked, tmp_path, "reproduce", "smoke", "--dry-run")
    card = cxrssl(unpacked, tmp_path, "push", str(store_folder), "org/boxes", "--dry-run")
    assert 'load_dataset("org/boxes"' in card
