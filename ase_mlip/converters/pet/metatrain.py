"""metatrain's side of a conversion: its checkpoints, its model, its numbers from metatomic's calculator."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from ..common import AdapterError, Reference

INSTALL = "pip install 'metatrain==2026.4.1' 'metatomic-torch==0.1.19'"


# ---- reading -----------------------------------------------------------------------------------------------


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Unpickle a checkpoint. AdapterError if it is damaged or something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that metatrain imports
        try:
            importlib.import_module("metatrain.pet")  # registers the classes in the pickle
            found = torch.load(path, map_location="cpu", weights_only=False)
        except (ImportError, AttributeError) as error:
            raise AdapterError(
                f"`{path}` holds a class that the installed packages do not have ({error}); `{INSTALL}`"
            ) from None
        except Exception as error:  # a damaged pickle can fail in any way
            raise AdapterError(
                f"`{path}` cannot be read ({_first_line(error)}); it is damaged, or no checkpoint: "
                "fetch it again"
            ) from None
    if isinstance(found, torch.nn.Module):
        raise AdapterError(f"`{path}` is an exported model of metatomic; PET needs the checkpoint (`*.ckpt`)")
    if not isinstance(found, dict):
        raise AdapterError(f"`{path}` holds a {type(found).__name__}, not a checkpoint of metatrain")
    return found


def check_architecture(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the checkpoint says of itself: architecture and version; AdapterError unless it is PET."""
    name = checkpoint.get("architecture_name")
    inner = without_uncertainties(checkpoint)
    wrapped = inner.get("architecture_name")
    if wrapped != "pet":
        what = "has no `architecture_name`" if wrapped is None else f"has the architecture `{wrapped}`"
        raise AdapterError(f"`{path}` {what}; expected a checkpoint of metatrain's `pet`")
    return {"architecture": name, "checkpoint_version": inner.get("model_ckpt_version")}


def without_uncertainties(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint that another one wraps for uncertainties (LLPR), as UPET publishes some, or itself."""
    if checkpoint.get("architecture_name") == "llpr":
        return checkpoint.get("wrapped_model_checkpoint") or {}
    return checkpoint


def build(checkpoint: dict[str, Any], path: Path) -> torch.nn.Module:
    """metatrain's own model in evaluation mode, brought up to date from an older version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from metatrain.utils.io import model_from_checkpoint

        try:
            return model_from_checkpoint(checkpoint, "export").eval()
        except ImportError as error:
            raise AdapterError(
                f"the model of `{path}` needs a package that is not installed ({_first_line(error)})"
            ) from None
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AdapterError(
                f"metatrain cannot build the model of `{path}`: {_first_line(error)}; the checkpoint is "
                "too old, too new or damaged"
            ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else repr(error)


# ---- metatrain's own numbers -------------------------------------------------------------------------------


class MetatomicReference:
    """metatomic's ASE calculator around metatrain's own model, in float64.

    Parameters
    ----------
    public : torch.nn.Module
        metatrain's PET; it is cast to float64
    variant : str, optional
        of the energy, such as ``"pbe"``, or None
    direct : bool or str
        whether forces and stress come from the direct heads, as far as there are any
    """

    def __init__(self, public: torch.nn.Module, variant: str | None, direct: bool | str = False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from metatomic_ase import MetatomicCalculator

            self.calculator = MetatomicCalculator(
                public.to(torch.float64).export(),
                variants={"energy": variant} if variant else None,
                non_conservative=direct,
                do_gradients_with_energy=False,
                uncertainty_threshold=None,
                device="cpu",
            )

    def __call__(self, atoms: Atoms) -> Reference:
        """Energy (eV), forces [N, 3] (eV/Å) and, with three periodic directions, stress [6] (eV/Å³)."""
        periodic = bool(atoms.pbc.all())
        properties = ["energy", "forces", "stress"] if periodic else ["energy", "forces"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.calculator.calculate(atoms.copy(), properties, [])
        results = self.calculator.results
        return Reference(float(results["energy"]), results["forces"], results.get("stress"))
