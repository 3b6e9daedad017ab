"""Which files are looked at."""

from collections.abc import Sequence
from pathlib import Path

from cxrssl.core.errors import DataError
from cxrssl.data.file_content import kind_of
from cxrssl.data.tables.files import image_files

_EXPECTED = "Expected DICOM, PNG, JPEG, TIFF or BMP"


def files_in(inputs: Sequence[Path], *, out: Path | None = None) -> list[Path]:
    """Return the files named, and the images in the folders named, each once.

    Args:
        inputs: Files, and folders that are searched.
        out: A folder of which nothing is taken, wherever it lies: what is drawn is not an input.

    Raises:
        DataError: If one is missing or not a regular file, or none is an image.
    """
    out_folder = None if out is None else out.resolve()
    files: dict[Path, Path] = {}
    for path in inputs:
        for file in _files_of(path):
            real = file.resolve()
            if out_folder is None or out_folder not in real.parents:
                files.setdefault(real, file)
    if not files:
        names = ", ".join(str(path) for path in inputs)
        raise DataError(f"{names} holds no DICOM, PNG, JPEG, TIFF or BMP file.")
    return list(files.values())


def _files_of(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            return image_files(path)
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist. {_EXPECTED}.") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} can't be opened ({why}). {_EXPECTED}, or a folder.") from error
    if not path.is_file():
        raise DataError(f"{path} is not a regular file but {kind_of(mode)}. {_EXPECTED}.")
    return [path]
