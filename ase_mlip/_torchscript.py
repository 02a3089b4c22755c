"""The only Python file that calls ``torch.jit``: TorchScript is deprecated and must stay replaceable.

TorchScript's profiling executor specialises a module for the shapes of its first calls and compiles again
when others come, which shows as late pauses of seconds. :func:`calling` runs the plain interpreter instead.
That choice is a thread-local flag of libtorch, as are gradients, inference mode and autocast, hence a context
around every call rather than a setting made once.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import torch
from torch import Tensor

# torch up to 2.13 gives a DeprecationWarning, newer ones a FutureWarning, under Python 3.14 with another text
DEPRECATED = r"`torch\.jit\.\w+` is (deprecated|not supported in Python)"
_filters = threading.RLock()  # the list of filters belongs to the process: each context has to end in turn


@contextlib.contextmanager
def _silence_deprecation() -> Iterator[None]:
    """Hide exactly the warnings of TorchScript's deprecation, errors or not: only this file can act."""
    with _filters, warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", DEPRECATED, category)
        yield


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    """Compile ``module`` in evaluation mode; not frozen, so that its dtype can still be chosen."""
    with _silence_deprecation():
        return torch.jit.script(module.eval())


def is_scripted(module: torch.nn.Module) -> bool:
    """Whether ``module`` is TorchScript already."""
    return isinstance(module, torch.jit.ScriptModule)


def save(scripted: torch.jit.ScriptModule, path_or_buffer: str | BinaryIO) -> None:
    """Write the zip archive of a scripted module to a path or a binary buffer."""
    with _silence_deprecation():
        torch.jit.save(scripted, path_or_buffer)


def load(path_or_buffer: str | BinaryIO, map_location: torch.device | str = "cpu") -> torch.jit.ScriptModule:
    """Read a scripted module onto a device. Raises RuntimeError for foreign files and missing operators."""
    with _silence_deprecation():
        return torch.jit.load(path_or_buffer, map_location=map_location)


@contextlib.contextmanager
def calling() -> Iterator[None]:
    """The one state of this thread in which models are loaded, called and tested, whatever a caller has set.

    Gradients on, inference mode and autocast off, new tensors on the CPU unless told otherwise, and the plain
    interpreter: no profiling, no late recompilation.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.jit.optimized_execution(False), _set_back():
        yield


def _set_back() -> contextlib.AbstractContextManager:
    """What a caller has rarely set, and costs time to set back."""
    stack = contextlib.ExitStack()
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
    if torch.empty(0).device.type != "cpu":
        stack.enter_context(torch.device("cpu"))
    return stack


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one that was made in inference mode and knows no derivatives."""
    return tensor.clone() if tensor.is_inference() else tensor
