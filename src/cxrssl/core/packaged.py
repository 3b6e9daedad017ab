"""Folders that come with cxrssl and are not code: `recipes/` and `hub/`."""

from importlib import resources
from pathlib import Path


def packaged_folder(name: str) -> Path:
    """Return a folder that lies at the top of the checkout and inside an installed package."""
    installed = Path(str(resources.files("cxrssl"))) / "packaged" / name
    # An editable install runs from the checkout.
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / name
