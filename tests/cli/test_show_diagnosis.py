"""Text on a terminal: equal findings once, every kind counted, nothing that a terminal obeys."""

from pathlib import Path
from typing import Any

import pytest

from cxrssl.cli.show_diagnosis import print_diagnosis, print_ingest

STORE = Path("store")


def summary(**changes: object) -> dict[str, Any]:
    return {
        "num_images": 30, "num_reused": 4, "num_missing": 0, "notes": (), "warnings": {},
        "failures": {}, "marks": "layout coco: 30 images, 9 boxes of 2 classes by 1 reader",
    } | changes  # fmt: skip


def diagnosis(**changes: object) -> dict[str, Any]:
    return {
        "ok": True, "images": 2, "faults": 0, "warnings": 0, "marks": "layout images: 2 images",
        "routes": {"PNG; L": 2}, "table": [], "notes": [], "duplicates": [],
        "files": {"a": {"route": "PNG; L"}, "b": {"route": "PNG; L"}},
    } | changes  # fmt: skip


def test_a_sound_ingest_takes_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_ingest(summary(), store=STORE)
    printed = capsys.readouterr()
    assert printed.out == (
        "layout coco: 30 images, 9 boxes of 2 classes by 1 reader\n"
        "store: 30 images, 4 of them from an earlier call\n"
    )
    assert printed.err == ""


def test_one_of_a_kind_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_ingest(summary(num_images=1, num_reused=0, num_missing=1), store=STORE)
    printed = capsys.readouterr().out
    assert "store: 1 image, 0 of them from an earlier call\n1 shard left to other calls" in printed


def test_equal_warnings_are_told_once_and_every_failure_kind_is_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    warnings = {f"w{n}": [f"the picture has {n + 10} levels"] for n in range(5)}
    warnings["other"] = ["turned"]
    failures = {f"f{n}": f"f{n}: no file of {n}.5 bytes" for n in range(13)} | {"g": "broken"}
    print_ingest(summary(warnings=warnings, failures=failures, notes=("a note",)), store=STORE)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:5] == [
        "note: a note",
        "warning, 5 images: the picture has 10 levels",
        "  w0, w1, w2 and 2 more",
        "warning, 1 image: turned",
        "  other",
    ]
    assert lines[5:] == [
        *(f"  f{n}: no file of {n}.5 bytes" for n in range(10)),
        "  and 3 more of this kind",
        "  g: broken",
        "6 images with warnings and 14 failed, all listed in store/manifest.json",
    ]


def test_what_a_part_of_an_ingest_found_is_listed_in_no_manifest_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_ingest(summary(num_missing=3, failures={"a": "why"}), store=STORE)
    printed = capsys.readouterr()
    assert "3 shards left to other calls" in printed.out
    assert printed.err.endswith("1 failed\n")


def test_warnings_are_nothing_wrong_and_not_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_diagnosis(diagnosis())
    assert capsys.readouterr().out.endswith("layout images: 2 images\nNothing is wrong.\n")
    files = {"a": {"route": "PNG; L", "warnings": ["the picture is blank"]}}
    print_diagnosis(diagnosis(warnings=1, files=files, notes=["x"]))
    printed = capsys.readouterr().out
    assert printed.startswith("note: x\nwarning, 1 image: the picture is blank\n  a\n")
    assert printed.endswith("No file is broken, and 1 image may be wrong: see the warnings.\n")
    print_diagnosis(diagnosis(ok=False, faults=1, warnings=1, files=files))
    assert capsys.readouterr().out.endswith(
        "Wrong: 1 file, 0 things about the table, 0 pairs across splits. 1 image with warnings.\n"
    )


def test_no_text_of_others_reaches_the_terminal_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = "\x1b]0;pwn\x07 [bold]:heart:"
    print_ingest(
        summary(notes=(evil,), warnings={"a": [evil]}, failures={"b": evil}, marks=evil),
        store=STORE,
    )
    print_diagnosis(diagnosis(notes=[evil], table=[evil], routes={evil: 1}, marks=evil))
    printed = capsys.readouterr()
    assert "\x1b]" not in printed.out + printed.err
    assert "\x07" not in printed.out + printed.err
    assert printed.err.count(r"\x1b]0;pwn\x07 [bold]:heart:") == 3


def test_short_names_of_images_do_not_tear_a_kind_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    warnings = {name: [f"the table states another size for {name}"] for name in "abes"}
    print_ingest(summary(warnings=warnings), store=STORE)
    assert capsys.readouterr().err.splitlines()[:2] == [
        "warning, 4 images: the table states another size for a",
        "  a, b, e and 1 more",
    ]
