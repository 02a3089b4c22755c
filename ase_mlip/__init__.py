"""Machine-learned interatomic potentials: one exported file for ASE and LAMMPS.

Attributes are loaded when they are first used, so that importing the package costs nothing and does not
import torch.
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "DeviationWriter",
    "Ensemble",
    "MLIPCalculator",
    "ModelInfo",
    "SymmetrizedCalculator",
    "SymmetrizedModel",
    "design",
    "export_model",
    "landscape",
    "load_model",
    "stabilize",
    "__version__",
]

_HOMES = {
    "DeviationWriter": "ase_mlip.calculators.ensemble",
    "Ensemble": "ase_mlip.calculators.ensemble",
    "MLIPCalculator": "ase_mlip.calculators.calculator",
    "ModelInfo": "ase_mlip.model_file.info",
    "SymmetrizedCalculator": "ase_mlip.calculators.symmetrized_calculator",
    "SymmetrizedModel": "ase_mlip.model_file.symmetrized_model",
    "design": "ase_mlip.optimal_design.workflow",
    "export_model": "ase_mlip.model_file.model",
    "landscape": "ase_mlip.landscapes.landscape",
    "load_model": "ase_mlip.model_file.model",
    "stabilize": "ase_mlip.stability_training.workflow",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module `ase_mlip` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
