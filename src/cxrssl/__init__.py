"""How few boxes do you need? Self-supervised pretraining and detection for chest radiographs.

    import cxrssl
    detector = cxrssl.load_detector("runs/det")
    found = detector("film.dcm", threshold=0.3)

`docs/api.md` shows every call. What is not named here, in `__all__`, may change at any time.
Importing this sets nothing and imports nothing: each name is imported as it is used. Its types are
in `__init__.pyi`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_MODULE_OF = {
    "CxrsslError": "cxrssl.core.errors",
    "DecodeWarning": "cxrssl.api.images",
    "Detections": "cxrssl.api.detector",
    "Detector": "cxrssl.api.detector",
    "FusedBoxes": "cxrssl.api.boxes",
    "Scores": "cxrssl.api.scores",
    "StoreImage": "cxrssl.api.store",
    "StoreImages": "cxrssl.api.store",
    "evaluate": "cxrssl.api.scores",
    "finetune": "cxrssl.api.runs",
    "fuse": "cxrssl.api.boxes",
    "ingest": "cxrssl.api.films",
    "load_detector": "cxrssl.api.detector",
    "open_store": "cxrssl.api.store",
    "predict": "cxrssl.api.films",
    "pretrain": "cxrssl.api.runs",
    "read_dicom": "cxrssl.api.images",
    "recipe": "cxrssl.api.runs",
    "reproduce": "cxrssl.api.runs",
}
# These are packages as well, and Python puts a package in the place of a function of its name as
# soon as something in it is imported. So the packages themselves can be called.
_PACKAGES = ("evaluate", "finetune", "ingest", "predict", "pretrain", "reproduce")

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> object:
    """Import a name of the API when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cxrssl' has no attribute {name!r}")
    if name in _PACKAGES:
        return _imported(f"cxrssl.{name}")
    value: object = getattr(_imported(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def _imported(module: str) -> ModuleType:
    from cxrssl.core.processes import random_state_restored

    with random_state_restored():
        return import_module(module)


def __dir__() -> list[str]:
    """Return the names of the API, imported or not."""
    return sorted(__all__)


class _CallablePackage(ModuleType):
    """A package that is called as the function of the API that has its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - `_function` checks
        """Call the function."""
        return self._function()(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process import it, as a function would be."""
        return import_module, (self.__name__,)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]  # a module's own is a text
        """The function's text, with its arguments."""
        text: str | None = self._function().__doc__
        return text

    @property
    def __signature__(self) -> object:
        """The function's arguments, for help and notebooks."""
        from inspect import signature

        return signature(self._function())

    def _function(self) -> Any:  # noqa: ANN401 - each package has another
        name = self.__name__.rpartition(".")[2]
        return getattr(_imported(_MODULE_OF[name]), name)


class _Root(ModuleType):
    """This module: it makes the packages that are imported into it callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root
