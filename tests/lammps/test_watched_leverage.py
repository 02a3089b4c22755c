"""The leverage in LAMMPS is that of the ASE calculator, and steers a run through LAMMPS' own commands."""

import numpy as np
import pytest
import snnp_models
import torch
from failures import fails
from harness import Case
from networks import SMALL, export
from structures import STRUCTURES, diamond, silicon_oxygen
from torch import Tensor

from ase_mlip import MLIPCalculator
from ase_mlip.model_file.info import read_info
from ase_mlip.model_file.leverage_file import write_leverage
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET
from ase_mlip.optimal_design.leverage.attach import attach_leverage

slow = pytest.mark.slow
WATCH = "fix far all pair {every} mlip leverage 1\ncompute most all reduce max f_far"


def training_data(elements=("Si", "O")):
    found = []
    for seed in range(4):
        atoms = silicon_oxygen()
        atoms.symbols[:] = np.resize(elements, len(atoms))
        atoms.rattle(0.05, seed=seed)
        found.append(atoms)
    return found


def pet(folder, name="pet", layers=2, seed=0):
    torch.manual_seed(seed)
    settings = PETHypers(species=[8, 14], cutoff=3.5, num_gnn_layers=layers, **SMALL)
    network = PET(settings).double().eval()
    network.species, network.cutoff = [8, 14], 3.5
    return export(folder / f"{name}.pt", network, settings.message_passing_layers, settings.interaction_range)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = pet(tmp_path_factory.mktemp("leverage"))
    attach_leverage(path, training_data(), path)
    return path


def case_of(model, atoms, keywords="dtype float64", every=1, **options) -> Case:
    elements = ["O", "Si"]
    pair = f"pair_style mlip device cpu {keywords}\npair_coeff * * {model} O Si"
    fixes = WATCH.format(every=every) + (
        f"\ndump far all custom {every} far.dump id f_far x y z\ndump_modify far sort id format float %.17g"
    )
    return Case(atoms, **{"pair": pair, "elements": elements, "fixes": fixes, **options})


def leverages(folder) -> list[np.ndarray]:
    frames = (folder / "far.dump").read_text().split("ITEM: ATOMS")[1:]
    columns = [
        np.array([line.split() for line in f.split("ITEM:")[0].splitlines()[1:]], dtype=float) for f in frames
    ]
    return [table[:, 1] for table in columns]


def expected(model, atoms, **options) -> np.ndarray:
    calculator = MLIPCalculator(model, leverage=True, **{"device": "cpu", "dtype": "float64", **options})
    calculator.calculate(atoms)
    return calculator.diagnostics["leverage"]


def assert_equal(found, wanted, relative=1e-8):
    assert len(found) == len(wanted) and wanted.max() > 0
    np.testing.assert_allclose(found, wanted, rtol=relative, atol=relative * wanted.max())


# ---- beside ASE ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["silicon_oxygen", "triclinic", pytest.param("cluster", marks=slow)])
def test_it_is_that_of_the_calculator(parallel, tmp_path, model, name, ranks):
    """Also in a box that is smaller than the halo, and on ranks whose atoms have neighbours on the other."""
    atoms = STRUCTURES[name]()
    case = case_of(model, atoms)
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path, ranks=ranks)
    assert_equal(leverages(tmp_path)[0], expected(model, atoms))


WAYS = {
    "averaged": ("symmetrize octahedral", {"symmetrize": "octahedral"}),
    "single precision": ("dtype float32", {"dtype": "float32"}),
    "newton off": ("", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_to_evaluate(parallel, tmp_path, model, way):
    keywords, options = WAYS[way]
    atoms = silicon_oxygen(2)
    case = case_of(model, atoms, keywords if "dtype" in keywords else f"dtype float64 {keywords}")
    case.before = "newton off" if way == "newton off" else ""
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path, ranks=2)
    assert_equal(
        leverages(tmp_path)[0], expected(model, atoms, **options), 1e-3 if "float32" in keywords else 1e-8
    )


def test_a_committee_has_the_largest_of_its_members(lammps, tmp_path, model):
    other = pet(tmp_path, "other", layers=1, seed=1)
    attach_leverage(other, training_data()[:2], other)
    atoms = silicon_oxygen()
    case = case_of(f"{model} {other}", atoms)
    case.write(tmp_path)
    lammps.run(case.script(), tmp_path)
    wanted = np.maximum(expected(model, atoms), expected(other, atoms))
    assert_equal(leverages(tmp_path)[0], wanted)


def test_atoms_of_another_style_have_none(lammps, tmp_path, model):
    atoms = silicon_oxygen()
    case = case_of(model, atoms)
    case.pair = (
        "pair_style hybrid/overlay mlip device cpu dtype float64 lj/cut 3.0\n"
        f"pair_coeff * * mlip {model} NULL Si\npair_coeff 1 * lj/cut 0.001 2.0"
    )
    case.write(tmp_path)
    lammps.run(case.script(), tmp_path)
    found, silicon = leverages(tmp_path)[0], atoms.symbols == "Si"
    assert not found[~silicon].any()
    assert_equal(found[silicon], expected(model, atoms[silicon]))


# ---- a run ---------------------------------------------------------------------------------------


class Touchy(torch.nn.Module):
    """A pair potential that cannot give the features of many atoms."""

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        outputs: list[str],
    ) -> dict[str, Tensor]:
        """Energies [N] in eV and features [N, 1] from edge_vectors [E, 3] in Å."""
        assert species.size(0) < 40 or "features" not in outputs, "features of many atoms"
        r = torch.linalg.vector_norm(edge_vectors, dim=1)
        pairs = torch.exp(2.0 - r) * (1 - (r / 3.5).clamp(max=1.0) ** 2) ** 3
        zeros = torch.zeros(species.size(0), dtype=r.dtype, device=r.device)
        sums = zeros.index_add(0, edge_index[0], pairs)
        return {"energies": sums, "features": sums[:, None]}


def test_it_is_computed_at_the_steps_that_ask_only(lammps, tmp_path):
    network = Touchy()
    network.species, network.cutoff = [8, 14], 3.5
    path = export(tmp_path / "touchy.pt", network, 1, 3.5)
    attach_leverage(path, training_data(), path, rotations=1)
    case = case_of(path, silicon_oxygen(2))
    case.fixes = "reset_timestep 1\nfix far all pair 4 mlip leverage 1\nfix move all nve"
    case.commands = "run 2"
    case.write(tmp_path)
    lammps.run(case.script(), tmp_path)  # up to step 3
    case.commands = "run 3"
    fails(lammps, case, tmp_path, "features of many atoms")


def test_a_run_dumps_what_is_far_and_halts(parallel, tmp_path, model):
    """Of a crystal that melts: `dump_modify skip` writes frames beyond 1, and `fix halt` ends it beyond 3."""
    case = case_of(model, silicon_oxygen(2), every=2)
    case.fixes += (
        '\nvariable most equal c_most\nvariable near equal "c_most < 1.0"\n'
        "dump_modify far skip v_near\n"
        "fix stop all halt 2 v_most > 3.0 error soft message yes\n"
        "velocity all create 12000 3 loop geom\nfix move all nve"
    )
    case.commands = "run 400"
    case.write(tmp_path)
    output = parallel.run(case.script(), tmp_path, ranks=2)
    assert "Fix halt condition for fix-id stop met" in output.text
    found = leverages(tmp_path)
    assert found and all(values.max() >= 1.0 for values in found)
    assert found[-1].max() > 3.0 and all(values.max() <= 3.0 for values in found[:-1])


# ---- without -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["leverage", "extrapolating"])
def test_it_cannot_be_asked_for_before_there_is_a_model(lammps, tmp_path, name):
    script = f"""units metal
region box block 0 5 0 5 0 5
create_box 1 box
mass 1 28.085
pair_style mlip
fix far all pair 1 mlip {name} 1
"""
    fails(lammps, script, tmp_path, r"pair_style mlip needs a pair_coeff command: pair_coeff \* \* model.pt")


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
def test_a_file_without_leverage_says_how_to_get_one(parallel, tmp_path, models, ranks):
    case = case_of(models.path("one"), diamond(1, 0.05))
    fails(
        parallel,
        case,
        tmp_path,
        r"asks for `leverage`, but `.*one.pt` has none; attach .*design --attach",
        ranks,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"`training.leverage.version` must be 1"),
        ({"basis": "soap"}, r"`training.leverage.basis` must be features or snnp"),
        ({"size": 3}, r"needs the member `extra/ase_mlip_leverage.bin` of 72 bytes"),
        ({"scale": 0.0}, r"`training.leverage.scale` must be a positive number"),
        ({"blocks": [[13]]}, r"`training.leverage.blocks` must be lists of the model's species"),
    ],
)
def test_a_leverage_that_cannot_be_right_is_refused(lammps, tmp_path, model, changes, message):
    from model_files import rewrite

    def edit(claims):
        claims["training"]["leverage"].update(changes)

    path = rewrite(model, tmp_path / "bad.pt", edit=edit)
    fails(lammps, case_of(path, diamond(1, 0.05)), tmp_path, message)


# ---- s-NNP ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def snnp(tmp_path_factory):
    path = snnp_models.export(tmp_path_factory.mktemp("leverage"))
    attach_leverage(path, training_data(), path)
    return path


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("keywords", ["dtype float64", "dtype float64 kernel torch", "dtype float32"])
def test_an_snnp_by_either_kernel(parallel, tmp_path, snnp, keywords, ranks):
    atoms = silicon_oxygen(2)
    case = case_of(snnp, atoms, keywords)
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path, ranks=ranks)
    wanted = expected(snnp, atoms, dtype=keywords.split()[1])
    assert_equal(leverages(tmp_path)[0], wanted, 1e-8 if "64" in keywords else 1e-4)


def test_an_snnp_on_two_threads_and_without_a_pair_term(lammps, tmp_path):
    path = snnp_models.export(tmp_path, pair=False, core=False)
    attach_leverage(path, training_data(), path)
    atoms = silicon_oxygen(2)
    case = case_of(path, atoms)
    case.write(tmp_path)
    lammps.run(case.script(), tmp_path, environment={"OMP_NUM_THREADS": "2"})
    assert_equal(leverages(tmp_path)[0], expected(path, atoms))


def test_an_snnp_with_one_block_for_both_elements(lammps, tmp_path, snnp):
    """What the atoms of one element have not is zero, and not what those of the other had there before."""
    info = read_info(snnp)
    record = info.training["leverage"] | {"blocks": [[8, 14]], "rank": [1]}
    matrix = np.tril(np.random.default_rng(0).normal(size=(record["size"], record["size"])))
    path = tmp_path / "one.pt"
    write_leverage(snnp, path, record, matrix[None])
    atoms = silicon_oxygen(2)
    case = case_of(path, atoms)
    case.write(tmp_path)
    lammps.run(case.script(), tmp_path)
    assert_equal(leverages(tmp_path)[0], expected(path, atoms))
