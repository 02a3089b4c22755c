"""The ASE calculator: its numbers against finite differences, and what it refuses.

It also tests `arguments`, `properties`.
"""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.stress import full_3x3_to_voigt_6_stress
from calculator_cases import rattled_silica
from toy import AnisotropicNetwork, PairNetwork, export_toy

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.graph.neighbors import build_graph


@pytest.fixture(params=["pair", "anisotropic"])
def model(request):
    return request.getfixturevalue(request.param)


# ---- numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "atoms",
    [
        rattled_silica(),
        bulk("Si") * (1, 1, 1),
        molecule("Si2H6")[[0, 1]],
        fcc111("Si", (1, 1, 2), a=5.0, vacuum=4.0),
    ],
    ids=["triclinic", "cell smaller than the cutoff", "molecule", "slab"],
)
def test_forces_are_minus_the_derivatives_of_the_energy(model, atoms):
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    atoms.calc = MLIPCalculator(model)
    expected = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-7)


@pytest.mark.parametrize("pbc", [True, [True, True, False]])
def test_stress_is_the_derivative_of_the_energy_by_symmetric_strain(model, pbc):
    atoms = rattled_silica()
    atoms.pbc = pbc
    atoms.calc = MLIPCalculator(model)
    expected = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), expected, atol=1e-8)


def test_per_atom_properties_add_up(model):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(model)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    assert atoms.calc.get_property("free_energy", atoms) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), atol=1e-14)
    assert atoms.get_stresses().shape == (8, 6)
    np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0.0, atol=1e-12)


def test_an_isolated_atom_has_its_reference_energy(pair):
    atoms = Atoms("Si", calculator=MLIPCalculator(pair))
    assert atoms.get_potential_energy() == -4.25
    np.testing.assert_array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_the_torque_on_the_cell_is_reported_and_vanishes_for_an_invariant_model(pair, anisotropic):
    for model, vanishes in ((pair, True), (anisotropic, False)):
        atoms = rattled_silica()
        atoms.calc = MLIPCalculator(model)
        assert atoms.calc.virial_antisymmetric is None
        atoms.get_stress()
        torque = atoms.calc.virial_antisymmetric
        np.testing.assert_array_equal(torque, -torque.T)
        assert (abs(torque).max() < 1e-12) == vanishes
        atoms.rattle(0.01, seed=2)
        atoms.get_potential_energy()
        assert (atoms.calc.virial_antisymmetric != torque).any()
        atoms.calc.reset()
        assert atoms.calc.virial_antisymmetric is None


def test_float32_is_close_to_float64(pair_model_path):
    results = {}
    for dtype in ("float32", "float64", None):
        atoms = rattled_silica()
        atoms.calc = MLIPCalculator(pair_model_path, device="cpu", dtype=dtype)
        atoms.get_forces()
        results[dtype] = atoms.calc.results
        assert atoms.calc.results["forces"].dtype == np.float64
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(results["float32"][name], results["float64"][name], atol=1e-4)
        np.testing.assert_array_equal(results["float32"][name], results[None][name])  # as stored


def test_direct_forces_have_no_net_force_and_stress_is_the_mean(anisotropic):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(anisotropic, forces="direct")
    outputs = anisotropic(build_graph(atoms, anisotropic.info.cutoff), ["direct_forces", "direct_stresses"])
    raw = outputs["direct_forces"].numpy()
    assert abs(raw.sum(axis=0)).max() > 1e-3
    np.testing.assert_allclose(atoms.get_forces(), raw - raw.mean(axis=0), atol=1e-14)
    stress = full_3x3_to_voigt_6_stress(outputs["direct_stresses"].numpy().mean(axis=0))
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-14)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), stress, atol=1e-14)
    assert atoms.get_potential_energy() == pytest.approx(float(outputs["energy"][0]))


class OnlyDirectForces(torch.nn.Module):
    """Takes one output of a network away."""

    def __init__(self, network):
        super().__init__()
        self.network, self.species, self.cutoff = network, network.species, network.cutoff

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        outputs: list[str],
    ) -> dict[str, torch.Tensor]:
        found = self.network(species, edge_index, edge_vectors, reverse_edges, inputs, ["direct_forces"])
        return {"energies": found["energies"], "direct_forces": found["direct_forces"]}


class VirialsInsteadOfStresses(OnlyDirectForces):
    """Has a stress head whose virial is a sum over atoms, and not symmetric."""

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        outputs: list[str],
    ) -> dict[str, torch.Tensor]:
        heads = ["direct_forces", "direct_stresses"]
        found = self.network(species, edge_index, edge_vectors, reverse_edges, inputs, heads)
        virials = 20.0 * found["direct_stresses"]
        virials[:, 0, 2] += 1.0
        return {
            "energies": found["energies"],
            "direct_forces": found["direct_forces"],
            "direct_virials": virials,
        }


def test_direct_stress_from_virials_is_minus_their_symmetric_sum_over_the_volume(tmp_path):
    path = tmp_path / "virials.pt"
    network = VirialsInsteadOfStresses(AnisotropicNetwork([8, 14], 4.0, direct=True))
    export_toy(path, network, outputs=["energies", "direct_forces", "direct_virials"])
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(path, device="cpu", dtype="float64", forces="direct")
    outputs = atoms.calc.model(build_graph(atoms, 4.0), ["direct_virials"])
    virial = outputs["direct_virials"].sum(0).numpy()
    expected = full_3x3_to_voigt_6_stress(-virial / atoms.get_volume())
    np.testing.assert_allclose(atoms.get_stress(), expected, atol=1e-14)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), expected, atol=1e-14)


def test_direct_mode_names_what_the_model_lacks(pair, tmp_path):
    with pytest.raises(MLIPError, match="`direct_forces`, but .* has only energies"):
        MLIPCalculator(pair, forces="direct")
    path = tmp_path / "forces.pt"
    network = OnlyDirectForces(AnisotropicNetwork([8, 14], 4.0, direct=True))
    export_toy(path, network, outputs=["energies", "direct_forces"])
    calculator = MLIPCalculator(path, device="cpu", forces="direct")
    atoms = rattled_silica()
    atoms.calc = calculator
    assert atoms.get_forces().shape == (8, 3)
    with pytest.raises(PropertyNotImplementedError, match="`direct_stresses` or `direct_virials`"):
        atoms.get_stress()
    with pytest.raises(PropertyNotImplementedError, match="`direct_stresses` or `direct_virials`"):
        calculator.evaluate([atoms], ["energy", "stress"])
    with pytest.raises(MLIPError, match='"conservative" or "direct"'):
        MLIPCalculator(pair, forces="both")


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "atoms, message",
    [
        (molecule("CH4"), "holds H, C, which the model does not know: expected only O, Si"),
        (Atoms(), "at least one atom"),
        (Atoms("Si2", [[0, 0, 0], [0, 0, np.nan]]), "finite"),
        (Atoms("Si2", [[0, 0, 0], [0, 0, np.inf]]), "finite"),
        (Atoms("Si2", [[0, 0, 1], [0, 0, 1]]), "distances"),
        (Atoms("Si", pbc=True), "zero volume"),
    ],
    ids=["species", "empty", "nan", "infinite", "coincident", "no cell"],
)
def test_impossible_structures_are_refused_and_forgotten(pair, atoms, message):
    calculator = MLIPCalculator(pair)
    good = rattled_silica()
    energy = calculator.get_property("energy", good)
    for name in ("energy", "forces"):
        with pytest.raises(StructureError, match=f"(?s){message}"):
            calculator.get_property(name, atoms)
    assert calculator.results == {}
    assert calculator.get_property("energy", good) == energy


@pytest.mark.parametrize("quantity", ["energies", "forces"])
def test_numbers_that_are_not_finite_stop_the_run(pair, monkeypatch, quantity):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    original = atoms.calc._evaluate_graph

    def broken(graph, properties):
        outputs = original(graph, properties)
        outputs[quantity][3] = np.nan
        return outputs

    monkeypatch.setattr(atoms.calc, "_evaluate_graph", broken)
    with pytest.raises(CalculationFailed, match=f"`{quantity}`: expected finite numbers.* on atom 3"):
        atoms.get_forces()
    assert atoms.calc.results == {}


def test_a_pair_cutoff_of_the_file_is_kept(tmp_path):
    export_toy(tmp_path / "short.pt", PairNetwork([8, 14], 4.0), pair_cutoffs={"O-Si": 1.0})
    atoms = Atoms("SiOSi", [[0, 0, 0], [0, 0, 1.6], [0, 0, 3.2]])
    atoms.calc = MLIPCalculator(tmp_path / "short.pt", device="cpu", dtype="float64")
    without = Atoms("Si2", [[0, 0, 0], [0, 0, 3.2]], calculator=MLIPCalculator(tmp_path / "short.pt"))
    assert atoms.get_forces()[1] == pytest.approx(0.0)
    assert atoms.get_potential_energy() == pytest.approx(without.get_potential_energy() - 1.5, abs=1e-5)


def test_slips_in_the_call_are_named(pair_model_path):
    with pytest.raises(MLIPError, match="has no argument `stres`"):
        MLIPCalculator(pair_model_path, device="cpu", stres="direct")
    with pytest.raises(MLIPError, match="`model` must be the path"):
        MLIPCalculator(None)
    with pytest.raises(StructureError, match=r"write `\[atoms\]`"):
        MLIPCalculator(pair_model_path, device="cpu").evaluate(bulk("Si"))
