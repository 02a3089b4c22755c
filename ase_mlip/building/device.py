"""The device a model runs on: one rule, in ASE as in LAMMPS (``lammps_plugin/both_sides/device_policy.h``).

``auto`` asks whether the GPU can run this file here: torch sees a GPU, torch was compiled for it, and the
file loads there and passes its self-test. Otherwise the CPU is taken, and one line says why. An explicit
device is taken or refused, never replaced. Kernels of our own are no condition: each operator has a form
composed of torch's own operators, which a GPU without a compiled kernel takes.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..errors import DeviceWarning, MLIPError, users_line

Loaded = TypeVar("Loaded")
EXPECTED = "expected `auto`, `cpu`, `cuda` or `cuda:N`"
NO_GPU = "torch sees no GPU"
LACK_OF_MEMORY = re.compile(r"out of memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)


@dataclass(frozen=True)
class GPUs:
    """What this process sees.

    Attributes
    ----------
    capabilities: compute capability of each GPU, such as (9, 0)
    current: number of the one that ``cuda`` means
    torch_for: what torch was compiled for, such as ``("sm_80", "sm_90", "compute_90")``; empty: not known
    """

    capabilities: tuple[tuple[int, int], ...] = ()
    current: int = 0
    torch_for: tuple[str, ...] = ()


def find_gpus() -> GPUs:
    """The GPUs that torch sees."""
    if not torch.cuda.is_available():
        return GPUs()
    count = range(torch.cuda.device_count())
    capabilities = tuple(torch.cuda.get_device_capability(index) for index in count)
    return GPUs(capabilities, torch.cuda.current_device(), tuple(torch.cuda.get_arch_list()))


def covers(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a GPU of this compute capability.

    Machine code (``sm_86``) runs on the same major version from its minor version on, PTX (``compute_86``)
    on every GPU from its version on (CUDA C++ Programming Guide, "Binary Compatibility" and what follows it).
    """
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)", name)
        if found is None:
            continue
        version = int(found[2]), int(found[3])
        is_near = found[1] == "compute" or version[0] == capability[0]
        if is_near and version <= capability:
            return True
    return False


def devices_to_try(device: str | torch.device, gpus: GPUs) -> tuple[list[torch.device], str]:
    """The devices in the order to try them, and why the GPU is not the first one (empty if it is).

    Raises
    ------
    MLIPError
        an unknown device, or an explicit one that is not there or that torch was not compiled for
    """
    if str(device) == "auto":
        cpu = torch.device("cpu")
        problem = _why_not(gpus.current, gpus)
        return ([cpu], problem) if problem else ([torch.device("cuda", gpus.current), cpu], "")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise MLIPError(f"unknown `device` {device!r}; {EXPECTED}") from None
    if found.type not in ("cpu", "cuda"):
        raise MLIPError(f"`device` {found} is not supported; {EXPECTED}")
    if found.type == "cpu":
        return [found], ""
    index = gpus.current if found.index is None else found.index
    if index >= len(gpus.capabilities):
        raise MLIPError(
            f"`device` {found} is not there: torch sees {len(gpus.capabilities)} GPUs; "
            "use `cpu`, or install torch for CUDA"
        )
    if problem := _why_not(index, gpus):
        raise MLIPError(f"`device` {found} cannot be used: {problem}; use `cpu`, or another build of torch")
    return [torch.device("cuda", index)], ""


def _why_not(index: int, gpus: GPUs) -> str:
    if index >= len(gpus.capabilities):
        return NO_GPU
    capability = gpus.capabilities[index]
    if gpus.torch_for and not covers(gpus.torch_for, capability):
        found = "{}.{}".format(*capability)
        return f"torch was compiled for {', '.join(gpus.torch_for)}, the GPU has compute capability {found}"
    return ""


def on_first_that_works(
    device: str | torch.device, load: Callable[[torch.device], Loaded], gpus: GPUs | None = None
) -> Loaded:
    """What ``load`` gives for the device, or for the first of those that ``auto`` stands for.

    ``load`` raises RuntimeError, AssertionError (torch without CUDA) or MLIPError where a device cannot be
    used. A GPU that was seen and not taken is a :class:`DeviceWarning`; a machine without one is a line of
    the logger ``ase_mlip``.

    Raises
    ------
    MLIPError
        see :func:`devices_to_try`, and whatever ``load`` raises for the last of the devices
    """
    gpus = find_gpus() if gpus is None else gpus
    devices, reason = devices_to_try(device, gpus)
    if reason:
        _say(reason, seen=reason != NO_GPU)
    for candidate in devices[:-1]:
        try:
            return load(candidate)
        except (RuntimeError, AssertionError, MLIPError) as error:
            failure = f"`{candidate}` cannot be used: {' '.join(str(error).split())}"
        found = load(devices[-1])  # a file that is no good anywhere is not the GPU's fault
        _say(failure, seen=True)
        return found
    return load(devices[-1])


def _say(reason: str, seen: bool) -> None:
    line = f"`device` auto takes the CPU: {reason}"
    if seen:
        warnings.warn(line, DeviceWarning, stacklevel=users_line())
    else:
        logging.getLogger("ase_mlip").info(line)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether a GPU had too little memory. TorchScript raises torch's own error again as a RuntimeError, of
    which only the message is left."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and LACK_OF_MEMORY.search(str(error)) is not None
    )
