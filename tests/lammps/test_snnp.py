"""An s-NNP in LAMMPS gives what the ASE calculator gives, on one rank and on two."""

import pytest
import torch
from harness import Case, check_case
from structures import STRUCTURES

from ase_mlip import export_model
from ase_mlip.architectures.snnp import SNNP, SNNPHypers
from ase_mlip.calculator import MLIPCalculator


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    hypers = SNNPHypers(species=[14, 8], cutoff=4.5, inner=1.2, angular_cutoff=4.0, hidden=[8])
    network = SNNP(hypers).double()
    torch.nn.init.normal_(network.phi.coefficients, std=0.3)
    path = tmp_path_factory.mktemp("snnp") / "snnp.pt"
    claims = {"name": "snnp", "species": [14, 8], "cutoff": 4.5, "equivariant": True}
    export_model(network, path, {**claims, "message_passing_layers": 1, "interaction_range": 4.5})
    return path


def case_of(model, name: str, **options) -> Case:
    atoms = STRUCTURES[name]()
    elements = sorted(set(atoms.symbols))
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {model} {' '.join(elements)}"
    return Case(atoms, pair=pair, elements=elements, **options)


@pytest.mark.parametrize("name", ["silicon_oxygen", "triclinic", "cluster", "one_atom"])
def test_one_rank(lammps, tmp_path, model, name):
    check_case(lammps, case_of(model, name), tmp_path, MLIPCalculator(model, device="cpu", dtype="float64"))


@pytest.mark.parametrize("name", ["silicon_oxygen", "triclinic"])
def test_two_ranks(parallel, tmp_path, model, name):
    calculator = MLIPCalculator(model, device="cpu", dtype="float64")
    check_case(parallel, case_of(model, name), tmp_path, calculator, ranks=2)
