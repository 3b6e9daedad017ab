"""How exhausted memory is known from other faults, and told."""

from pathlib import Path
from typing import NoReturn

import pytest
import torch

from cxrssl.core.errors import TrainingError
from cxrssl.finetune import finetune
from cxrssl.run.memory import is_out_of_memory, memory_faults
from support import finetune_recipe, output_of

NO_MEMORY = [
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "Triton Error [CUDA]: CUDA driver error: out of memory",
    "NCCL error: unhandled cuda error. Last error: Cuda failure 2 'out of memory'",
    "MPS backend out of memory (MPS allocated: 9 GB)",
    "HIP out of memory. Tried to allocate 2 GiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "unable to mmap 64 bytes from file </x>: Cannot allocate memory (12)",
]
EITHER = [
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
]


@pytest.mark.parametrize("text", NO_MEMORY)
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_every_library_s_word_for_exhausted_memory_is_known(
    text: str, kind: type[RuntimeError]
) -> None:
    assert is_out_of_memory(kind(text))
    assert not is_out_of_memory(ValueError(text))


@pytest.mark.parametrize("text", EITHER)
@pytest.mark.parametrize(("free_bytes", "is_memory"), [(2**28, True), (2**34, False)])
def test_a_status_that_means_either_is_memory_on_a_full_gpu_only(
    text: str, free_bytes: int, is_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_out_of_memory(RuntimeError(text))  # there is no GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free_bytes, 2**36))
    assert is_out_of_memory(RuntimeError(text)) is is_memory


def test_a_gpu_that_answers_no_more_is_not_taken_for_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[int, int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert not is_out_of_memory(RuntimeError("CUDNN_STATUS_NOT_INITIALIZED"))


def test_exhausted_memory_becomes_advice_and_other_faults_stay() -> None:
    with (
        pytest.raises(TrainingError, match=r"memory ran out \(.*allocate.*\)\. Lower batch_size\."),
        memory_faults("Lower batch_size."),
    ):
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="shapes"), memory_faults("Lower batch_size."):
        raise RuntimeError("shapes do not match")


@pytest.mark.slow
def test_a_process_at_its_limit_of_memory_says_so() -> None:
    code = """
import resource, torch
from cxrssl.run.memory import is_out_of_memory
resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))
try:
    torch.ones(2**30).sum()
except (RuntimeError, MemoryError) as error:
    print(is_out_of_memory(error))
"""
    assert output_of("-c", code) == "True\n"


def test_fine_tuning_that_runs_out_of_memory_says_what_to_lower(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee below")

    monkeypatch.setattr("cxrssl.finetune.detector_input", full)
    wanted = r"memory ran out \(CUDA out of memory. Tried to allocate 2 GiB\.\)\. Lower batch_size,"
    with pytest.raises(TrainingError, match=wanted):
        finetune(finetune_recipe(store_folder, "max_steps=2"), tmp_path / "run", resume=False)
