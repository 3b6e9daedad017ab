"""Records of runs: a damaged one is a fault of its file; text is UTF-8, whatever the locale."""

import ast
from pathlib import Path

import pytest

from cxrssl.core.errors import RunError
from cxrssl.core.records import read_record, reading
from support import ROOT


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 99999, b"9" * 5000])
def test_what_is_no_record_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(
        RunError, match=r"a\.json (is not JSON|holds no mapping).* same command again"
    ):
        read_record(tmp_path / "a.json")


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a\.json can't be read: No such file"):
        read_record(tmp_path / "a.json")
    with pytest.raises(RunError, match="can't be read: Is a directory"):
        read_record(tmp_path)


def test_a_key_that_is_missing_and_one_of_another_type_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"steps": "x"}', encoding="utf-8")
    with pytest.raises(RunError, match=r"a\.json has no done, left"):
        read_record(path, "steps", "done", "left")
    with (
        pytest.raises(RunError, match=r"a\.json is not as it was written \(ValueError"),
        reading(path),
    ):
        int(read_record(path, "steps")["steps"])


def _without_encoding(tree: ast.AST) -> list[int]:
    """Return the lines at which a file is opened as text and no encoding is named."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        named = {keyword.arg for keyword in node.keywords}
        modes = [ast.literal_eval(arg) for arg in node.args if isinstance(arg, ast.Constant)]
        modes = [mode for mode in modes if isinstance(mode, str)]
        is_text = name in ("read_text", "open") and not any("b" in mode for mode in modes)
        is_read = name == "read_text" and "utf-8" not in modes
        is_opened = name == "open" and bool(modes) and is_text
        if (is_read or is_opened or "text" in named) and "encoding" not in named:
            lines.append(node.lineno)
    return lines


def test_every_text_file_that_is_opened_is_utf8_by_name() -> None:
    result = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "src").rglob("*.py"))
        if (lines := _without_encoding(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert result == {}
    assert _without_encoding(ast.parse('Path("a").read_text(); x.open("a"); run(text=True)')) == [
        1, 1, 1,
    ]  # fmt: skip
