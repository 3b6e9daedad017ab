"""A GPU that is there and can't be used is an error, and each job gets a GPU that was granted."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cxrssl.core import devices
from cxrssl.core.devices import check_architecture, device_of_one_process, gpu_names, runs_on
from cxrssl.core.errors import RunError
from cxrssl.jobs.local import job_environments
from cxrssl.run.processes import start_accelerator, start_processes


def has_gpus(
    monkeypatch: pytest.MonkeyPatch, number: int, *, usable: bool, visible: str | None
) -> None:
    """Have the driver list GPUs, which torch can use or not."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: usable)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


STARTS: dict[str, Callable[[], object]] = {
    "training": lambda: start_accelerator("fp32", batch_size=1),
    "scoring": start_processes,
    "predict and --dry-run": device_of_one_process,
    "jobs": job_environments,
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("visible", [None, "0", "0,1"])
def test_a_gpu_that_torch_can_t_use_is_no_cpu(
    start: str, visible: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = tmp_path / "version"
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
        "GCC version:  gcc version 12.2.0\n"
    )
    monkeypatch.setattr(devices, "_DRIVER", version)
    has_gpus(monkeypatch, 2, usable=False, visible=visible)
    with pytest.raises(RunError, match="this machine has 2 GPUs that torch can't use: ") as fault:
        STARTS[start]()
    text = str(fault.value)
    assert f"built for CUDA {torch.version.cuda}, and the driver is 550.54.15. Update" in text
    assert "set CUDA_VISIBLE_DEVICES= (empty)" in text


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("visible", ["", "-1", " ", "-1,0"])
def test_hidden_gpus_ask_for_the_cpu(
    start: str, visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_gpus(monkeypatch, 2, usable=False, visible=visible)
    began = STARTS[start]()
    if start == "jobs":
        assert began
        assert not any("CUDA_VISIBLE_DEVICES" in place for place in began)  # type: ignore[attr-defined]
    else:
        assert getattr(began, "device", began) == torch.device("cpu")


@pytest.mark.parametrize("visible", ["7", "MIG-0", "GPU-8a,1"])
def test_a_gpu_that_is_asked_for_and_not_there_is_no_cpu(
    visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_gpus(monkeypatch, 0, usable=False, visible=visible)
    with pytest.raises(RunError, match=f"CUDA_VISIBLE_DEVICES names {visible}, and torch sees no"):
        device_of_one_process()


@pytest.mark.slow
def test_a_command_on_a_gpu_that_is_not_there_ends_with_a_sentence(tmp_path: Path) -> None:
    code = "from cxrssl.run.processes import start_processes; print(start_processes().device.type)"

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        given = os.environ | environment
        return subprocess.run(command, env=given, capture_output=True, text=True, check=False)

    assert run(CUDA_VISIBLE_DEVICES="").stdout == "cpu\n"
    assert "RunError: CUDA_VISIBLE_DEVICES names 63" in run(CUDA_VISIBLE_DEVICES="63").stderr
    assert run(CUDA_VISIBLE_DEVICES="63", ACCELERATE_USE_CPU="true").stdout == "cpu\n"


@pytest.mark.parametrize(
    ("visible", "shown", "expected"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("3", 1, ["3"]),
        ("3,1", 2, ["3", "1"]),
        (" 3 , 1 ", 2, ["3", "1"]),
        ("3,1,-1", 2, ["3", "1"]),
        ("3,-1,1", 1, ["3"]),
        ("0,1,9", 2, ["0", "1"]),  # there is no ninth: CUDA stops before it
        ("0,1,", 2, ["0", "1"]),
        ("GPU-8a,GPU-77", 2, ["GPU-8a", "GPU-77"]),
        ("MIG-a,MIG-b", 1, ["MIG-a", "MIG-b"]),
        ("MIG-a, MIG-b,-1,MIG-c", 1, ["MIG-a", "MIG-b"]),
        ("MIG-GPU-8a/1/0,MIG-GPU-8a/2/0", 1, ["MIG-GPU-8a/1/0", "MIG-GPU-8a/2/0"]),
        ("", 0, []),
        ("-1", 0, []),
    ],
)
def test_each_job_gets_a_gpu_that_was_granted(
    visible: str | None, shown: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpu_names(environment, num_gpus=shown) == expected
    has_gpus(monkeypatch, shown, usable=shown > 0, visible=visible)
    result = [environment.get("CUDA_VISIBLE_DEVICES") for environment in job_environments()]
    assert result == expected if expected else set(result) == {None}


CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((9, 0), CUDA_13, True),
        ((8, 9), CUDA_13, True),  # code for 8.6 runs on 8.9
        ((8, 7), CUDA_13, True),
        ((7, 0), CUDA_13, False),  # Volta
        ((6, 1), CUDA_13, False),  # Pascal
        ((12, 1), CUDA_13, True),
        ((13, 0), CUDA_13, True),  # compiled when it is loaded
        ((13, 0), ("sm_75", "sm_120"), False),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((10, 3), ("sm_100f",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 4), ("gfx942",), True),  # AMD's names
        ((9, 0), (), True),
    ],
)
def test_a_gpu_too_old_or_too_new_for_torch_is_known(
    capability: tuple[int, int],
    built_for: tuple[str, ...],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert runs_on(capability, built_for) is expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built_for))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Titan V")
    if expected:
        check_architecture()
        return
    wanted = f"Titan V, is of compute capability {capability[0]}.{capability[1]}, and torch"
    with pytest.raises(RunError, match=wanted):
        check_architecture()


def test_tests_see_no_gpu_unless_they_are_to() -> None:
    assert os.environ.get("CXRSSL_TEST_GPU") == "1" or os.environ["CUDA_VISIBLE_DEVICES"] == ""
