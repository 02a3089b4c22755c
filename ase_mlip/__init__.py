"""Machine-learned interatomic potentials: one exported file for ASE and LAMMPS.

Attributes are loaded when they are first used, so that importing the package costs nothing and does not
import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .calculators.calculator import MLIPCalculator as MLIPCalculator
    from .calculators.ensemble import DeviationWriter as DeviationWriter
    from .calculators.ensemble import Ensemble as Ensemble
    from .calculators.symmetrized_calculator import SymmetrizedCalculator as SymmetrizedCalculator
    from .checks.check import check as check
    from .checks.evaluate import evaluate as evaluate
    from .landscapes.landscape import landscape as landscape
    from .lattice_dynamics.conductivity import thermal_conductivity as thermal_conductivity
    from .lattice_dynamics.phonons import phonons as phonons
    from .mechanics.elasticity import elastic_constants as elastic_constants
    from .mechanics.eos import equation_of_state as equation_of_state
    from .model_file.export import export_model as export_model
    from .model_file.info import ModelInfo as ModelInfo
    from .model_file.model import load_model as load_model
    from .model_file.symmetrized_model import SymmetrizedModel as SymmetrizedModel
    from .optimal_design.workflow import design as design
    from .relaxation.relax import relax as relax
    from .report.validate import validate as validate
    from .stability.runs import md_stability as md_stability
    from .stability_training.workflow import stabilize as stabilize
    from .training.train import train as train

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
