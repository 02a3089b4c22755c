"""An s-NNP in LAMMPS: its native kernel, the general path and the ASE calculator give the same numbers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from failures import fails
from harness import Case, check_case, read_thermo
from snnp_models import export, known_model
from structures import STRUCTURES

from ase_mlip.calculators.calculator import MLIPCalculator

slow = pytest.mark.slow
EXACT = {"float64": 1e-10, "float32": 1e-3}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(tmp_path_factory.mktemp("snnp"))


def case_of(model, name: str, keywords: str = "dtype float64", **options) -> Case:
    atoms = STRUCTURES[name]()
    elements = options.pop("elements", sorted(set(atoms.symbols)))
    pair = f"pair_style mlip device cpu {keywords}\npair_coeff * * {model} {' '.join(elements)}"
    return Case(atoms, **{"pair": pair, "elements": elements, **options})


# ---- beside ASE ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["silicon_oxygen", "triclinic", "cluster", "one_atom"])
def test_one_rank(lammps, tmp_path, model, name):
    check_case(lammps, case_of(model, name), tmp_path, MLIPCalculator(model, device="cpu", dtype="float64"))


@pytest.mark.parametrize(
    ("name", "newton"),
    [
        ("triclinic", "on"),
        ("silicon_oxygen", "off"),
        pytest.param("silicon_oxygen", "on", marks=slow),
        pytest.param("triclinic", "off", marks=slow),
    ],
)
def test_two_ranks(parallel, tmp_path, model, name, newton):
    calculator = MLIPCalculator(model, device="cpu", dtype="float64")
    check_case(parallel, case_of(model, name, before=f"newton {newton}"), tmp_path, calculator, ranks=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": "neighbour", "networks": "shared", "hidden": [8, 4], "skip": False},
        {"hidden": [], "pair": False, "embedding": [-3.0, 3.0, 6], "angular_intervals": 20},
        {"filters": "shared", "core": False, "angular_filters": 0, "radial_intervals": 20},
    ],
    ids=["shared network", "embedding", "radial"],
)
def test_kinds_of_networks(lammps, tmp_path, changes):
    """What the tables may hold or lack."""
    model = export(tmp_path, **changes)
    calculator = MLIPCalculator(model, device="cpu", dtype="float64")
    check_case(lammps, case_of(model, "silicon_oxygen"), tmp_path, calculator)


def test_atoms_move_between_ranks(parallel, tmp_path, model):
    moves = "velocity all create 2000 3\nfix move all nve\ntimestep 0.001"
    case = case_of(model, "silicon_oxygen", fixes=moves, commands="run 20", every=10)
    check_case(parallel, case, tmp_path, MLIPCalculator(model, device="cpu", dtype="float64"), ranks=2)


def test_a_part_of_the_atoms(lammps, tmp_path, model):
    """In a hybrid, types that are NULL are invisible; real units."""
    case = case_of(model, "silicon_oxygen", units="real", elements=["O", "Si"])
    mlip = f"pair_coeff * * mlip {model} NULL Si"
    lj = "pair_coeff 1 * lj/cut 0.0 3.0"
    case.pair = f"pair_style hybrid mlip device cpu dtype float64 lj/cut 6.0\n{mlip}\n{lj}"
    calculator = MLIPCalculator(model, device="cpu", dtype="float64")
    check_case(lammps, case, tmp_path, calculator, only=["Si"])


# ---- beside the general path ---------------------------------------------------------------------


def numbers_of(lammps, case: Case, folder, **options) -> tuple[np.ndarray, np.ndarray]:
    """Energy and pressures; forces, energies and virials of every atom."""
    folder.mkdir()
    columns = " ".join(["c_s[*]", "c_c[*]"])
    case.fixes += (
        "\ncompute s all stress/atom NULL virial\ncompute c all centroid/stress/atom NULL virial"
        f"\ncompute e all pe/atom\ndump all all custom 1 all.dump id type fx fy fz c_e {columns}"
        "\ndump_modify all format float %.17g sort id"
    )
    case.write(folder)
    lammps.run(case.script(), folder, **options)
    lines = (folder / "all.dump").read_text().split("ITEM: ATOMS")[-1].splitlines()[1:]
    last = list(read_thermo((folder / "log.lammps").read_text()).values())[-1]
    return np.array(last), np.array([line.split() for line in lines], dtype=float)


SETTINGS = {
    "one rank": ({}, {}),
    "three threads": ({}, {"environment": {"OMP_NUM_THREADS": "3"}}),
    "two ranks": ({}, {"ranks": 2}),
    "newton off": ({"before": "newton off"}, {"ranks": 2}),
    "newton off, one rank": ({"before": "newton off"}, {}),
    "excluded": ({"fixes": "neigh_modify exclude type 1 2"}, {"ranks": 2}),
    "threads and ranks": ({}, {"ranks": 2, "environment": {"OMP_NUM_THREADS": "2"}}),
}


QUICK = {"three threads", "newton off", "threads and ranks"}


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=slow)])
@pytest.mark.parametrize("setting", [s if s in QUICK else pytest.param(s, marks=slow) for s in SETTINGS])
def test_both_kernels(parallel, tmp_path, model, setting, dtype):
    parts, options = SETTINGS[setting]
    found = {
        kernel: numbers_of(
            parallel,
            case_of(model, "silicon_oxygen", f"dtype {dtype} kernel {kernel}", **parts),
            tmp_path / kernel,
            **options,
        )
        for kernel in ("native", "torch")
    }
    for native, general in zip(found["native"], found["torch"], strict=True):
        scale = np.maximum(1.0, np.abs(general))
        assert np.abs((native - general) / scale).max() < EXACT[dtype]


# ---- which kernel --------------------------------------------------------------------------------


def log_of(lammps, case: Case, folder, **options) -> str:
    case.write(folder)
    lammps.run(case.script(), folder, **options)
    return re.search(r"^pair mlip: .*halo.*$", (folder / "log.lammps").read_text(), re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ("", ", kernel native"),
        ("kernel torch", ", kernel torch"),
        ("symmetrize octahedral", ", kernel torch (for `symmetrize`)"),
        pytest.param("symmetrize random 1", ", kernel torch (for `symmetrize`)", marks=slow),
        pytest.param("symmetrize none", ", kernel native", marks=slow),
    ],
)
def test_the_log_names_the_kernel(lammps, tmp_path, model, keywords, said):
    assert log_of(lammps, case_of(model, "cluster", keywords), tmp_path).endswith(said)


def test_a_committee_takes_the_general_path(lammps, tmp_path, model):
    case = case_of(model, "cluster")
    case.pair = case.pair.replace(f"{model}", f"{model} {model}")
    case.write(tmp_path)
    lammps.run(case.script(), tmp_path)
    assert "kernel native" not in (tmp_path / "log.lammps").read_text()


def test_kernel_native_that_cannot_be(lammps, models, tmp_path, model):
    case = case_of(model, "cluster", "kernel fast")
    fails(lammps, case, tmp_path, r"unexpected `kernel fast`; expected: .*kernel native\|torch")
    fails(lammps, case_of(model, "cluster", "kernel native symmetrize octahedral"), tmp_path, "`symmetrize`")
    case = case_of(model, "cluster", "kernel native")
    case.pair = case.pair.replace(f"{model}", f"{model} {model}")
    fails(lammps, case, tmp_path, "a committee needs `kernel torch`")
    case = Case(STRUCTURES["triclinic"](), pair=models.pair("pet-si", ("Si",), "kernel native"))
    fails(lammps, case, tmp_path, "pet-si.pt`, which is no s-NNP, needs `kernel torch`")


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_at_one_place(parallel, tmp_path, model, ranks):
    case = case_of(model, "silicon_oxygen")
    case.atoms.positions[1] = case.atoms.positions[0] + 1e-5
    fails(parallel, case, tmp_path, "two atoms are at one place", ranks)


# ---- where there are no training data ------------------------------------------------------------


COUNTING = {
    "native": ("", 1),
    "torch": ("kernel torch", 1),
    "averaged": ("symmetrize octahedral", 1),
    "committee": ("", 1),
    "native, two ranks": ("", 2),
    "torch, two ranks": ("kernel torch", 2),
}


@pytest.mark.parametrize("way", [w if "two" not in w else pytest.param(w, marks=slow) for w in COUNTING])
def test_extrapolation_is_counted_for_each_atom(parallel, tmp_path, way):
    """Also pairs and triples of elements that the data do not hold; whatever evaluates the model."""
    model = known_model(tmp_path)
    keywords, ranks = COUNTING[way]
    case = case_of(model, "silicon_oxygen", f"dtype float64 {keywords}")
    if way == "committee":  # a member that knows nothing, and one that knows it all
        (tmp_path / "other").mkdir()
        case.pair = case.pair.replace(f"{model}", f"{model} {export(tmp_path / 'other')}")
    case.fixes = (
        "fix far all pair 1 mlip extrapolating 1\ndump far all custom 1 far.dump id f_far\n"
        "dump_modify far sort id"
    )
    case.commands = "fix move all nve\ntimestep 1e-9\nrun 2"
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path, ranks=ranks)
    lines = (tmp_path / "far.dump").read_text().split("ITEM: ATOMS")[-1].splitlines()[1:]
    found = np.array([line.split() for line in lines], dtype=float)[:, 1]
    calculator = MLIPCalculator(model, device="cpu", dtype="float64", kernel="torch")
    with pytest.warns(RuntimeWarning, match="no training data"):
        calculator.calculate(case.atoms)
    counts = calculator.diagnostics["extrapolating"]
    assert counts.any() and np.array_equal(found, counts)
    text = (tmp_path / "log.lammps").read_text()
    said = re.findall(r"WARNING: pair_style mlip: (\d+) atoms have neighbours or angles where `.*snnp`", text)
    assert said == [str(np.count_nonzero(counts))]


def test_what_does_not_know_its_data_counts_nothing(lammps, tmp_path, model):
    case = case_of(model, "silicon_oxygen", fixes="fix far all pair 1 mlip extrapolating 1")
    message = r"fix pair asks for `extrapolating`, but `.*snnp.pt` does not say which.*expected an s-NNP"
    fails(lammps, case, tmp_path, message)
    case.pair = case.pair.replace("device cpu", "device cpu kernel torch")
    fails(lammps, case, tmp_path, message)


# ---- the file's own numbers ----------------------------------------------------------------------


ANOTHER_CODE = """
import sys
from pathlib import Path

from torch import Tensor

import snnp_models
from ase_mlip.networks.snnp.parts import ElementNetworks

def weights_and_biases(self) -> list[Tensor]:
    found: list[Tensor] = []
    for layer in self.layers:
        found.append(1.1 * layer.weight)
        found.append(layer.bias)
    found.append(self.last.weight)
    found.append(self.last.bias)
    return found

ElementNetworks.weights_and_biases = weights_and_biases
snnp_models.export(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
def test_a_native_kernel_that_gives_other_numbers_is_refused(parallel, tmp_path, ranks):
    """A file whose own code is not the formula, which the native kernel takes for granted."""
    script = tmp_path / "another.py"
    script.write_text(ANOTHER_CODE, encoding="utf-8")
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}  # of the helper modules
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, env=environment)
    case = case_of(tmp_path / "snnp.pt", "cluster")
    message = (
        r"fails its self-test in float64 on `cpu` with the native kernel: `energy`: expected .*kernel torch"
    )
    fails(parallel, case, tmp_path, message, ranks)
    torch_case = case_of(tmp_path / "snnp.pt", "cluster", "dtype float64 kernel torch")
    torch_case.write(tmp_path)
    parallel.run(torch_case.script(), tmp_path, ranks=ranks)
