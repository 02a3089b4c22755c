"""Where an s-NNP's training data are: counted in the file, watched by the calculator, reported by check."""

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from visited_cases import CUTOFF, INNER, crystals, export, hypers, visits_of

from ase_mlip import Ensemble
from ase_mlip.building import _ops
from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.calculators.diagnostics.visited import (
    Coverage,
    unseen_combinations,
    unseen_triples,
    warn_of_unseen,
)
from ase_mlip.checks.probe import Probe
from ase_mlip.checks.snnp import repulsive_core, smooth_cutoff, visited_intervals
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import load_model
from ase_mlip.networks.snnp.splines import SplineBank
from ase_mlip.pictures.filters import plot_filters, read_filters


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def test_counts_are_those_of_another_neighbour_list():
    """ASE's neighbour list and a double loop over the neighbours of each atom."""
    structures, given = crystals("Si4O4"), hypers((8, 14))
    counts = visits_of(structures, given)
    distances, angles = [], []
    for atoms in structures:
        i, j, d, vectors = neighbor_list("ijdD", atoms, CUTOFF)
        mixed = (atoms.numbers[i] == 14) & (atoms.numbers[j] == 8)
        distances += list(d[mixed])
        for centre in np.flatnonzero(atoms.numbers == 14):
            mine = np.flatnonzero((i == centre) & (d < 3.4) & (atoms.numbers[j] == 8))
            for a, b in ((a, b) for k, a in enumerate(mine) for b in mine[:k]):
                angles.append(vectors[a] @ vectors[b] / d[a] / d[b])
    knots = [0.0, *np.linspace(INNER, CUTOFF, 7)]
    assert counts["radial"]["O-Si"] == np.histogram(distances, knots)[0].tolist()
    assert counts["angle"]["Si: O-O"] == [0, *np.histogram(angles, np.linspace(-1, 1, 6))[0]]
    assert counts["angle"].keys() == {f"{c}: {p}" for c in ("O", "Si") for p in ("O-O", "O-Si", "Si-Si")}


def test_crystals_leave_intervals_without_data():
    """Neighbours of silicon at a = 5.4 Å stand at 2.34 and 3.82 Å, at angles of 109.5°: cosine -1/3."""
    given = hypers()
    coverage = Coverage(given, visits_of(crystals(), given))
    distances = [f"Si-Si {where} Å" for where in ("1.80 to 2.20", "2.60 to 3.00", "3.00 to 3.40")]
    cosines = ("-1.0 to -0.6", "-0.2 to 0.2", "0.2 to 0.6", "0.6 to 1.0")
    assert coverage.unvisited() == [*distances, *(f"Si: Si-Si cosine {where}" for where in cosines)]
    assert coverage.reach == pytest.approx(3.4)


def test_pairs_of_elements_never_seen_are_named():
    separate = [*crystals("Si8"), *crystals("O8")]
    given = hypers((8, 14))
    assert unseen_combinations(visits_of(separate, given), given.species) == ["O-Si"]
    with pytest.warns(
        RuntimeWarning, match="never holds these elements as neighbours: O-Si. Nothing is learned"
    ):
        warn_of_unseen([build_graph(atoms, CUTOFF) for atoms in separate], given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unseen([build_graph(atoms, CUTOFF) for atoms in crystals("Si4O4")], given)


@pytest.mark.parametrize("filters", ["pair", "neighbour", "shared"])
def test_elements_never_seen_together_extrapolate_whoever_shares_their_splines(filters):
    given = hypers((8, 14), filters=filters)
    coverage = Coverage(given, visits_of([*crystals("Si8"), *crystals("O8")], given))
    assert not coverage.extrapolating(build_graph(crystals("Si8")[0], CUTOFF)).any()
    mixed = coverage.extrapolating(build_graph(crystals("Si4O4")[0], CUTOFF))
    assert (mixed > 0).all()


def rings() -> list[Atoms]:
    """Molecules with every pair of silicon and oxygen as neighbours, and no oxygen between two others."""
    found = []
    for symbols in ("Si3", "SiOSi", "O2"):
        atoms = Atoms(symbols, positions=[[0, 0, 0], [2.2, 0, 0], [1.0, 2.0, 0]][: len(Atoms(symbols))])
        found.append(atoms)
    return found


@pytest.mark.parametrize("filters", ["pair", "neighbour", "shared"])
def test_elements_never_seen_around_a_centre_extrapolate_whoever_shares_their_splines(filters):
    """Seen are Si: Si-Si, Si: O-Si and O: Si-Si; the counts by elements say so, whatever wrote them."""
    given = hypers((8, 14), filters=filters, angle_intervals=1, radial_intervals=1, angular_intervals=1)
    visits = visits_of(rings(), given)
    assert unseen_combinations(visits, given.species) == []
    expected = ["O: O-O", "O: O-Si", "Si: O-O"]
    assert unseen_triples(visits, given.species) == expected
    coverage = Coverage(given, visits)
    known = build_graph(rings()[1], CUTOFF)
    other = build_graph(Atoms("SiO2", positions=[[0, 0, 0], [2.2, 0, 0], [1.0, 2.0, 0]]), CUTOFF)
    assert not coverage.extrapolating(known).any()
    assert coverage.extrapolating(other).tolist() == [1, 1, 1]  # Si: O-O, and O: O-Si twice
    with pytest.warns(RuntimeWarning, match="these elements around a centre: O: O-O, O: O-Si, Si: O-O. Noth"):
        warn_of_unseen([build_graph(atoms, CUTOFF) for atoms in rings()], given)


def test_many_structures_and_a_committee_count_as_one_structure_does(tmp_path):
    path = export(tmp_path, hypers(), crystals())
    (tmp_path / "b").mkdir()
    other = export(tmp_path / "b", hypers(), [*crystals(), squeezed()])
    known, outside = crystals()[0], squeezed()
    single = MLIPCalculator(path, device="cpu")
    with pytest.warns(RuntimeWarning, match="`toy` has no training data"):
        single.calculate(outside)
    counts = single.diagnostics["extrapolating"]
    assert counts.any()
    calculator = MLIPCalculator(path, device="cpu")
    with pytest.warns(RuntimeWarning, match="`toy` has no training data") as said:
        found = calculator.evaluate([known, outside, outside], ["energy", "diagnostics"])
    assert len(said) == 1
    assert not found[0]["diagnostics"]["extrapolating"].any()
    assert all(np.array_equal(result["diagnostics"]["extrapolating"], counts) for result in found[1:])
    committee = Ensemble.from_files([other, path], device="cpu")
    with pytest.warns(RuntimeWarning, match="`toy` has no training data"):
        committee.calculate(outside)
    assert np.array_equal(committee.diagnostics["extrapolating"], counts)  # the largest of a member
    (many,) = committee.evaluate([outside], ["energy", "diagnostics"])
    assert np.array_equal(many["diagnostics"]["extrapolating"], counts)


def squeezed() -> Atoms:
    atoms = crystals()[0]
    atoms.positions[0] += (atoms.positions[1] - atoms.positions[0]) * 0.35
    return atoms


def test_the_calculator_counts_for_each_atom_and_warns_once(tmp_path):
    calculator = MLIPCalculator(export(tmp_path, hypers(), crystals()), device="cpu")
    known, other = crystals()[0], squeezed()
    known.calc = other.calc = calculator
    known.get_potential_energy()
    assert not calculator.diagnostics["extrapolating"].any()
    with pytest.warns(
        RuntimeWarning, match="`toy` has no training data .the shortest distance is 1.5"
    ) as said:
        other.get_potential_energy()
        other.rattle(1e-3)
        other.get_potential_energy()
    assert len(said) == 1
    counts = calculator.diagnostics["extrapolating"]
    assert counts.shape == (8,) and counts[0] > 0 and counts[1] > 0
    copied = copy.deepcopy(calculator)
    copied.calculate(other)
    assert np.array_equal(copied.diagnostics["extrapolating"], counts)


def test_files_without_the_data_say_nothing(tmp_path):
    calculator = MLIPCalculator(export(tmp_path, hypers(), None), device="cpu")
    calculator.calculate(crystals()[0])
    assert calculator.diagnostics == {}
    assert Coverage.of(load_model("pet-si", device="cpu").info) is None


def test_the_plot_has_the_intervals_without_data(tmp_path):
    filters = read_filters(load_model(export(tmp_path, hypers(), crystals()), device="cpu"))
    assert np.allclose(filters.unvisited["phi"], [(1.8, 2.2), (2.6, 3.0), (3.0, 3.4)])
    assert np.allclose(filters.unvisited["g"], [(-1.0, -0.6), (-0.2, 0.2), (0.2, 0.6), (0.6, 1.0)])
    plot_filters(filters)
    assert read_filters(load_model(export(tmp_path, hypers(), None), device="cpu")).unvisited == {}


def lint(path) -> dict:
    model = load_model(path, device="cpu", dtype="float64")
    probe = Probe(model, crystals()[:1])
    rows = [row for check in (repulsive_core, smooth_cutoff, visited_intervals) for row in check(probe)]
    assert all(row.passed is None for row in rows)
    return {row.name: row for row in rows}


def test_lint_of_a_sound_potential(tmp_path):
    rows = lint(export(tmp_path, hypers(), crystals()))
    # φ goes on below 1.8 Å with the slope (c_2 - c_0)/2h of its first piece, h = 0.4 Å; the force is half of
    # both atoms' φ, that is once this slope, and small filters change little
    assert rows["repulsive core: dimer"].value == pytest.approx(50 / 0.8, rel=0.3)
    assert rows["repulsive core: crystal"].value > 0
    assert [rows[f"smooth cutoff: {name}"].value for name in ("value", "slope", "curvature")] == [0, 0, 0]
    assert rows["visited intervals: without data"].value == 7


def test_lint_of_a_potential_without_a_pair_term(tmp_path):
    """One ρ whose weight is 1 repels by twice its slope below 1.8 Å: both atoms have it."""

    def repel(network):
        for parameter in (*network.networks.parameters(), network.f.coefficients, network.rho.coefficients):
            parameter.zero_()
        network.skip.fill_(1.0)
        network.rho.coefficients[:, :, 0], network.rho.coefficients[:, :, 1] = 50.0, 20.0

    rows = lint(export(tmp_path, hypers(pair=False), crystals(), repel))
    assert rows["repulsive core: dimer"].value == pytest.approx(2 * 50 / 0.8)
    assert "from 0.5 to 1.80 Å" in rows["repulsive core: dimer"].detail
    assert rows["smooth cutoff: curvature"].value == 0
    assert rows["visited intervals: without data"].value == 7


def test_lint_looks_below_the_first_knot_that_data_decide_about(tmp_path):
    """The repulsion of nuclei has knots of its own down to 0.5 Å."""
    rows = lint(export(tmp_path, hypers(core=True), crystals()))
    assert "from 0.5 to 1.80 Å" in rows["repulsive core: dimer"].detail
    assert rows["smooth cutoff: value"].value == 0


def test_lint_finds_a_missing_core_and_missing_data(tmp_path):
    def attract(network):
        network.phi.coefficients[:, :, 0] = -50.0

    rows = lint(export(tmp_path, hypers(), None, attract))
    assert rows["repulsive core: dimer"].value < 0 and "MISSING" in rows["repulsive core: dimer"].detail
    assert np.isnan(rows["visited intervals: without data"].value)


def test_lint_finds_an_end_that_is_not_smooth():
    """An imported φ of two knots, 1 and 0 eV, 2 Å apart with the slopes -0.5 and -0.25 eV/Å at its ends."""
    bank = SplineBank([1.0], [2.0], [1], 1, vanishing=False).double()
    bank.set_from_knots(0, 0, torch.tensor([1.0, 0.0], dtype=torch.float64), (1, -0.5), (1, -0.25))
    nothing = SplineBank([1.0], [2.0], [1], 0, vanishing=True)
    network = SimpleNamespace(phi=bank, rho=nothing, f=nothing, g=nothing, pair_cases=None)
    module = SimpleNamespace(network=SimpleNamespace(network=network))
    probe = Probe(SimpleNamespace(module=module), crystals()[:1])
    rows = {row.name: row for row in smooth_cutoff(probe)}
    size = float(bank.coefficients.detach().abs().max())
    assert rows["smooth cutoff: value"].value == pytest.approx(0.0, abs=1e-12)
    assert rows["smooth cutoff: slope"].value == pytest.approx(0.25 / size, rel=1e-6)
    assert rows["smooth cutoff: curvature"].value == pytest.approx(0.5 / size, rel=1e-6)
    said = {name: rows[f"smooth cutoff: {name}"].detail for name in ("value", "slope", "curvature")}
    assert said["value"] == "zero, as it should be"
    assert said["slope"] == "NOT SMOOTH: forces jump there"
    assert said["curvature"] == "NOT SMOOTH: forces have a kink there"
