"""The command line: its options are frozen, it answers at once, and it shows no traceback."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from cxrssl.cli import commands
from cxrssl.core.errors import DataError
from cxrssl.data.phantom.dataset import MIN_SIDE_PX
from cxrssl.run.process_state import process_restored
from support import output_of, run_cxrssl, run_python

# A new knob is a recipe field. An option here is a promise; change the list with the CHANGELOG.
OPTIONS = {
    "phantom": "out --images --seed --normals --min-side --max-side --workers",
    "describe": "table --protocol --out --json",
    "ingest": "source store --layout --patient-from --split --size --fit --exact --shard --replace "
    "--workers",
    "doctor": "source --layout --patient-from --split --json --workers",
    "pretrain": "recipe --set --out --resume --preview",
    "finetune": "recipe --set --out --resume --preview",
    "eval": "checkpoint --data --split --fusion --normals --predictions --truth --readers "
    "--consensus-iou --against --replicates --seed --json --only --operating-points --choose-on "
    "--train-truth",
    "predict": "checkpoint inputs --out --threshold --write --overlays --with --flip --resume "
    "--operating-point --point",
    "reproduce": "plan --set --out --executor --budget --dry-run",
    "recipes": "--json",
    "report": "runs",
    "weights imagenet": "architecture --out --replace",
    "weights coco": "--out --replace",
    "push": "run repo --private --dry-run --revision --replace --license --images "
    "--i-have-the-right-to-share-images",
}


def options_of(command: click.Command) -> str:
    return " ".join(
        parameter.opts[0] if parameter.opts[0].startswith("-") else str(parameter.name)
        for parameter in command.params
        if parameter.name != "help"
    )


def commands_of(group: click.Command, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", options_of(command)


def test_commands_and_options_are_frozen() -> None:
    group = typer.main.get_command(commands.app)
    assert options_of(group) == "--version"
    assert dict(commands_of(group)) == OPTIONS


def test_phantom_offers_the_sides_that_it_makes(tmp_path: Path) -> None:
    def made(side: int) -> Result:
        size = ["--min-side", str(side), "--max-side", str(side)]
        arguments = ["phantom", str(tmp_path / "out"), "--images", "1", "--workers", "1", *size]
        return CliRunner().invoke(commands.app, arguments)

    refused = made(MIN_SIDE_PX - 1)
    assert isinstance(refused.exception, SystemExit)  # typer's own message, as its help has it
    assert refused.exit_code == 2
    assert made(MIN_SIDE_PX).exit_code == 0


def test_ingest_names_the_next_command_though_another_rewrites_the_store(
    source: Path, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def being_rewritten(*_: object, **__: object) -> None:
        (store_folder / "manifest.json").rename(store_folder / "manifest.hidden")

    monkeypatch.setattr("cxrssl.cli.show_diagnosis.print_ingest", being_rewritten)
    arguments = ["ingest", str(source), str(store_folder), "--size", "64", "--workers", "1"]
    try:
        done = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    finally:
        (store_folder / "manifest.hidden").rename(store_folder / "manifest.json")
    assert done.exit_code == 0
    assert (
        f"\nor: cxrssl finetune RECIPE --set data.store={store_folder} --out RUN\n" in done.output
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import cxrssl.cli.commands; "
        "heavy = {'torch', 'timm', 'numpy', 'pandas', 'datasets', 'pydantic', 'pydicom', 'cv2', "
        "'huggingface_hub'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert output_of("-c", code) == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "nowhere.csv", "--json"], "Error: nowhere.csv is not a file"),
        (["ingest", "nowhere", "store"], "Error: nowhere is not a folder"),
        (["eval", "nowhere", "--data", "store"], "Error: nowhere is not a detector"),
        (["predict", "nowhere", "x.png", "--out", "o"], "Error: nowhere is not a detector"),
        (["push", "nowhere", "org/name"], "Error: nowhere is neither a finished run"),
        (["push", "nowhere", "name"], "Error: 'name' is not a repository: expected ORG/NAME"),
        (["predict", "hf-hub:x", "x.png", "--out", "o"], "Error: hf-hub:x is not a repository"),
        (["report", "nowhere"], "Error: nowhere holds no plan.yaml"),
        (["reproduce", "smoky"], "Error: Not found: smoky. Expected a file or the name"),
        (
            ["weights", "imagenet", "resnt50", "--out", "w.safetensors"],
            "Error: timm has no model called 'resnt50'. Did you mean resnet50,",
        ),
        (["weights", "coco", "--out", "w.pth"], "Error: w.pth is no name for weights. Expected"),
        (["pretrain", "smoke", "--set", "seeds=1"], "Did you mean seed?"),
    ],
)
def test_a_users_fault_is_a_text_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cxrssl", *arguments])
    with pytest.raises(SystemExit) as ended, process_restored():
        commands.run()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_square_out_of_all_proportion_is_refused(tmp_path: Path) -> None:
    done = run_cxrssl("ingest", tmp_path, tmp_path / "store", "--size", "1000000000")
    assert done.returncode == 2
    assert "--size" in done.stderr


WRITE = """
import resource, sys
import numpy as np
from pathlib import Path
from cxrssl.cli import commands

def write() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    {how}

commands.app = write
commands.run()
"""


@pytest.mark.parametrize(
    "how",
    [
        'from safetensors.numpy import save_file; save_file({"a": np.zeros(9999)}, "x.tensors")',
        'import pandas as pd; pd.DataFrame({"a": np.random.rand(9999)}).to_parquet("x.parquet")',
        'import pyarrow as pa; pa.OSFile("x.arrow", "wb").write(b"x" * 9999)',
        'Path("x").write_bytes(b"x" * 9999)',
        'from cxrssl.core.files import write_json; write_json(Path("x.json"), list(range(9999)))',
        'from PIL import Image; Image.effect_noise((99, 99), 9).save("x.png")',
    ],
)
def test_a_limit_on_files_is_told_whichever_library_meets_it(tmp_path: Path, how: str) -> None:
    done = run_python("-c", WRITE.format(how=how), folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: a limit on files (ulimit -f) is reached (")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EROFS, "the file system is read-only (runs/x). Name another folder"),
        (errno.EACCES, "Permission denied (runs/x). Name another folder"),
        (errno.ENOTDIR, "Not a directory (runs/x). Name another folder"),
        (errno.EDQUOT, "the disk is full (runs/x). What was finished is whole"),
        (errno.ENOSPC, "the disk is full (runs/x). What was finished is whole. Free some room and"),
    ],
)
def test_a_full_disk_or_a_closed_folder_is_a_text_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, text: str
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "runs/x")

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit) as ended:
        commands.run()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"Error: {text}")


def test_an_error_that_quotes_a_name_can_not_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise DataError("\x1b]0;pwn\x07.csv is no file.\nName \u202eanother\udcff.")

    monkeypatch.setattr(commands, "app", refused)
    with pytest.raises(SystemExit):
        commands.run()
    assert capsys.readouterr().err == (
        "Error: \\x1b]0;pwn\\x07.csv is no file.\nName \\u202eanother\\udcff.\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        *(RuntimeError("(os error 28)"), ValueError("[errno 27]"), OSError("what?")),
        OSError(errno.EIO, os.strerror(errno.EIO)),
    ],
    ids=repr,
)
def test_another_fault_than_a_full_disk_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(commands, "app", broken)
    with pytest.raises(type(error)):
        commands.run()


@pytest.mark.slow
def test_a_plan_of_nothing_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = run_cxrssl("reproduce", "corrected", "--out", tmp_path / "runs", folder=tmp_path)
    assert done.returncode == 2
    assert "data.source is data/vinbigdata, and there is no such folder" in done.stderr
    assert "nothing has been trained" in done.stderr
    assert list(tmp_path.iterdir()) == []
