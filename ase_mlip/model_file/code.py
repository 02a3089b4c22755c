"""What the code inside a model file may call, read from its text before libtorch opens it.

Opening TorchScript runs its code: a class may have a ``__setstate__`` that libtorch calls while it loads. So
the text of the members ``code/`` is looked at first. An operator can only be called by its name, which stands
in that text as a word (``torch.save(…)``, ``x.save(…)``, ``ops.aten.save(…)``, also under another name, as in
``f = torch.save``), or as the text of a ``getattr``. ``lammps_plugin/model_file/model_code.cpp`` makes the
same checks.
"""

import re
from collections.abc import Collection, Mapping

from ..errors import ModelFileError

# operators that read or write files, or run something else than operators; methods that run while loading
FORBIDDEN = (
    *("save", "from_file", "rpc_sync", "rpc_async", "rpc_remote", "PythonOp", "IgnoredPythonOp"),
    *("__setstate__", "__getstate__"),
)
NAMESPACES = ("aten", "prim", "ase_mlip")

_WORD = re.compile(r"\b(?:" + "|".join(FORBIDDEN) + r")\b")
# the text of the name must stand there as it is: no escapes, no texts side by side
_GETATTR = re.compile(r"\bgetattr\b(?!\([^\"'\n]*, \"[\w.\-]*\"\))")
_OPS = re.compile(r"(?<![\w.])ops\b(?:\.(\w+)\.)?")
_CLASSES = re.compile(
    r"\btorch\s*\.\s*classes\b"
)  # classes of libtorch in C++, which load by code of their own
_PICKLED_CLASSES = re.compile(rb"torch[.\n]classes")


def check_code(members: Mapping[str, bytes], namespaces: Collection[str] = NAMESPACES) -> None:
    """Raise ModelFileError, naming the word, unless the code only calls operators that compute.

    Parameters
    ----------
    members: of a TorchScript archive, by name
    namespaces: of operators that may be called
    """
    for name, content in members.items():
        if name.startswith("code/"):
            problem = _problem_of(content.decode("utf-8", "replace"), namespaces)
        else:
            found = name.endswith(".pkl") and _PICKLED_CLASSES.search(content)
            problem = "an object of `torch.classes`" if found else None
        if problem is not None:
            raise ModelFileError(
                f"`{name}` uses {problem}; a model may call operators that compute, and none that read or "
                "write files or run while the file is opened: remove it from the network, and export again"
            )


def _problem_of(text: str, namespaces: Collection[str]) -> str | None:
    if word := _WORD.search(text):
        return f"the name `{word.group()}`"
    if _GETATTR.search(text):
        return "`getattr` with a name that is not plain text"
    if _CLASSES.search(text):
        return "`torch.classes`"
    foreign = (call for call in _OPS.finditer(text) if call.group(1) not in namespaces)
    if call := next(foreign, None):
        return f"operators of `{call.group(1) or 'ops'}`"
    return None
