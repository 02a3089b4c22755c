"""The steps of the demonstration, each from a model and silicon to numbers and pictures; what they share."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure

from ..calculators.calculator import MLIPCalculator
from ..checks.check import check, format_checks, passed
from ..crystals import SYMPREC, space_group
from ..dynamics.lammps_md import LammpsMD, run_nve_lammps
from ..dynamics.md import draw_velocities, run_nve
from ..lattice_dynamics.audit import audit_phonons
from ..lattice_dynamics.phonons import phonons
from ..mechanics.eos import equation_of_state
from ..pictures import plots
from ..progress.bars import bar
from ..provenance import write_atomically
from ..relaxation.matching import displacement_rms
from ..relaxation.relax import relax
from . import silicon

RESIDUAL_FORCE = 0.01  # eV/Å; more than this in a perfect crystal is worth a warning
SPLITTING = 0.1  # THz, of modes that symmetry makes degenerate
DRIFT = 0.5  # meV/atom/ps
ROUGHNESS = 0.2  # meV/atom, of an equation of state around its fit
MELTED = 1.2  # Å, half of silicon's bond length: an atom that far from its site has left it


@dataclass(frozen=True)
class Settings:
    """How much is computed; the defaults take one to two minutes on two cores with ``pet-si``."""

    relax_steps: int = 500
    eos_points: int = 11
    mesh: int = 24
    md_time: float = 1000.0  # fs
    equilibration: float = 100.0  # fs
    check: bool = True


QUICK = Settings(relax_steps=60, eos_points=7, mesh=6, md_time=30.0, equilibration=5.0, check=False)


@dataclass
class Demo:
    """What the steps share: where to write, what with, and what has been found so far."""

    output: Path
    settings: Settings
    precise: MLIPCalculator  # float64
    fast: MLIPCalculator  # as stored
    lattice_constant: float = silicon.START
    numbers: dict = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def warn(self, step: str, text: str) -> None:
        """Remember a warning for the report and print it."""
        self.warnings.setdefault(step, []).append(text)
        print(f"  warning: {text}")

    def draw(self, name: str, figure: Figure) -> None:
        """Write a picture into the output folder and keep it for the report."""
        self.pictures[name] = plots.png(figure)
        write_atomically(self.output / f"{name}.png", self.pictures[name])

    def crystal(self, atoms: Atoms, calculator: MLIPCalculator) -> Atoms:
        """``atoms`` with a calculator."""
        atoms.calc = calculator
        return atoms


def check_step(demo: Demo) -> None:
    with bar("check") as progress:
        results = check(demo.precise.model, progress=progress)
    print(format_checks(results))
    failed = [result.name for result in results if result.passed is False]
    demo.numbers["check"] = {"passed": passed(results), "results": [result.to_dict() for result in results]}
    if failed:
        demo.warn("check", f"the model fails {len(failed)} of its checks: {', '.join(failed)}")


def relaxation(demo: Demo) -> None:
    start = demo.crystal(silicon.distorted(), demo.precise)
    with bar("step") as progress:
        result = relax(
            start,
            fmax=1e-4,
            steps=demo.settings.relax_steps,
            cell=True,
            check_noise=False,  # the phonons report what the network leaves of symmetry
            progress=progress,
        )
    demo.draw("relaxation", plots.plot_relaxation(result))
    volume = result.atoms.get_volume()
    lengths, angles = result.atoms.cell.lengths(), result.atoms.cell.angles()
    demo.numbers["relaxation"] = {
        "converged": result.converged,
        "steps": result.steps,
        "optimizer": result.optimizer,
        "energy_before": result.energies[0],
        "energy_after": result.energy,
        "fmax": result.fmax,
        "stress_max": float(np.abs(result.stress).max()),
        "volume": volume,
        "lattice_constant": float(np.cbrt(volume)),
        "cell_lengths": lengths.tolist(),
        "cell_angles": angles.tolist(),
        "distance_from_diamond": displacement_rms(silicon.diamond(silicon.START), result.atoms),
        "spacegroup_before": _json_keys(result.spacegroup_before),
        "spacegroup_after": _json_keys(result.spacegroup_after),
    }
    demo.lattice_constant = float(np.cbrt(volume))
    found = result.spacegroup_after[SYMPREC]
    print(f"  {result.steps} steps; a = {demo.lattice_constant:.4f} Å, {found} within 0.01 Å")
    if not result.converged:
        demo.warn("relaxation", f"not converged in {result.steps} steps: gradient {result.fmaxes[-1]:.1e}")
    if found != "Fd-3m (227)":
        demo.warn("relaxation", f"the crystal did not return to diamond: {found} within 0.01 Å")
        # the steps after this one are about diamond, so they start from its own best volume
        perfect = demo.crystal(silicon.diamond(silicon.START), demo.precise)
        ideal = relax(perfect, fmax=1e-3, cell="volume", check_noise=False)
        demo.lattice_constant = float(np.cbrt(ideal.atoms.get_volume()))


def equation_of_state_step(demo: Demo) -> None:
    atoms = demo.crystal(silicon.diamond(demo.lattice_constant), demo.precise)
    points = demo.settings.eos_points
    with bar("volume") as progress, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*compare with elastic constants")  # said below
        result = equation_of_state(atoms, volumes=points, relax_first=False, progress=progress)
    demo.draw("equation_of_state", plots.plot_eos(result, demo.precise.model.info.name))
    demo.lattice_constant = float(np.cbrt(result.volume))
    demo.numbers["equation_of_state"] = {
        "lattice_constant": demo.lattice_constant,
        "energy_per_atom": result.energy / result.n_atoms,
        "bulk_modulus": result.bulk_modulus,
        "bulk_modulus_derivative": result.bulk_modulus_derivative,
        "fit_error": result.fit_error,
        "volumes": result.volumes.tolist(),
        "energies": result.energies.tolist(),
    }
    print(f"  a = {demo.lattice_constant:.4f} Å, B = {result.bulk_modulus:.1f} GPa")
    deviation = 1000.0 * result.fit_error
    if deviation > ROUGHNESS or result.bulk_modulus_derivative < 0.0:
        text = f"the energies deviate from the fit by {deviation:.2f} meV/atom"
        text += f", the bulk modulus changes with pressure by {result.bulk_modulus_derivative:.1f}"
        demo.warn("equation_of_state", f"{text}: both are uncertain where the curve is not smooth")


def phonon_step(demo: Demo) -> None:
    atoms = demo.crystal(silicon.diamond(demo.lattice_constant), demo.precise)
    # a network without exact symmetry leaves forces in a perfect crystal; they are subtracted and reported
    options = {
        "mesh": (demo.settings.mesh,) * 3,
        "path": "GXU,KGL",
        "relax_first": False,
        "allow_unrelaxed": True,
    }
    with bar("supercell") as progress:
        result = phonons(atoms, supercell_matrix=(2, 2, 2), progress=progress, **options)
    references = {"DFT (PBE)": silicon.PBE_FREQUENCIES, "experiment": silicon.MEASURED_FREQUENCIES}
    demo.draw("phonons", plots.plot_phonons(result, references))
    result.save(demo.output / "phonopy.yaml")
    demo.numbers["phonons"] = {
        "gamma": result.gamma_frequencies.tolist(),
        "special": {name: row.tolist() for name, row in result.special_frequencies.items()},
        "gamma_acoustic_raw": np.abs(result.gamma_frequencies_raw[:3]).max(),
        "lowest_frequency": result.lowest_frequency,
        "lowest_q": result.lowest_q.tolist(),
        "stable": result.stable,
        "residual_force": result.residual_force,
        "sum_rule_error": result.sum_rule_error,
        "n_displacements": result.n_displacements,
        "n_atoms_supercell": result.n_atoms_supercell,
        "distance": result.distance,
        "heat_capacity_300K": None if result.thermal is None else float(result.thermal.heat_capacity[30]) / 2,
        "audit": _audit(demo),
    }
    numbers = demo.numbers["phonons"]
    lowest = f"lowest frequency {result.lowest_frequency:.3f} THz"
    print(f"  optical mode at Γ {numbers['gamma'][-1]:.2f} THz, {lowest}")
    if not result.stable:
        q = ", ".join(f"{value:.3f}" for value in result.lowest_q)
        demo.warn("phonons", f"imaginary modes: lowest {result.lowest_frequency:.2f} THz at q = ({q})")
    if result.residual_force > RESIDUAL_FORCE:
        residual = f"{result.residual_force:.4f} eV/Å"
        demo.warn("phonons", f"the perfect crystal has forces up to {residual} (subtracted)")
    if numbers["audit"]["optical_splitting"] > SPLITTING:
        splitting = numbers["audit"]["optical_splitting"]
        demo.warn("phonons", f"without imposed symmetry the optical mode at Γ splits by {splitting:.3f} THz")


def _audit(demo: Demo) -> dict:
    """Γ from all displacements both ways in the same supercell, nothing imposed: the model's own symmetry."""
    atoms = demo.crystal(silicon.primitive(demo.lattice_constant), demo.precise)
    with bar("supercell") as progress:
        result = audit_phonons(
            atoms,
            supercell_matrix=2 * silicon.TO_CONVENTIONAL,
            relax_first=False,
            progress=progress,
        )
    return {
        "gamma": [*result.acoustic.tolist(), *result.optical.tolist()],
        "optical_splitting": float(np.ptp(result.optical)),
        "acoustic_max": float(np.abs(result.acoustic).max()),
        "n_displacements": result.n_displacements,
    }


def _hot_crystal(demo: Demo) -> Atoms:
    """64 atoms on their sites at 600 K; half of that goes into the potential energy: 300 K remain."""
    atoms = silicon.diamond(demo.lattice_constant) * (2, 2, 2)
    draw_velocities(atoms, 600.0, seed=0)
    return atoms


def dynamics(demo: Demo) -> None:
    atoms = _hot_crystal(demo)
    atoms.calc = demo.fast
    with bar("step") as progress:
        result = run_nve(
            atoms,
            None,
            1.0 * units.fs,
            demo.settings.md_time * units.fs,
            equilibration=demo.settings.equilibration * units.fs,
            progress=progress,
        )
    demo.numbers["dynamics"] = {
        "completed": result.completed,
        "steps": result.steps,
        "n_atoms": len(result.atoms),
        "timestep_fs": result.timestep,
        "dtype": str(demo.fast.model.dtype).removeprefix("torch."),
        "drift": result.drift,
        "fluctuation": result.fluctuation,
        "mean_temperature": result.mean_temperature,
        "max_displacement": result.max_displacement,
        "space_group_start": space_group(atoms, SYMPREC),
        "milliseconds_per_step": 1000.0 * result.seconds_per_step,
        "microseconds_per_atom_and_step": 1e6 * result.seconds_per_step / len(result.atoms),
    }
    print(f"  drift {result.drift:+.2g} meV/atom/ps at {result.mean_temperature:.0f} K")
    if result.steps > 2:
        demo.draw("dynamics", plots.plot_md(result))
    if not result.completed:
        demo.warn("dynamics", f"ended after {result.steps} steps: energies or positions stopped being finite")
    if not abs(result.drift) <= DRIFT:
        demo.warn("dynamics", f"the total energy drifts by {result.drift:+.3f} meV/atom/ps")
    if result.max_displacement > MELTED:
        demo.warn(
            "dynamics", f"an atom moved {result.max_displacement:.2f} Å from its site: the crystal broke up"
        )


def _json_keys(groups: dict[float, str]) -> dict[str, str]:
    return {f"{symprec:g}": group for symprec, group in groups.items()}


def lammps(demo: Demo) -> None:
    """From the same start; energy and forces of the last structure are compared with the calculator's."""
    model, steps = demo.fast.model, round(demo.settings.md_time)
    with bar("step") as progress:
        run = run_nve_lammps(
            _hot_crystal(demo),
            model.path,
            1.0 * units.fs,
            demo.settings.md_time * units.fs,
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device),
            equilibration=demo.settings.equilibration * units.fs,
            progress=progress,
        )
    exact = run_nve_lammps(_hot_crystal(demo), model.path, time=1.0 * units.fs, dtype="float64")
    demo.numbers["lammps"] = {
        "steps": run.result.steps,
        "n_atoms": len(run.result.atoms),
        "drift": run.result.drift,
        "mean_temperature": run.result.mean_temperature,
        "milliseconds_per_step": 1000.0 * run.result.seconds_per_step,
        "difference": _difference(run, demo.fast),
        "difference_float64": _difference(exact, demo.precise),
    }
    numbers = demo.numbers["lammps"]
    forces, forces_64 = (numbers[key]["forces"] for key in ("difference", "difference_float64"))
    print(f"  drift {run.result.drift:+.2g} meV/atom/ps; largest difference of forces from ASE:")
    print(f"  {forces:.1e} eV/Å after {steps} steps in the stored precision, {forces_64:.1e} in float64")
    if not forces_64 <= 1e-8:
        demo.warn("lammps", f"forces in LAMMPS and ASE differ by {forces_64:.1e} eV/Å in float64")


def _difference(run: LammpsMD, calculator: MLIPCalculator) -> dict[str, float]:
    """LAMMPS against ASE on the last structure: eV/atom and eV/Å."""
    atoms = run.result.atoms.copy()
    atoms.calc = calculator
    energy = abs(run.energy - atoms.get_potential_energy()) / len(atoms)
    return {"energy": float(energy), "forces": float(np.abs(run.forces - atoms.get_forces()).max())}
