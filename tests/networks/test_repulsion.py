"""The repulsive core of an s-NNP: LAMMPS' own `pair_style zbl` below the first knot, nothing beyond it."""

import subprocess

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from calls import call

from ase_mlip.building import _ops
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.lammps import lammps_run
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.repulsion import fade, zbl
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

INNER = 1.8
PAIRS = [(14, 14), (8, 14), (42, 42)]
LAMMPS = """
units metal
atom_modify map array
region box block 0 50 0 50 0 50
create_box 2 box
create_atoms 1 single 20 20 20
create_atoms 2 single 20 20 21
mass * 1
pair_style zbl 19.9 20.0
pair_coeff 1 1 {first} {first}
pair_coeff 2 2 {second} {second}
thermo_modify norm no
variable r index {r}
label next
variable z equal 20+$r
set atom 2 z $z
run 0
variable e equal pe
print "FOUND $e"
next r
jump SELF next
"""


def make(species=(14, 8), **hypers) -> SNNP:
    torch.manual_seed(0)
    small = {"radial_filters": 2, "angular_filters": 2, "hidden": [4]}
    return SNNP(SNNPHypers(species=list(species), inner=INNER, **{**small, **hypers})).double().eval()


def evaluate(network: SNNP, atoms: Atoms) -> dict[str, np.ndarray]:
    _ops.load()
    graph = build_graph(atoms, network.cutoff)
    results = call(Potential(network.requires_grad_(False), {}), graph)
    return {name: value.numpy() for name, value in results.items()}


def take_weights(network: SNNP, other: SNNP) -> None:
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        mine.data.copy_(theirs)


def wall(r: np.ndarray, first: int, second: int) -> np.ndarray:
    charges = [torch.tensor(float(z), dtype=torch.float64) for z in (first, second)]
    r = torch.tensor(r)
    return (zbl(*charges, r) * fade(r, 0.5 * INNER, INNER)).numpy()


@pytest.mark.parametrize("first, second", PAIRS)
def test_it_is_the_zbl_of_lammps(tmp_path, first, second):
    pytest.importorskip("lammps", reason="the oracle is LAMMPS' pair_style zbl")
    distances = [0.4, 0.8, 1.3, 2.0]
    (tmp_path / "in.zbl").write_text(
        LAMMPS.format(first=first, second=second, r=" ".join(map(str, distances)))
    )
    program, environment = lammps_run.prepare()
    command = [str(program), "-in", "in.zbl", "-log", "none"]
    output = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    found = [float(line.split()[1]) for line in output.splitlines() if line.startswith("FOUND")]
    charges = [torch.tensor(float(z), dtype=torch.float64) for z in (first, second)]
    expected = zbl(*charges, torch.tensor(distances, dtype=torch.float64)).numpy()
    # LAMMPS shifts the energy by what is left of it at the cutoff
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-2)


def test_fade_has_two_continuous_derivatives():
    for end in (0.9, 1.8):
        at = torch.tensor([end - 1e-7, end + 1e-7], dtype=torch.float64, requires_grad=True)
        value = fade(at, 0.9, 1.8)
        (slope,) = torch.autograd.grad(value.sum(), at, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), at)
        expected = 1.0 if end == 0.9 else 0.0
        assert np.abs(value.detach().numpy() - expected).max() < 1e-12
        assert slope.detach().abs().max() < 1e-10 and curvature.abs().max() < 1e-4


@pytest.mark.parametrize("first, second", PAIRS)
def test_below_the_first_knot_atoms_repel_as_their_nuclei_do(first, second):
    """What a network does on top of it is the straight line that it had without."""
    species = sorted({first, second})
    plain, cored = make(species, core=False), make(species)
    take_weights(cored, plain)
    for network in (plain, cored):
        network.set_energy_scale(0.3)
    start = float(cored.phi.grid[0, 0])
    assert 0.5 <= start < 0.8
    for r in np.linspace(start, INNER, 30):
        pair = Atoms([first, second], positions=[[0, 0, 0], [0, 0, r]])
        gained = evaluate(cored, pair)["energy"][0] - evaluate(plain, pair)["energy"][0]
        expected = wall(r, first, second)
        line = 2 * 0.3  # eV: the two continue φ by lines that differ by the curvature at the first knot
        assert abs(gained - expected) < 0.02 * expected + line


def test_nothing_changes_beyond_the_first_knot():
    atoms = bulk("Si", cubic=True)
    atoms.symbols[::3] = "O"
    atoms.rattle(0.1, seed=1)
    plain, cored = make(core=False), make()
    take_weights(cored, plain)
    assert build_graph(atoms, 5.0).edge_vectors.norm(dim=1).min() > INNER
    mine, theirs = evaluate(cored, atoms), evaluate(plain, atoms)
    for name in ("energies", "forces", "virial"):
        np.testing.assert_allclose(mine[name], theirs[name], atol=1e-11)


def test_energies_go_on_smoothly_at_the_first_knot():
    network = make((14,))
    pairs = torch.tensor([INNER - 1e-7, INNER + 1e-7], dtype=torch.float64, requires_grad=True)
    value = network.phi(pairs, torch.zeros(2, dtype=torch.int64))[:, 0]
    (slope,) = torch.autograd.grad(value.sum(), pairs, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), pairs)
    for name, x in (("value", value), ("slope", slope), ("curvature", curvature)):
        x = x.detach().numpy()
        assert abs(x[0] - x[1]) < 1e-4 * max(1.0, np.abs(x).max()), name


def test_the_wall_does_not_depend_on_the_networks_unit():
    pair = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 0.7]])
    found = []
    for scale in (0.1, 1.0, 5.0):
        network = make((14,), radial_filters=0, angular_filters=0, hidden=[])
        network.phi.coefficients.data.zero_()
        network.set_energy_scale(scale)
        found.append(evaluate(network, pair)["energy"][0])
    np.testing.assert_allclose(found, wall(0.7, 14, 14), rtol=0.01)
    assert np.ptp(found) < 1e-9 * found[0]


def test_a_phi_for_all_pairs_has_no_charges():
    with pytest.raises(ValueError, match="`core` must be false where all pairs of elements share one φ"):
        SNNP(SNNPHypers(species=[14, 8], filters="shared"))
    assert SNNP(SNNPHypers(species=[14], filters="shared")).phi.before > 0
    assert SNNP(SNNPHypers(species=[14, 8], filters="shared", pair=False)).phi.before == 0
