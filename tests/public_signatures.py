"""Every public name as a user calls it: `make lint` has mypy check these types. It is never run."""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from matplotlib.figure import Figure

import ase_mlip
from ase_mlip.calculators.ensemble import Ensemble
from ase_mlip.checks.evaluate import EvaluationResult
from ase_mlip.checks.probe import CheckResult
from ase_mlip.dynamics.md import MDResult
from ase_mlip.landscapes.comparison.compare import Comparison
from ase_mlip.landscapes.result import Landscape
from ase_mlip.lattice_dynamics.results import ConductivityResult, PhononResult
from ase_mlip.mechanics.elasticity import ElasticResult
from ase_mlip.mechanics.eos import EOSResult
from ase_mlip.model_file.info import ModelInfo
from ase_mlip.model_file.model import Model
from ase_mlip.optimal_design.result import DesignResult
from ase_mlip.pictures import elastic, plots
from ase_mlip.pictures.compare import plot_comparison
from ase_mlip.pictures.designs.panels import plot_design
from ase_mlip.pictures.landscape import plot_landscape
from ase_mlip.pictures.md import plot_stability
from ase_mlip.pictures.parity import plot_parity
from ase_mlip.relaxation.result import RelaxResult
from ase_mlip.report.validate import ValidationResult
from ase_mlip.stability.result import StabilityResult
from ase_mlip.stability_training.workflow import StabilizeResult


def files(network: torch.nn.Module) -> None:
    ase_mlip.export_model(network, "model.pt", {"name": "mine"})
    model: Model = ase_mlip.load_model("model.pt", device="cpu", dtype="float64")
    info: ModelInfo = model.info
    print(info.cutoff + 1.0, [number + 1 for number in info.species])


def calculators(path: Path) -> Calculator:
    calculator = ase_mlip.MLIPCalculator(path, device="cpu", dtype="float32", symmetrize="octahedral")
    committee: Ensemble = ase_mlip.Ensemble.from_files([path, "pet-si"], device="cpu")
    ase_mlip.Ensemble([calculator, *committee.members])
    return ase_mlip.SymmetrizedCalculator(committee, "octahedral")


def on_structures(atoms: Atoms, path: Path, model: Model) -> None:
    calculator = ase_mlip.MLIPCalculator("pet-si")
    relaxed: RelaxResult = ase_mlip.relax(path, calculator, fmax=0.01, cell=True)
    bands: PhononResult = ase_mlip.phonons(relaxed.atoms, "pet-si", min_length=12.0)
    stiffness: ElasticResult = ase_mlip.elastic_constants(relaxed.atoms, path)
    curve: EOSResult = ase_mlip.equation_of_state(relaxed.atoms, model, volumes=9)
    heat: ConductivityResult = ase_mlip.thermal_conductivity("si.vasp", calculator, temperatures=[300.0])
    runs: StabilityResult = ase_mlip.md_stability(atoms, temperature_K=300.0, replicas=4)
    for result in (relaxed, bands, stiffness, curve, heat, runs):
        document: dict[str, object] = result.to_dict()
        result.plot(path)
        print(document)
    numbers: list[np.ndarray] = [stiffness.stiffness, heat.kappa]
    print(bands.stable, curve.bulk_modulus + 1.0, numbers)


def pictures(
    relaxed: RelaxResult,
    curve: EOSResult,
    stiffness: ElasticResult,
    bands: PhononResult,
    heat: ConductivityResult,
    run: MDResult,
    runs: StabilityResult,
) -> list[Figure]:
    """Results have what pictures read of them: pictures/drawn.py, which may not import them."""
    figures = [plots.plot_relaxation(relaxed), plots.plot_eos(curve, "DFT"), elastic.plot_elastic(stiffness)]
    figures += [plots.plot_phonons(bands, overlay=bands.bands), elastic.plot_conductivity(heat)]
    return [*figures, plots.plot_md(run), plot_stability(runs)]


def pictures_of_models(
    rise: Landscape, compared: Comparison, chosen: DesignResult, errors: EvaluationResult
) -> list[Figure]:
    return [plot_parity(errors), plot_landscape(rise), plot_comparison(compared), plot_design(chosen)]


def on_models(model: Model, frames: list[Atoms]) -> None:
    errors: EvaluationResult = ase_mlip.evaluate(model, frames)
    results: list[CheckResult] = ase_mlip.check(model, structure="silicon.xyz")
    exported: Path = ase_mlip.train("run.toml", resume=True)
    report: ValidationResult = ase_mlip.validate(exported, {"silicon": frames[0]}, output="report")
    chosen: DesignResult = ase_mlip.design(frames, pick=10)
    healed: StabilizeResult = ase_mlip.stabilize("stabilize.toml")
    document: dict[str, object] = chosen.to_dict() | errors.to_dict() | healed.to_dict()
    errors.plot("parity.png")
    healed.plot(exported.with_suffix(".png"))
    chosen.plot("design.png")
    print(document, chosen.predicted_error, chosen.random, chosen.last_gain)
    print(errors, [result.passed for result in results], report.passed, report.to_dict(), chosen.picks)
