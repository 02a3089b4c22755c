"""The adapters' common part: the proof of parity, what is refused, and whose checkpoint a file is.

It also tests `converters.common`, `converters.recognise`, `converters.structures`.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from click.testing import CliRunner

from ase_mlip import MLIPCalculator, export_model
from ase_mlip.cli.program import main
from ase_mlip.converters import Adapted, AdapterError, Reference, adapt, common, export_adapted
from ase_mlip.converters.recognise import recognise
from ase_mlip.converters.structures import parity_structures
from ase_mlip.model_file.info import read_info
from tests.toy import PairNetwork

SPECIES = [8, 14]
CUTOFF = 4.0


class PairSum(Calculator):
    """The toy's pair potential as plain sums over images in numpy: a program of somebody else."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, strength: np.ndarray, factor: float = 1.0):
        super().__init__()
        self.strength, self.factor = strength, factor

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, j, distances, vectors = neighbor_list("ijdD", atoms, CUTOFF)
        decay = np.exp(2.3 - distances)
        x = 1 - (distances / CUTOFF) ** 2
        pair = 0.5 * self.factor * self.strength[atoms.numbers[i]] * self.strength[atoms.numbers[j]]
        energies = pair * (decay**2 - 2 * decay) * x**3
        slopes = pair * (
            (-2 * decay**2 + 2 * decay) * x**3 - (decay**2 - 2 * decay) * 6 * x**2 * distances / CUTOFF**2
        )
        on_edges = (slopes / distances)[:, None] * vectors
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, on_edges)
        np.add.at(forces, j, -on_edges)
        self.results = {"energy": energies.sum(), "forces": forces}
        if atoms.pbc.all():
            stress = np.einsum("ea,eb->ab", vectors, on_edges) / atoms.get_volume()
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def adapted(factor: float = 1.0, dtype=torch.float64, species=SPECIES) -> Adapted:
    network = PairNetwork(species, CUTOFF).to(dtype)
    calculator = PairSum(network.strength.detach().double().numpy().copy(), factor)

    def reference(atoms: Atoms) -> Reference:
        atoms = atoms.copy()
        atoms.calc = calculator
        stress = atoms.get_stress() if atoms.pbc.all() else None
        return Reference(atoms.get_potential_energy(), atoms.get_forces(), stress)

    metadata = {"name": "pairs", "species": species, "cutoff": CUTOFF, "message_passing_layers": 1}
    metadata |= {"interaction_range": CUTOFF, "versions": {"pair-sum": "1.0"}, "equivariant": True}
    return Adapted(network, metadata, reference, "pair-sum 1.0")


def test_a_proven_network_is_written(tmp_path):
    found = export_adapted(adapted(), tmp_path / "pairs.pt")
    assert [parity.dtype for parity in found] == ["float64", "float32"]
    assert found[0].structures == 10
    assert found[0].forces < 1e-11 < found[1].forces < 1e-4
    info = read_info(tmp_path / "pairs.pt")
    assert info.versions["pair-sum"] == "1.0" and info.dtype == "float64"
    atoms = parity_structures(SPECIES, CUTOFF)["slab"]
    atoms.calc = MLIPCalculator(tmp_path / "pairs.pt", dtype="float64")
    other = adapted().reference(atoms)
    assert atoms.get_potential_energy() == pytest.approx(other.energy, abs=1e-10)


def test_the_self_test_holds_the_other_programs_numbers(tmp_path):
    foreign = adapted()
    export_adapted(foreign, tmp_path / "pairs.pt", "float32")
    info = read_info(tmp_path / "pairs.pt")
    structure = info.self_test["structure"]
    atoms = Atoms(structure["numbers"], positions=structure["positions"], cell=structure["cell"], pbc=True)
    expected = foreign.reference(atoms)
    assert info.dtype == "float32"
    assert info.self_test["reference"]["energy"] == [expected.energy]
    np.testing.assert_array_equal(info.self_test["reference"]["forces"], expected.forces)


def test_another_network_is_not_written(tmp_path):
    """A factor of 1 + 1e-6 is beyond parity."""
    path = tmp_path / "pairs.pt"
    path.write_text("the old file")
    with pytest.raises(ValueError, match="deviates by .* allowed"):
        export_adapted(adapted(factor=1 + 1e-6), path)
    assert path.read_text() == "the old file"
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.pt"]


class WorseInSingle(torch.nn.Module):
    """Right in float64; in float32 three parts in ten thousand off, as if from half precision."""

    def __init__(self):
        super().__init__()
        self.network = PairNetwork(SPECIES, CUTOFF)

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        outputs: list[str],
    ) -> dict[str, torch.Tensor]:
        if edge_vectors.dtype == torch.float32:
            edge_vectors = 1.0003 * edge_vectors
        return self.network(species, edge_index, edge_vectors, reverse_edges, inputs, outputs)


def test_a_network_that_is_another_in_float32_is_not_written(tmp_path):
    broken = adapted()
    broken.module = WorseInSingle().to(torch.float64)
    with pytest.raises(AdapterError, match="in float32 the .* deviates by .* allowed"):
        export_adapted(broken, tmp_path / "pairs.pt")
    assert not list(tmp_path.iterdir())


def test_parity_structures_are_ten_and_use_all_kinds():
    structures = parity_structures(SPECIES, CUTOFF)
    assert len(structures) == 10
    assert len(structures["1-atom cell"]) == 1 and len(structures["isolated atom"]) == 1
    assert len(structures["200 atoms"]) == 200
    assert {tuple(atoms.pbc) for atoms in structures.values()} >= {
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
    }


MANY = list(range(1, 90))


@pytest.mark.parametrize("species", [[14], [8, 14], list(range(1, 13)), MANY], ids=len)
def test_every_species_is_in_a_parity_structure_beside_another(species):
    """Within the cutoff of another one, or a weight of that species would not be compared."""
    seen, pairs = set(), set()
    for atoms in parity_structures(species, CUTOFF).values():
        i, j = neighbor_list("ij", atoms, CUTOFF)
        pairs |= {(int(a), int(b)) for a, b in zip(atoms.numbers[i], atoms.numbers[j], strict=True)}
        seen |= {a for a, b in pairs if a != b}
        assert set(atoms.numbers.tolist()) <= set(species)
    assert {a for a, _ in pairs} == set(species)
    assert seen == set(species) or len(species) == 1
    assert len(parity_structures([8, 14], CUTOFF)) == 10 and len(parity_structures(MANY, CUTOFF)) < 25


@pytest.mark.parametrize("number", [3, 20, 57, 88])  # none of them in the self-test
def test_a_wrong_weight_of_any_one_species_is_found(tmp_path, number):
    foreign = adapted(species=MANY)
    with torch.no_grad():
        foreign.module.strength[number] *= 1 + 1e-5
    with pytest.raises(AdapterError, match="deviates by .* from that of pair-sum"):
        export_adapted(foreign, tmp_path / "pairs.pt")
    assert not list(tmp_path.iterdir())


class Pickled:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


# The keys of sevenn's checkpoints.
SEVENNET = {
    "model_state_dict": {},
    "config": {"num_convolution_layer": 5, "self_connection_type": "linear", "_type_map": {14: 0}},
}


@pytest.mark.parametrize(
    ("family", "contents"),
    [
        ("sevennet", SEVENNET),
        ("pet", {"architecture_name": "pet", "model_ckpt_version": 9}),
        ("pet", {"architecture_name": "llpr", "wrapped_model_checkpoint": {"architecture_name": "pet"}}),
        ("metatrain, architecture `soap_bpnn`", {"architecture_name": "soap_bpnn", "metadata": "pet"}),
        ("metatrain, architecture `gap`", {"first": "gap", "architecture_name": "gap"}),
        (None, {"weights": [1.0]}),
        (None, {"model_state_dict": {}}),
        (None, {"model_state_dict": {}, "config": {"num_convolution_layer": 3}}),
    ],
)
def test_the_family_is_told_without_unpickling(tmp_path, family, contents):
    path = tmp_path / "checkpoint"
    torch.save({**contents, "trap": Pickled()}, path)
    assert recognise(path) == family
    path.write_bytes(pickle.dumps({**contents, "trap": Pickled()}))
    assert recognise(path) == family


def test_a_checkpoint_of_another_family_is_named(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(SEVENNET, path)
    with pytest.raises(AdapterError, match="of sevennet, not of mace; use `family=.sevennet.`"):
        adapt("mace", path)


def test_another_architecture_of_metatrain_is_named(tmp_path):
    path = tmp_path / "checkpoint.ckpt"
    torch.save({"architecture_name": "soap_bpnn"}, path)
    with pytest.raises(AdapterError, match="of metatrain, architecture `soap_bpnn`, not of pet; supported"):
        adapt("pet", path)


def test_a_model_file_needs_no_adapter(tmp_path):
    path = tmp_path / "pairs.pt"
    export_model(adapted().module, path, adapted().metadata)
    with pytest.raises(AdapterError, match="already; use it as it is"):
        adapt("mace", path)


@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04 cut off", b"\x80\x04\x95 cut off", b"text"])
def test_damaged_files_are_of_no_family(tmp_path, contents):
    path = tmp_path / "checkpoint"
    path.write_bytes(contents)
    assert recognise(path) is None


def test_permission_packages_versions_and_choices():
    with pytest.raises(AdapterError, match="any code .*`allow_pickle=True`"):
        common.require_pickle("x.model", False)
    common.require_pickle("x.model", True)
    with pytest.raises(AdapterError, match="`no_such_package` is not installed.*pip install none"):
        common.require_package("no_such_package", "pip install none")
    version = common.check_version("torch", "2.4", "99")
    for low, high in (("0.1", "1.0"), ("98", "99")):
        with pytest.raises(
            AdapterError, match=f"`torch` is {version.split('+')[0]}.*at least {low} and below"
        ):
            common.check_version("torch", low, high)
    assert common.choose("head", None, ["one"]) == "one"
    assert common.choose("head", "b", ["a", "b"]) == "b"
    for wanted in (None, "c"):
        with pytest.raises(AdapterError, match="`head` must be one of a, b"):
            common.choose("head", wanted, ["a", "b"])
    with pytest.raises(AdapterError, match="`modal` means nothing for mace"):
        common.refuse_keywords("mace", head=None, modal="x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "mace", ".", "-o", "x.pt"], "is a folder"),
        (["--from", "mace", "x", "-o", "none/x.pt"], "the folder `none` does not exist"),
        (["--from", "deepmd", "x", "-o", "x.pt"], "not one of 'mace', 'nequip', 'sevennet', 'pet'"),
    ],
)
def test_the_command_refuses(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["export", *arguments])
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())
    assert not list(Path().iterdir())
