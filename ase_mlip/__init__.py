"""Machine-learned interatomic potentials: one exported file for ASE and LAMMPS.

Attributes are loaded when they are first used, so that importing the package costs nothing and does not
import torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "DeviationWriter": "calculators.ensemble",
    "Ensemble": "calculators.ensemble",
    "MLIPCalculator": "calculators.calculator",
    "ModelInfo": "model_file.info",
    "SymmetrizedCalculator": "calculators.symmetrized_calculator",
    "SymmetrizedModel": "model_file.symmetrized_model",
    "check": "checks.check",
    "design": "optimal_design.workflow",
    "elastic_constants": "mechanics.elasticity",
    "equation_of_state": "mechanics.eos",
    "evaluate": "checks.evaluate",
    "export_model": "model_file.export",
    "landscape": "landscapes.landscape",
    "load_model": "model_file.model",
    "md_stability": "stability.runs",
    "phonons": "lattice_dynamics.phonons",
    "relax": "relaxation.relax",
    "stabilize": "stability_training.workflow",
    "thermal_conductivity": "lattice_dynamics.conductivity",
    "train": "training.train",
    "validate": "report.validate",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module `ase_mlip` has no attribute `{name}`")
    return getattr(import_module(f"ase_mlip.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
