"""The torch side of the LAMMPS pair style, without LAMMPS: its numbers against Python, and odd domains."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from calls import EVERYTHING
from plugin_driver import ROOT, Domain, Driver, Results, compile_driver, part, whole
from scipy.spatial.transform import Rotation
from toy import PairNetwork, export_toy, silica
from withdrawn import file_of

from ase_mlip.building import _build, _ops
from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.converters.export_again import export_again
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.lammps import _build_lammps, _lammps
from ase_mlip.model_file.info import read_info
from ase_mlip.model_file.model import Model, load_model

TORCH = Path(torch.__file__).parent
SKIN = 0.8  # Å
ROTATION = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()


def rattled(name: str, seed: int = 0) -> Atoms:
    """A strained, rattled structure of the model; the one of silicon is smaller than the cutoff."""
    if name == "pet-si":
        atoms = bulk("Si", cubic=True)
    elif name == "pet-water":
        atoms = molecule("H2O", cell=[3.2, 3.5, 3.0], pbc=True).repeat((2, 2, 1))
    else:
        atoms = bulk("SiO", "zincblende", a=4.3, cubic=True)
    atoms.rattle(0.05, seed=seed)
    strain = np.random.default_rng(seed).normal(scale=0.03, size=(3, 3))
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def moved(atoms: Atoms) -> Atoms:
    """The atoms some steps later: candidates made before are still complete."""
    later = atoms.copy()
    later.positions += np.random.default_rng(7).uniform(-0.2, 0.2, size=(len(atoms), 3))
    return later


def in_python(model: Model, atoms: Atoms, rotation=None) -> dict[str, np.ndarray]:
    """All that the model has."""
    graph = build_graph(atoms, model.info.cutoff, model.info.pair_cutoffs)
    if rotation is not None:
        graph.edge_vectors = graph.edge_vectors @ torch.from_numpy(rotation.T.copy())
    wanted = (*EVERYTHING, *model.info.outputs)
    outputs = {name: value.numpy() for name, value in model(graph, wanted).items()}
    return {**outputs, "edges": graph.edge_index.numpy(), "vectors": graph.edge_vectors.numpy()}


def same(got, expected, tolerance: float = 1e-10) -> bool:
    scale = max(1.0, float(np.abs(expected).max()))
    return got.shape == np.shape(expected) and float(np.abs(got - expected).max()) <= tolerance * scale


def run(driver: Driver, path, atoms: Atoms, create=None, **request) -> Results:
    """Load, make candidates for ``atoms``, move these in place, and evaluate."""
    driver.create(path, **(create or {}))
    domain = whole(atoms, read_info(path).cutoff + SKIN)
    driver.set_topology(domain)
    atoms.positions = moved(atoms).positions
    return driver.evaluate(domain.positions(atoms), **request)


# ---- numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pet-si", "pet-water"])
def test_energies_forces_and_virials_are_those_of_the_calculator(driver, name):
    atoms = rattled(name)
    results = run(driver, file_of(name), atoms, virials=True)
    atoms.calc = MLIPCalculator(file_of(name), device="cpu", dtype="float64")
    assert results.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert same(results.energies, atoms.get_potential_energies())
    assert same(results.forces, atoms.get_forces())
    symmetric = 0.5 * (results.virial + results.virial.T)
    assert same(-symmetric / atoms.get_volume(), atoms.get_stress(voigt=False), 1e-12)
    exact = in_python(atoms.calc.model, atoms)
    assert results.n_edges == exact["edges"].shape[1]
    assert same(results.virial, exact["virial"][0]) and same(results.virials, exact["virials"])
    assert results.seconds_model > 0


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("schema", [1, 2])
def test_a_file_of_either_schema_with_the_rotations_it_was_exported_with(driver, tmp_path, schema, direct):
    path = Path(__file__).parents[1] / "files" / "schema_1_unconstrained.pt"
    if schema == 2:
        export_again(path, tmp_path / "new.pt")
        path = tmp_path / "new.pt"
    atoms = silica()
    results = run(driver, path, atoms, direct=direct, virials=True)
    model = load_model(path, device="cpu", dtype="float64")
    assert model.info.schema_version == schema and len(model.exported.rotations) == 24
    wanted = ("direct_forces", "direct_stresses") if direct else ("forces", "virial", "virials")
    exact = {name: value.numpy() for name, value in model(build_graph(atoms, 4.0), wanted).items()}
    assert results.energy == pytest.approx(float(exact["energy"][0]), rel=1e-12)
    assert same(results.forces, exact[wanted[0]])
    assert same(results.virials, exact["direct_stresses" if direct else "virials"])
    assert direct or same(results.virial, exact["virial"][0])


@pytest.mark.parametrize("name", ["pet-si", "pet-water"])
def test_float32_is_the_calculators_float32(driver, name):
    atoms = rattled(name)
    results = run(driver, file_of(name), atoms, create={"dtype": ""})
    atoms.calc = MLIPCalculator(file_of(name), device="cpu")
    assert results.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    assert same(results.forces, atoms.get_forces(), 1e-5)
    assert results.virials is None and results.centroid_virials is None


@pytest.mark.parametrize("name", ["pet-si", "pet-water"])
def test_two_domains_with_halos_make_the_whole(driver, name):
    """Halos end somewhere: ghosts there have truncated surroundings, and candidates beyond the range."""
    atoms = rattled(name)
    model = load_model(file_of(name), device="cpu", dtype="float64")
    later = moved(atoms)
    exact = in_python(model, later)
    info = model.info
    driver.create(file_of(name))
    energy, virial, forces = 0.0, np.zeros((3, 3)), np.zeros((len(atoms), 3))
    energies = np.zeros(len(atoms))
    for owned in np.split(np.arange(len(atoms)), [len(atoms) // 2]):
        domain = part(atoms, owned, info.cutoff + SKIN, info.interaction_range + SKIN, hops=2)
        driver.set_topology(domain)
        results = driver.evaluate(domain.positions(later))
        assert results.n_edges < len(domain.lists[1])
        energy += results.energy
        virial += results.virial
        energies[owned] = results.energies[: len(owned)]
        np.add.at(forces, domain.atom_of_node, results.forces)
    assert energy == pytest.approx(float(exact["energy"][0]), rel=1e-12)
    assert same(energies, exact["energies"])
    assert same(forces, exact["forces"]) and same(virial, exact["virial"][0])


def test_only_edges_that_can_matter_are_evaluated(driver):
    """Of a long chain with one owned end: two layers see four bonds of 2.35 Å, if the cutoff is two bonds."""
    atoms = Atoms("Si30", positions=[[0, 0, 2.4 * k] for k in range(30)])
    driver.create(file_of("pet-si"))
    domain = part(atoms, np.array([0]), 5.0 + SKIN, 40.0, hops=9)
    driver.set_topology(domain)
    results = driver.evaluate(domain.positions(atoms))
    order = np.argsort(domain.places[:, 0])
    assert np.flatnonzero(np.abs(results.forces[order]).max(axis=1) > 0).max() == 4
    assert results.n_edges == 2 + 3 + 4  # around the atoms 0, 1 and 2


@pytest.mark.parametrize("name", ["pet-si", "pet-water"])
@pytest.mark.parametrize("direct", [False, True])
def test_with_a_rotation_the_model_sees_the_rotated_structure(driver, name, direct):
    atoms = rattled(name)
    results = run(
        driver, file_of(name), atoms, direct=direct, virials=True, centroid=not direct, rotation=ROTATION
    )
    model = load_model(file_of(name), device="cpu", dtype="float64")
    exact = in_python(model, atoms, ROTATION)
    assert results.energy == pytest.approx(float(exact["energy"][0]), rel=1e-12)
    assert same(results.forces, exact["direct_forces" if direct else "forces"] @ ROTATION)
    if direct:
        rotated = exact.get("direct_virials")
        assert (results.virials is None) == (rotated is None)
        assert rotated is None or same(results.virials, ROTATION.T @ rotated @ ROTATION)
        return
    assert same(results.virial, ROTATION.T @ exact["virial"][0] @ ROTATION)
    assert same(results.virials, ROTATION.T @ exact["virials"] @ ROTATION)
    # an unconstrained network tells one frame from another
    assert not same(results.forces, in_python(model, atoms)["forces"])


@pytest.mark.parametrize("head", ["direct_virials", "direct_stresses"])
def test_direct_heads_give_forces_and_virials_or_stresses(driver, head, anisotropic_model_path):
    path = file_of("pet-si") if head == "direct_virials" else anisotropic_model_path
    atoms = rattled("pet-si" if head == "direct_virials" else "toy")
    results = run(driver, path, atoms, direct=True)
    exact = in_python(load_model(path, device="cpu", dtype="float64"), atoms)
    assert same(results.forces, exact["direct_forces"]) and same(results.virials, exact[head])
    assert not results.virial.any()


def test_centroid_virials_are_sums_over_edges_to_the_neighbour(driver):
    atoms = rattled("pet-si")
    results = run(driver, file_of("pet-si"), atoms, centroid=True)
    exact = in_python(load_model("pet-si", device="cpu", dtype="float64"), atoms)
    by_hand = np.zeros((len(atoms), 3, 3))
    for neighbour, r, g in zip(exact["edges"][1], exact["vectors"], exact["gradients"], strict=True):
        by_hand[neighbour] -= np.outer(r, g)
    assert same(results.centroid_virials, by_hand)
    assert same(results.centroid_virials.sum(axis=0), results.virial)


def test_pairs_of_elements_have_their_own_cutoffs(driver, tmp_path):
    path = tmp_path / "pairs.pt"
    export_toy(path, PairNetwork([8, 14], 4.0), pair_cutoffs={"O-Si": 2.5, "O-O": 3.2})
    atoms = rattled("toy")
    results = run(driver, path, atoms)
    exact = in_python(load_model(path, device="cpu", dtype="float64"), atoms)
    assert results.n_edges == exact["edges"].shape[1] < build_graph(atoms, 4.0).edge_index.shape[1]
    assert same(results.forces, exact["forces"])


def test_threads_are_set_and_change_nothing(driver):
    one = run(driver, file_of("pet-si"), rattled("pet-si"))
    two = run(driver, file_of("pet-si"), rattled("pet-si"), create={"threads": 2})
    assert driver.create(file_of("pet-si"), threads=2)[3] == "2"
    assert same(two.forces, one.forces, 1e-12)


def test_a_loaded_model_describes_itself(driver, anisotropic_model_path):
    name, dtype, device, threads, cutoff, reach, layers, heads, pairs, species = driver.create(
        anisotropic_model_path, device="auto" if not torch.cuda.is_available() else "cpu", dtype=""
    )
    assert (name, dtype, device, threads) == ("toy-AnisotropicNetwork", "float32", "cpu", "1")
    assert (float(cutoff), float(reach), layers, heads, pairs) == (4.0, 4.0, "1", "101", "0")
    assert species.split() == ["8", "14"]


# ---- unusual domains ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_nodes", [0, 3])
def test_a_domain_without_own_atoms_gives_zeros(driver, n_nodes):
    driver.create(file_of("pet-si"))
    none = np.zeros(0, dtype=np.int64)
    places = np.zeros((n_nodes, 4), dtype=np.int64)
    driver.set_topology(Domain(0, places, np.arange(n_nodes), [np.full(n_nodes, 14), *[none] * 5]))
    results = driver.evaluate(np.zeros((n_nodes, 3)), virials=True, centroid=True)
    assert results.energy == 0 and not results.virial.any() and results.n_edges == 0
    for values in (results.energies, results.forces, results.virials, results.centroid_virials):
        assert len(values) == n_nodes and not values.any()
    assert driver.evaluate(np.zeros((n_nodes, 3)), direct=True).virials is not None
    driver.create(file_of("pet-water"))  # which has no direct virials: a null pointer on every rank alike
    driver.set_topology(Domain(0, places, np.arange(n_nodes), [np.full(n_nodes, 8), *[none] * 5]))
    assert driver.evaluate(np.zeros((n_nodes, 3)), direct=True).virials is None


def test_atoms_without_edges_have_their_own_energy(driver):
    atoms = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 30]])
    driver.create(file_of("pet-si"))
    domain = whole(atoms, 5.0 + SKIN)
    driver.set_topology(domain)
    results = driver.evaluate(domain.positions(atoms), virials=True, centroid=True)
    atoms.calc = MLIPCalculator("pet-si", device="cpu", dtype="float64")
    assert results.n_edges == 0 and not results.forces.any()
    assert results.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


def test_an_edge_at_the_cutoff_stays_only_with_its_reverse(driver, pair_model_path):
    """Folded images: the two directions of an edge are measured between different places."""
    driver.create(pair_model_path)
    places = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, -1, 0, 0]])
    lists = [np.array([14, 14]), [0, 1], [1, 0], [0, 1], [2, 3], [1, 0]]
    driver.set_topology(Domain(2, places, np.arange(2), [np.array(values) for values in lists]))
    positions = np.zeros((4, 3))
    positions[:, 0] = [0.0, 1.0, 4.0, -3.0]
    assert driver.evaluate(positions).n_edges == 2
    positions[3, 0] -= 1e-14
    assert driver.evaluate(positions).n_edges == 0


@pytest.mark.parametrize(
    "row, values, message",
    [
        (0, [14, 119], r"`species` must lie in \[1, 119\), got 119"),
        (1, [1, 0], "must be sorted by `centre`"),
        (2, [1, 2], r"`neighbour` must lie in \[0, 2\), got 2"),
        (4, [1, 9], r"`neighbour_atom` must lie in \[0, 2\), got 9"),
        (5, [1, 2], r"`reverse` must lie in \[-1, 2\), got 2"),
    ],
)
def test_a_topology_that_contradicts_itself_is_refused(driver, pair_model_path, row, values, message):
    driver.create(pair_model_path)
    lists = [[14, 14], [0, 1], [1, 0], [0, 1], [1, 0], [1, 0]]
    lists[row] = values
    with pytest.raises(RuntimeError, match=message):
        driver.set_topology(Domain(2, np.zeros((2, 4)), np.arange(2), [np.array(v) for v in lists]))


@pytest.mark.parametrize(
    "x, message", [(np.nan, "expected finite numbers, got -?nan"), (1e-5, "at least 0.001 Å, got 0.000010 Å")]
)
def test_positions_that_cannot_be_are_refused(driver, pair_model_path, x, message):
    atoms = Atoms("Si2", positions=[[0, 0, 0], [2, 0, 0]])
    driver.create(pair_model_path)
    driver.set_topology(whole(atoms, 4.5))
    with pytest.raises(RuntimeError, match=message):
        driver.evaluate(np.array([[0, 0, 0], [x, 0, 0]]))


def test_the_cause_of_an_exception_in_the_model_is_one_line(driver, pair_model_path):
    """Dysprosium is no species of the toy, which has a table of all elements; PET has none for it."""
    atoms = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]])
    driver.create(file_of("pet-si"))
    domain = whole(atoms, 5.0)
    domain.lists[0] = np.array([14, 66])
    driver.set_topology(domain)
    with pytest.raises(RuntimeError, match=r"^[^\n]*index out of range[^\n]*$"):
        driver.evaluate(domain.positions(atoms))


def test_an_evaluator_works_on_after_an_error(driver, pair_model_path):
    atoms = Atoms("Si2", positions=[[0, 0, 0], [2, 0, 0]])
    driver.create(pair_model_path)
    driver.set_topology(whole(atoms, 4.5))
    before = driver.evaluate(atoms.positions).energy
    with pytest.raises(RuntimeError, match="finite"):
        driver.evaluate(atoms.positions * np.nan)
    assert driver.evaluate(atoms.positions).energy == before


# ---- parts -------------------------------------------------------------------------------------------------


def test_inside_python_the_operators_of_the_process_are_used(torch_side, tmp_path):
    """LAMMPS as a library, where ase_mlip is loaded already: a second registration would end the process."""
    exact = in_python(load_model("pet-si", device="cpu", dtype="float64"), rattled("pet-si"))
    shared = ctypes.CDLL(compile_driver(tmp_path, "-shared", "-fPIC", name="driver.so"))
    shared.handle.restype = ctypes.c_char_p
    driver = Driver(torch_side, tmp_path, handle=shared.handle)
    threads = torch.get_num_threads()
    driver.create(file_of("pet-si"), threads=threads)
    domain = whole(rattled("pet-si"), 5.0 + SKIN)
    driver.set_topology(domain)
    with torch.inference_mode():  # whatever the program around us does
        results = driver.evaluate(domain.positions(rattled("pet-si")))
    driver.ask("delete")
    assert same(results.forces, exact["forces"])
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(shutil.which("c++") is None, reason="c++ not found")
def test_loops_and_tensor_operations_make_the_same_graph(tmp_path):
    """CPUs use the first, GPUs the second: ghosts, edges without reverse, and pair cutoffs."""
    program = tmp_path / "test_domain_graph"
    includes = [TORCH / "include", TORCH / "include/torch/csrc/api/include"]
    command = ["c++", "-std=c++20", "-O1", *(f"-I{ROOT / name}" for name in ("lammps_plugin", "tests/cpp"))]
    command += [flag for folder in includes for flag in ("-isystem", folder)]
    command += [ROOT / "tests/cpp/test_domain_graph.cpp", "-o", program, f"-L{TORCH / 'lib'}", "-lc10"]
    subprocess.run([*command, "-ltorch_cpu", f"-Wl,-rpath,{TORCH / 'lib'}"], check=True)
    atoms = rattled("toy").repeat(2)
    for domain in (whole(atoms, 4.6), part(atoms, np.arange(30), 4.6, 8.6, hops=2)):
        domain.lists[5][::7] = -1
        domain.write(tmp_path / "topology")
        domain.positions(moved(atoms)).tofile(tmp_path / "positions")
        for pair in ([], ["8", "14", "3.0"]):
            command = [program, tmp_path / "topology", tmp_path / "positions", "4.0", "8.0", *pair]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            assert result.returncode == 0 and result.stdout.count("ok") == 4, result.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("torch_side")  # skips where it cannot be built
def test_sanitizers_find_nothing(tmp_path, pair_model_path):
    """Addresses and undefined behaviour of our own code; libtorch's leaks at the end are not ours."""
    headers = [TORCH / "include", TORCH / "include/torch/csrc/api/include", _lammps.find_lammps().headers]
    operators = Path(_ops.build_info()["folder"]) / _build.LIBRARY
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["c++", "-std=c++20", "-O1", "-g1", "-fPIC", "-shared", *sanitize, "-fvisibility=hidden"]
    command += [flag for folder in headers for flag in ("-isystem", folder)]
    command += [f'-DMLIP_OPS_LIBRARY="{operators}"', *_build_lammps.split_sources(ROOT / "lammps_plugin")[1]]
    command += ["-o", tmp_path / "library.so", f"-L{TORCH / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run([*command, f"-Wl,-rpath,{TORCH / 'lib'}"], check=True)
    program = compile_driver(tmp_path, *sanitize)
    driver = Driver(tmp_path / "library.so", tmp_path, program, ASAN_OPTIONS="detect_leaks=0")
    for _ in range(2):
        results = run(driver, file_of("pet-si"), rattled("pet-si"), virials=True, centroid=True)
        assert np.isfinite(results.forces).all()
        run(driver, file_of("pet-si"), rattled("pet-si"), direct=True, rotation=ROTATION)
    atoms = rattled("pet-water")
    domain = part(atoms, np.arange(5), 4.0 + SKIN, 8.0 + SKIN, hops=2)
    driver.create(file_of("pet-water"))
    driver.set_topology(domain)
    driver.evaluate(domain.positions(atoms))
    test_a_domain_without_own_atoms_gives_zeros(driver, 3)
    test_an_evaluator_works_on_after_an_error(driver, pair_model_path)
    (tmp_path / "truncated.pt").write_bytes(pair_model_path.read_bytes()[:5000])
    for path in (tmp_path, tmp_path / "missing.pt", tmp_path / "truncated.pt"):
        with pytest.raises(RuntimeError, match="not found|truncated"):
            driver.create(path)
    assert driver.close() == 0
