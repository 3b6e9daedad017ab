"""Fail if a source file is over 400 lines, or a function over 60."""

import ast
from collections.abc import Iterator
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 400, 60


def too_long(path: Path) -> Iterator[str]:
    """Yield a line for the file, and for each function in it, that is over its limit."""
    text = path.read_text()
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, at most {FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                place = f"{path}:{node.lineno}: {node.name}"
                yield f"{place} has {length} lines, at most {FUNCTION_LINES}"


def main() -> None:
    """Check every file under src, and say how many there were."""
    files = sorted(Path("src").rglob("*.py"))
    faults = [fault for path in files for fault in too_long(path)]
    if faults or not files:
        raise SystemExit("\n".join(faults) or "no source file found")
    limits = f"files within {FILE_LINES} lines, functions within {FUNCTION_LINES}"
    print(f"sizes: {len(files)} {limits}")  # noqa: T201


if __name__ == "__main__":
    main()
