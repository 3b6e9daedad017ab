"""What `--write` writes, and what is said of files that look wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrssl.cli import commands
from cxrssl.core.errors import DataError
from cxrssl.models.detector_folder import save_detector
from cxrssl.predict import predict
from cxrssl.predict.formats import FORMATS, checked_formats
from detectors import detector, rcnn

FILES = {"coco": "predictions.json", "csv": "predictions.csv", "pictures": "overlays/film.png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a detector, a film, and a picture of seven grey levels."""
    made = tmp_path_factory.mktemp("formats")
    save_detector(detector(rcnn(norm="frozen")), made / "detector")
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90), dtype=np.uint8)
    Image.fromarray(pixels).save(made / "film.png")
    Image.fromarray(pixels // 40 * 40).save(made / "few.png")
    return made


def run(folder: Path, out: Path, *options: str) -> str:
    """Detect by the command line, and return what it prints."""
    command = ["predict", str(folder / "detector"), str(folder / "film.png"), "--out", str(out)]
    done = CliRunner().invoke(commands.app, [*command, "--threshold", "0", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def content(out: Path) -> dict[str, bytes]:
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_each_format_is_written_alone_as_with_the_others(folder: Path, tmp_path: Path) -> None:
    assert set(FILES) == set(FORMATS)
    run(folder, tmp_path / "all")
    every = content(tmp_path / "all")
    assert set(every) == set(FILES.values())
    for name, file in FILES.items():
        text = run(folder, tmp_path / name, "--write", name)
        assert content(tmp_path / name) == {file: every[file]}
        assert ("drawn on" in text) == (name == "pictures")
        assert ("are in the lists" in text) == (name != "pictures")
    run(folder, tmp_path / "two", "--write", "csv", "--write", "coco", "--write", "csv")
    lists = {FILES[name]: every[FILES[name]] for name in ("coco", "csv")}
    assert content(tmp_path / "two") == lists
    run(folder, tmp_path / "lists", "--no-overlays")
    assert content(tmp_path / "lists") == lists


def test_a_format_that_is_not_there_is_refused_with_those_that_are(
    folder: Path, tmp_path: Path
) -> None:
    command = ["predict", str(folder / "detector"), str(folder / "film.png")]
    command += ["--out", str(tmp_path / "out"), "--write", "coco"]
    refused = CliRunner().invoke(commands.app, [*command, "--write", "html"]).exception
    assert isinstance(refused, DataError)
    assert str(refused) == "--write html: no such format. Formats: coco, csv, pictures."
    assert not (tmp_path / "out").exists()
    refused = CliRunner().invoke(commands.app, [*command, "--overlays"]).exception
    assert isinstance(refused, DataError)
    assert "were both given. Use --write alone" in str(refused)
    with pytest.raises(DataError, match=r"No format to write is named\. Formats: coco"):
        checked_formats([])
    with pytest.raises(DataError, match="--write '': no such format"):
        checked_formats([""])


def test_the_help_names_every_format() -> None:
    output = CliRunner().invoke(commands.app, ["predict", "--help"], terminal_width=200).output
    for name in FORMATS:
        assert name in output.partition("--write")[2].partition("--overlays")[0]


def test_what_looks_wrong_with_a_file_is_said_and_written(folder: Path, tmp_path: Path) -> None:
    films = [folder / "few.png", folder / "film.png"]
    for name in ("copy.png", "copy2.png"):
        (tmp_path / name).write_bytes(films[0].read_bytes())
        films.append(tmp_path / name)
    command = ["predict", str(folder / "detector"), *map(str, films), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(commands.app, command)
    assert done.exit_code == 0, done.output
    text = (
        "the picture is posterised: 7 of 256 grey levels are left; the file itself has no more, "
        "as masks and drawings do"
    )
    assert f"warning: {films[0]} and 2 more: {text}\n" in done.stderr
    assert f"Warnings about 3 files; see {tmp_path}/o/warnings.json\n" in done.stderr
    listed = json.loads((tmp_path / "o/warnings.json").read_text())
    assert listed == {str(film): [text] for film in films if film.name != "film.png"}
    images = json.loads((tmp_path / "o/predictions.json").read_text())["images"]
    assert [image.get("warnings") for image in images] == [[text], None, [text], [text]]


def test_the_warnings_of_a_file_outlive_a_call_that_is_cut(folder: Path, tmp_path: Path) -> None:
    files, out = [folder / "few.png"], tmp_path / "out"
    # A folder where the list should be: everything is on record, and nothing can be written.
    (out / "predictions.json").mkdir(parents=True)
    (out / "unfinished.jsonl").touch()
    with pytest.raises(Exception, match=r"can't be written"):
        predict([folder / "detector"], files, out, threshold=0.0, formats=["coco"])
    (out / "predictions.json").rmdir()
    summary = predict(
        [folder / "detector"], files, out, threshold=0.0, formats=["csv"], resume=True
    )
    assert list(summary.warnings) == [str(folder / "few.png")]
    assert (out / "warnings.json").is_file()
