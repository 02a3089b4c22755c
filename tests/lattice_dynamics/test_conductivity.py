"""Thermal conductivity of Stillinger-Weber silicon: symmetry, sums, a phonon gas, analytic derivatives."""

import dataclasses
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import spglib
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.neighborlist import neighbor_list
from optional_packages import needs_phono3py
from stillinger_weber import LATTICE_CONSTANT, export

from ase_mlip import MLIPCalculator
from ase_mlip.crystals import heights
from ase_mlip.errors import ArgumentError, MLIPError, StructureError
from ase_mlip.lattice_dynamics.conductivity import _shares, thermal_conductivity
from ase_mlip.lattice_dynamics.kappa_srme import fails_benchmark, kappa_srme
from ase_mlip.lattice_dynamics.results import PhononResult
from ase_mlip.lattice_dynamics.supercells.cells import to_ase
from ase_mlip.relaxation.relax import relax
from tests.emt_variants import Interrupted
from tests.two_modes import two_modes


def test_a_pair_of_modes_is_split_by_heat_capacities():
    """One q-point, two modes: the shares add up to the pair's two entries."""
    coherences = np.zeros((1, 1, 2, 2, 6))
    coherences[..., 0, 1, :] = coherences[..., 1, 0, :] = 5.0
    shares = _shares(coherences, np.array([[[1.0, 3.0]]]))
    assert shares[0, 0, :, 0] == pytest.approx([7.5, 2.5])
    assert shares.sum() == pytest.approx(coherences.sum())
    assert np.isfinite(_shares(coherences, np.zeros((1, 1, 2)))).all()


def test_the_benchmark_tells_imaginary_modes_from_acoustic_noise():
    assert not fails_benchmark(np.array([[-5e-3, 0.0, 1e-3, 5.0], [1.0, 2.0, 3.0, 4.0]]))
    assert fails_benchmark(np.array([[-5e-2, 0.0, 1e-3, 5.0], [1.0, 2.0, 3.0, 4.0]]))
    assert fails_benchmark(np.array([[-5e-3, 0.0, 1e-3, 5.0], [-1e-3, 2.0, 3.0, 4.0]]))


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "phono3py", None)
    atoms = bulk("Cu")
    atoms.calc = EMT()
    with pytest.raises(MLIPError, match=r"pip install 'phono3py>="):
        thermal_conductivity(atoms)


# ---- with phono3py -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "sw.pt"
    export(path)
    atoms = bulk("Si", a=LATTICE_CONSTANT, cubic=True)
    atoms.calc = MLIPCalculator(path, device="cpu", dtype="float64")
    return atoms


@pytest.fixture(scope="module")
def result(silicon):
    return thermal_conductivity(
        silicon,
        supercell_matrix=(1, 1, 1),
        phonon_supercell_matrix=(2, 2, 2),
        mesh=(5, 5, 5),
        temperatures=(300.0, 600.0),
    )


@needs_phono3py
def test_silicon_conducts_equally_in_all_directions(result):
    assert result.stable and result.wigner
    for kappa, mean in zip(result.kappa, result.mean_kappa, strict=True):
        assert kappa == pytest.approx(mean * np.eye(3), abs=1e-3 * mean)
    assert 5.0 < result.mean_kappa[1] < result.mean_kappa[0] < 500.0
    assert result.space_group_number == 227
    assert result.residual_force < 1e-6


@needs_phono3py
def test_modes_add_up_to_the_conductivity(result):
    total = result.mode_kappa.sum(axis=(1, 2)) / result.weights.sum()
    assert total == pytest.approx(result.mean_kappa)
    assert result.weights.sum() == 125
    assert (result.mode_kappa > -1e-6 * result.mode_kappa.max()).all()
    coherent = np.trace(result.kappa_coherences, axis1=1, axis2=2) / 3
    assert (coherent > 0.0).all() and (coherent < 0.05 * result.mean_kappa).all()
    assert (result.linewidths[1] >= result.linewidths[0] - 1e-12).all()  # grow with temperature


@needs_phono3py
def test_without_coherences_only_they_are_missing(silicon, result):
    plain = thermal_conductivity(
        silicon, supercell_matrix=(1, 1, 1), phonon_supercell_matrix=(2, 2, 2), mesh=(5, 5, 5), wigner=False
    )
    expected = result.mean_kappa[0] - np.trace(result.kappa_coherences[0]) / 3
    # velocities between degenerate modes are populations of Wigner's equation and missing in Boltzmann's
    assert expected - 0.02 * expected < plain.mean_kappa[0] < expected
    assert not plain.kappa_coherences.any()
    assert kappa_srme(plain, result) < 0.05


@needs_phono3py
def test_conductivity_is_that_of_a_gas_of_phonons(silicon):
    """κ = Σ C v² τ / (3 N V) with τ = 1/(4π γ), velocities from differences of phonopy's frequencies."""
    from ase_mlip.lattice_dynamics.phonons import phonons

    found = thermal_conductivity(
        silicon,
        supercell_matrix=(1, 1, 1),
        phonon_supercell_matrix=(2, 2, 2),
        mesh=(5, 5, 5),
        wigner=False,
        isotopes=False,
        boundary_mfp=None,
    )
    harmonic = phonons(silicon, supercell_matrix=(2, 2, 2), distance=0.03, mesh=(2, 2, 2))
    cell = harmonic.primitive.cell.array
    step = 1e-3  # 1/Å
    squares = 0.0
    for direction in step * np.eye(3):
        ends = (harmonic.frequencies_at(found.q_points + sign * cell @ direction) for sign in (1, -1))
        squares = squares + (np.subtract(*ends) / (2 * step) * 100.0) ** 2  # THz Å are 100 m/s
    used = found.linewidths[0] > 1e-10
    lifetimes = 1.0 / (4e12 * np.pi * found.linewidths[0][used])
    x = units._hplanck * found.frequencies[used] * 1e12 / (units._k * 300.0)
    capacities = units._k * x**2 * np.exp(x) / np.expm1(x) ** 2
    weights = np.broadcast_to(found.weights[:, None], used.shape)[used]
    total = (weights * capacities * squares[used] * lifetimes).sum()
    volume = harmonic.primitive.get_volume() * 1e-30
    assert found.mean_kappa[0] == pytest.approx(total / (3 * found.weights.sum() * volume), rel=0.03)


@needs_phono3py
def test_force_constants_obey_permutation_and_translation(result):
    fc3 = result.phono3py.fc3  # [primitive, N, N, 3, 3, 3]
    scale = np.abs(fc3).max()
    assert np.abs(fc3 - fc3.transpose(0, 2, 1, 3, 5, 4)).max() < 1e-6 * scale
    for axis in (1, 2):
        assert np.abs(fc3.sum(axis=axis)).max() < 1e-5 * scale


EPSILON, R0, RHO = 0.2, 2.8, 5.0  # eV, Å


def third_derivatives(vector):
    """∂³φ/∂r∂r∂r [3, 3, 3] (eV/Å³) of Morse's φ = ε (E² - 2E), E = exp(-ρ (r/r0 - 1)), at ``vector``."""
    r = np.linalg.norm(vector)
    n, k = vector / r, RHO / R0
    e = np.exp(-RHO * (r / R0 - 1.0))
    first = EPSILON * (-2 * k * e**2 + 2 * k * e)
    second = EPSILON * (4 * k**2 * e**2 - 2 * k**2 * e)
    third = EPSILON * (-8 * k**3 * e**2 + 2 * k**3 * e)
    unit = np.eye(3)
    cross = (
        np.einsum("ab,c->abc", unit, n) + np.einsum("bc,a->abc", unit, n) + np.einsum("ac,b->abc", unit, n)
    )
    along = third - 3 * second / r + 3 * first / r**2
    return along * np.einsum("a,b,c->abc", n, n, n) + (second / r - first / r**2) * cross


@needs_phono3py
def test_third_order_force_constants_are_those_of_an_analytic_pair_potential():
    """fcc with two shells of neighbours, in the flat part of ASE's Morse potential."""
    atoms = bulk("Ar", a=3.9, cubic=True)
    atoms.calc = MorsePotential(epsilon=EPSILON, r0=R0, rho0=RHO, rcut1=4.4 / R0, rcut2=4.6 / R0)
    relaxed = relax(
        atoms, cell=True, keep_space_group=True, fmax=1e-6, optimizer="BFGS", check_noise=False
    ).atoms
    relaxed.calc = atoms.calc
    assert relaxed.cell.lengths()[0] < 4.3  # the second shell
    found = thermal_conductivity(relaxed, supercell_matrix=(2, 2, 2), mesh=(3, 3, 3), distance=0.003)
    assert found.stable
    supercell = to_ase(found.phono3py.supercell)
    expected = np.zeros((len(supercell),) * 3 + (3, 3, 3))
    for i, j, vector in zip(*neighbor_list("ijD", supercell, 4.4), strict=True):
        ends = ((i, -1.0), (j, 1.0))
        for (a, s), (b, t), (c, u) in itertools.product(ends, repeat=3):
            expected[a, b, c] += 0.5 * s * t * u * third_derivatives(vector)  # each pair comes twice
    fc3 = found.phono3py.fc3
    if len(fc3) < len(supercell):
        expected = expected[found.phono3py.primitive.p2s_map]
    scale = np.abs(expected).max()
    assert scale > 1.0
    assert np.abs(fc3 - expected).max() < 2e-3 * scale


@needs_phono3py
def test_frequencies_are_those_of_phonopy(silicon, result):
    from ase_mlip.lattice_dynamics.phonons import phonons

    expected = phonons(silicon, supercell_matrix=(2, 2, 2), distance=0.03, mesh=(2, 2, 2))
    assert np.sort(result.frequencies, axis=1) == pytest.approx(
        expected.frequencies_at(result.q_points), abs=0.01
    )


@needs_phono3py
def test_q_points_are_one_of_each_star_in_the_order_of_the_mesh(result):
    """Stars from spglib's rotations; modes correspond only where points and their order are the same."""
    primitive = result.phono3py.primitive
    cell = (primitive.cell, primitive.scaled_positions, primitive.numbers)
    # reciprocal coordinates as rows: q → q W, for the real-space rotation W of columns; and q → -q
    rotations = spglib.get_symmetry_dataset(cell, symprec=1e-5).rotations
    places = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    stars = {}
    for place in places:
        images = np.concatenate([place @ rotations, -(place @ rotations)]) % 5
        stars.setdefault(frozenset(map(tuple, images)), None)
    found = np.rint(5 * result.q_points).astype(int)
    assert 5 * result.q_points == pytest.approx(found, abs=1e-9)
    assert len(found) == len(stars) == 10
    for point, weight in zip(found % 5, result.weights, strict=True):
        (star,) = [star for star in stars if tuple(point) in star]
        assert weight == len(star)
        del stars[star]
    order = (found % 5) @ [1, 5, 25]  # the first direction runs fastest
    assert (np.diff(order) > 0).all()


@needs_phono3py
def test_an_error_with_itself_is_zero_and_softer_silicon_differs(result):
    assert kappa_srme(result, result) == 0.0
    half = dataclasses.replace(result, kappa=result.kappa / 2, mode_kappa=result.mode_kappa / 2)
    assert kappa_srme(half, result) == pytest.approx(2 / 3)


@needs_phono3py
def test_imaginary_modes_end_before_the_third_order():
    atoms = bulk("Cu", "bcc", a=2.87)
    atoms.calc = EMT()
    seen = []
    found = thermal_conductivity(
        atoms,
        supercell_matrix=(2, 2, 2),
        phonon_supercell_matrix=(3, 3, 3),
        mesh=(4, 4, 4),
        progress=lambda *row: seen.append(row),
    )
    assert not found.stable
    assert found.lowest_frequency < -0.5
    assert np.isnan(found.mean_kappa).all()
    assert found.n_displacements == (1, 0)
    assert seen[-1][0] == 2 and seen[-1][1] > 5
    reference = two_modes([[2, 4], [5, 1]], space_group_number=229)
    assert kappa_srme(found, reference) == 2.0


@needs_phono3py
def test_stable_means_what_it_means_for_phonons_and_the_benchmark_is_stricter():
    """Copper, stretched until two modes of the mesh are just below zero, -0.06 and -0.04 THz."""
    atoms = bulk("Cu", a=3.94013671875)
    atoms.calc = EMT()
    with pytest.warns(UserWarning, match="modes on the mesh are between -0.1 THz and zero, the lowest at"):
        found = thermal_conductivity(atoms, supercell_matrix=(2, 2, 2), mesh=(4, 4, 4), relax_first=False)
    assert -0.1 < found.lowest_frequency < -0.03
    assert found.stable == PhononResult.stable.fget(found) and found.stable
    assert (found.mode_kappa[0][found.frequencies < 0.0] == 0.0).all() and found.mean_kappa > 0.0
    assert fails_benchmark(found.frequencies) and kappa_srme(found, found) == 2.0


@needs_phono3py
def test_supercells_are_as_wide_as_the_model_needs(sw_path):
    """Seen where modes are imaginary, which ends before the many supercells of third order."""
    atoms = bulk("Si", "bcc", a=3.2)
    atoms.calc = MLIPCalculator(sw_path, device="cpu", dtype="float64")
    found = thermal_conductivity(atoms, mesh=(3, 3, 3), relax_first=False)
    assert not found.stable
    calculation = found.phono3py
    for cell in (calculation.supercell, calculation.phonon_supercell):
        assert heights(cell.cell).min() >= 2 * atoms.calc.model.info.cutoff
        assert len(cell) <= 64
    options = {"mesh": (3, 3, 3), "relax_first": False}
    given = thermal_conductivity(atoms, supercell_matrix=(3, 3, 3), **options).phono3py
    assert len(given.supercell) == len(given.phonon_supercell) == 27


@needs_phono3py
def test_bad_input_is_named():
    atoms = bulk("Cu", a=3.59, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    with pytest.raises(StructureError, match="needs a relaxed structure"):
        thermal_conductivity(atoms, supercell_matrix=(1, 1, 1), relax_first=False)
    with pytest.raises(ValueError, match="`temperatures`: expected a positive number of K or several, got "):
        thermal_conductivity(atoms, supercell_matrix=(1, 1, 1), temperatures=(0.0,))
    with pytest.raises(ArgumentError, match="`phonon_supercell_matrix` must have a positive determinant"):
        thermal_conductivity(atoms, supercell_matrix=(1, 1, 1), phonon_supercell_matrix=(1, 1, -1))
    with pytest.raises(ArgumentError, match="`mesh` must be three positive integers"):
        thermal_conductivity(atoms, supercell_matrix=(1, 1, 1), mesh=5)
    atoms.calc.averaging = SimpleNamespace(seed=3, name="random 3")
    with pytest.raises(ArgumentError, match="symmetrize='random 3'"):
        thermal_conductivity(atoms, supercell_matrix=(1, 1, 1))


@needs_phono3py
def test_a_killed_run_goes_on_with_the_supercells_it_has(tmp_path):
    """Also where supercells of second and third order have different sizes, of which both are cut."""
    atoms = bulk("Cu", a=3.58982, cubic=True)
    options = {"mesh": (3, 3, 3), "relax_first": False, "checkpoint": tmp_path / "forces.npz"}
    counts = []
    for last in (2, 3, None):
        atoms.calc = Interrupted(last)
        if last is not None:
            with pytest.raises(KeyboardInterrupt):
                thermal_conductivity(
                    atoms, supercell_matrix=(1, 1, 1), phonon_supercell_matrix=(2, 2, 2), **options
                )
        else:
            result = thermal_conductivity(
                atoms, supercell_matrix=(1, 1, 1), phonon_supercell_matrix=(2, 2, 2), **options
            )
        counts.append(atoms.calc.calls)
    atoms.calc = Interrupted()
    del options["checkpoint"]
    whole = thermal_conductivity(
        atoms, supercell_matrix=(1, 1, 1), phonon_supercell_matrix=(2, 2, 2), **options
    )
    # each time one again, to see that the calculator is the same
    assert counts == [2, 3, atoms.calc.calls - 1 - 1 + 1]
    assert result.kappa == pytest.approx(whole.kappa, rel=1e-9)
