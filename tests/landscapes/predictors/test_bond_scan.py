"""Scans of bonds: a Morse dimer and a wiggle of known amplitude, and which atom moves."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.landscapes.predictors.bond_scan import (
    bond_frames,
    bonds_of,
    scan_bonds,
    scan_errors,
    second_differences,
)

DEPTH, RHO, R0 = 4.0, 3.5, 1.1  # eV, 1, Å


class Along(Calculator):
    """Energy V(r) of two atoms given by the force f(r) = -V'(r) between them, eV/Å."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy, force):
        super().__init__()
        self.energy, self.force = energy, force

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vector = atoms.positions[1] - atoms.positions[0]
        r = np.linalg.norm(vector)
        push = self.force(r) * vector / r
        self.results = {"energy": self.energy(r), "forces": np.array([-push, push])}


def dimer(r=R0):
    direction = np.array([0.48, 0.6, 0.64])
    return Atoms("N2", [np.zeros(3), r * direction])


def morse():
    return MorsePotential(epsilon=DEPTH, rho0=RHO, r0=R0, rcut1=50.0, rcut2=60.0)


def morse_force_curvature(r):
    """d²f/dr² of f = -V', V = D (e^{-2a(r-r₀)} - 2e^{-a(r-r₀)}), a = ρ/r₀."""
    a = RHO / R0
    one = np.exp(-a * (r - R0))
    return DEPTH * (8.0 * a**3 * one**2 - 2.0 * a**3 * one)


def test_morse_dimer_has_its_analytic_roughness():
    found = scan_bonds(dimer(), morse())
    (scan,) = found.scans
    assert scan.lengths[[0, -1]] == pytest.approx([R0 - 0.22, R0 + 0.22])
    assert len(scan.lengths) == 45
    expected = np.sqrt(np.mean(morse_force_curvature(scan.lengths[1:-1]) ** 2))
    assert scan.roughness == pytest.approx(expected, rel=2e-3)
    assert found.roughness == pytest.approx(scan.roughness)
    # the force is the derivative of the energy along the bond: a central difference, less its h²/6 f''
    slope = (scan.energies[2:] - scan.energies[:-2]) / 0.02
    beyond = 0.01**2 / 6.0 * morse_force_curvature(scan.lengths[1:-1])
    assert scan.forces[1:-1] == pytest.approx(-slope - beyond, abs=1e-3)
    assert scan.energies.argmin() == 22


def test_wiggle_has_the_roughness_of_its_amplitude():
    amplitude, k = 1e-3, 2.0 * np.pi / 0.11  # eV, 1/Å; the scan has four periods
    wiggle = Along(lambda r: amplitude * np.sin(k * r), lambda r: -amplitude * k * np.cos(k * r))
    found = scan_bonds(dimer(), wiggle, step=0.0055)
    # the second difference of cos kr with step h is -k² sinc²(kh/2) cos kr
    shrinks = (np.sin(0.5 * k * 0.0055) / (0.5 * k * 0.0055)) ** 2
    assert found.roughness == pytest.approx(amplitude * k**3 * shrinks / np.sqrt(2.0), rel=0.02)


def test_straight_and_quadratic_potentials_are_smooth():
    found = scan_bonds(dimer(), Along(lambda r: 3.0 * (r - 1.0) ** 2, lambda r: -6.0 * (r - 1.0)))
    assert found.roughness == pytest.approx(0.0, abs=1e-8)
    assert second_differences(np.arange(5.0) ** 2, 0.5) == pytest.approx([8.0] * 3)


def test_hydrogen_moves_and_everything_else_rests():
    methanol = molecule("CH3OH")
    bonds = bonds_of(methanol)
    assert len(bonds) == 5
    symbols = [(methanol.symbols[bond.i], methanol.symbols[bond.j]) for bond in bonds]
    assert sorted(symbols) == [("C", "H")] * 3 + [("C", "O"), ("O", "H")]
    for bond in bonds:
        assert methanol.get_distance(bond.i, bond.j) == pytest.approx(bond.length)
        lengths, frames = bond_frames(methanol, bond)
        for length, frame in zip(lengths, frames, strict=True):
            assert frame.get_distance(bond.i, bond.j) == pytest.approx(length)
            others = np.delete(np.arange(len(methanol)), bond.j)
            assert np.array_equal(frame.positions[others], methanol.positions[others])
        assert np.array_equal(frames[len(frames) // 2].positions, methanol.positions)


def test_bonds_through_boundaries_are_stretched_and_large_structures_sampled():
    silicon = bulk("Si", "diamond", 5.43, cubic=True)
    bonds = bonds_of(silicon)
    assert len(bonds) == 16
    crossing = next(bond for bond in bonds if any(bond.shift))
    lengths, frames = bond_frames(silicon, crossing)
    ends = frames[-1].positions[crossing.j] + np.array(crossing.shift) @ silicon.cell.array
    assert np.linalg.norm(ends - silicon.positions[crossing.i]) == pytest.approx(lengths[-1])
    found = scan_bonds(silicon, MorsePotential(r0=2.35, rho0=4.0, rcut1=1.5, rcut2=2.0), step=0.1, most=3)
    assert (len(found.scans), found.n_bonds) == (3, 16)


def test_reference_scan_gives_errors_whatever_its_zero():
    frames = bond_frames(dimer(), bonds_of(dimer())[0], step=0.05)[1]
    for frame in frames:
        frame.calc = morse()
        energy, forces = frame.get_potential_energy() - 100.0, frame.get_forces() + 0.1
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
    found = scan_errors(morse(), frames)
    assert found.energy_rmse == pytest.approx(0.0, abs=1e-9)
    assert found.forces_rmse == pytest.approx(0.1)
    assert scan_bonds(dimer(), morse(), step=0.05, reference=frames).errors == found
    with pytest.raises(MLIPError, match="`reference`: expected at least two frames with energies"):
        scan_errors(morse(), [dimer(), dimer()])


def test_what_cannot_be_scanned_is_named():
    with pytest.raises(StructureError, match="expected bonds, .* got none in He"):
        scan_bonds(Atoms("He"), morse())
    for name, arguments in (("step", {"step": 0.0}), ("stretch", {"stretch": 1.5}), ("most", {"most": 0})):
        with pytest.raises(MLIPError, match=f"`{name}`"):
            scan_bonds(dimer(), morse(), **arguments)
    with pytest.raises(MLIPError, match="`step`: expected at most"):
        scan_bonds(dimer(), morse(), step=1.0)
