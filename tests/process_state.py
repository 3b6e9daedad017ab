"""What a process has that a library call could change, as plain values to compare."""

import decimal
import gc
import hashlib
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from multiprocessing import forkserver, get_start_method

import cv2
import matplotlib as mpl
import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image, ImageFile


def state_of_process() -> dict[str, object]:
    """Return every setting of this process, of Python and of the libraries that it uses."""
    return {name: value() for name, value in _SETTINGS.items()}


def changes(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    """Return what differs, by name; of mappings the entries that do.

    Loggers and filters of warnings that a library adds as it is imported are no change.
    """
    changed: dict[str, object] = {}
    for name, old in before.items():
        new = after[name]
        if isinstance(old, dict) and isinstance(new, dict):
            keys = old.keys() if name == "loggers" else old.keys() | new.keys()
            odd = {
                key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)
            }
            changed |= {f"{name}.{key}": values for key, values in odd.items()}
        elif name == "warnings" and isinstance(old, list) and isinstance(new, list):
            if any(entry not in new for entry in old):
                changed[name] = [entry for entry in old if entry not in new]
        elif old != new:
            changed[name] = (old, new)
    return changed


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _loggers() -> dict[str, tuple[int, bool, bool, int]]:
    loggers = [logging.root, *(log for log in logging.root.manager.loggerDict.values())]
    return {
        log.name: (log.level, log.disabled, log.propagate, len(log.handlers))
        for log in loggers
        if isinstance(log, logging.Logger)
    }


def _limits() -> dict[str, tuple[int, int]]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def _signals() -> dict[str, str]:
    return {
        number.name: repr(signal.getsignal(number))
        for number in signal.valid_signals()
        if isinstance(number, signal.Signals)
    }


def _torch_flags() -> dict[str, object]:
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "tf32": (cudnn.fp32_precision, cuda.fp32_precision),
        "mkldnn": torch.backends.mkldnn.enabled,
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "distributed": torch.distributed.is_initialized(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


_SETTINGS: dict[str, Callable[[], object]] = {
    "environment": lambda: dict(os.environ),
    "folder": os.getcwd,
    "path": lambda: list(sys.path),
    "argv": lambda: list(sys.argv),
    "limits": _limits,
    "signals": _signals,
    "alarm": lambda: signal.getitimer(signal.ITIMER_REAL),
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "hooks": lambda: (sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook),
    "streams": lambda: [(id(s), getattr(s, "errors", None)) for s in (sys.stdout, sys.stderr)],
    "warnings": lambda: list(warnings.filters),
    "loggers": _loggers,
    "garbage": lambda: (gc.isenabled(), gc.get_threshold()),
    "decimal": lambda: str(decimal.getcontext()),
    "recursion": sys.getrecursionlimit,
    "start method": lambda: get_start_method(allow_none=True),
    "forkserver preload": lambda: list(forkserver._forkserver._preload_modules),
    "random": lambda: _hash(repr(random.getstate()).encode()),
    "numpy random": lambda: _hash(repr(np.random.get_state()).encode()),  # noqa: NPY002
    "numpy errors": np.geterr,
    "numpy printing": lambda: repr(np.get_printoptions()),
    "torch random": lambda: _hash(torch.get_rng_state().numpy().tobytes()),
    "torch": _torch_flags,
    "opencv": lambda: (cv2.getNumThreads(), cv2.useOptimized()),
    "matplotlib": lambda: repr(dict(mpl.rcParams)),
    "pillow": lambda: (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
    "accelerate": lambda: [
        {name: repr(value) for name, value in part._shared_state.items()}
        for part in (PartialState, AcceleratorState, GradientState)
    ],
}
