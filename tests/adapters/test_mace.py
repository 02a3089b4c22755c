"""MACE: random weights of mace-torch's own modules, against its own calculator.

It also tests `converters.mace.blocks`, `converters.mace.exact`, `converters.mace.layer`,
`converters.mace.mace`, `converters.mace.network`, `converters.mace.weights`.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read

if importlib.util.find_spec("mace") is None:
    pytest.skip("mace-torch is not installed", allow_module_level=True)

from toy import silica

from ase_mlip import MLIPCalculator
from ase_mlip.checks.check import check, passed
from ase_mlip.converters import AdapterError, adapt, common, export_adapted
from ase_mlip.converters.mace.mace import mace_packages
from ase_mlip.converters.structures import parity_structures
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.info import read_info
from tests.adapters.mace_models import GOOD, write

CUTOFF = 4.0


def head_of(name: str) -> str | None:
    return "r2scan" if "heads" in name else None


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Checkpoints by name, written when first asked for."""
    folder = tmp_path_factory.mktemp("mace")

    def find(name: str) -> Path:
        path = folder / f"{name}.model"
        if not path.exists():
            write(path, **GOOD[name])
        return path

    return find


@pytest.fixture(scope="session")
def exported(checkpoint):
    """Model files by name, exported when first asked for."""

    def export(name: str) -> Path:
        path = checkpoint(name).with_suffix(".pt")
        if not path.exists():
            export_adapted(adapt("mace", checkpoint(name), allow_pickle=True, head=head_of(name)), path)
        return path

    return export


# ---- parity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_parity(checkpoint, name):
    """To rounding: far below what the adapters promise; and in float32 to that precision's."""
    path = checkpoint(name)
    found = export_adapted(
        adapt("mace", path, allow_pickle=True, head=head_of(name)), path.with_suffix(".pt")
    )
    for parity in found:
        assert parity.structures >= 10
        scale = 1.0 if parity.dtype == "float64" else 1e9
        assert parity.energy < 1e-13 * scale
        assert parity.forces < 1e-12 * scale
        assert parity.stress < 1e-13 * scale


@pytest.mark.parametrize(
    ("name", "rounding"), [("three-layers-zbl", 1e-11), ("heads", 1e-11), ("single-precision", 1e-7)]
)
def test_the_familys_calculator_gives_the_same(checkpoint, exported, tmp_path, name, rounding):
    """Without our way to the reference: MACECalculator as its users make it, in a process of its own.

    With weights in float32 its coupling coefficients are rounded, ours are not.
    """
    silica().write(tmp_path / "atoms.xyz")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, ase.io\n"
        "import mace\n"  # first: only then e3nn's constants can be read
        "from mace.calculators import MACECalculator\n"
        "atoms = ase.io.read('atoms.xyz')\n"
        "options = {'head': sys.argv[2]} if sys.argv[2] else {}\n"
        "atoms.calc = MACECalculator(sys.argv[1], device='cpu', default_dtype='float64', **options)\n"
        "np.savez('out.npz', e=atoms.get_potential_energy(), f=atoms.get_forces(), s=atoms.get_stress())\n"
    )
    command = [sys.executable, "-c", code, str(checkpoint(name)), head_of(name) or ""]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    expected = np.load(tmp_path / "out.npz")
    atoms = read(tmp_path / "atoms.xyz")  # as it was rounded in the file
    atoms.calc = MLIPCalculator(exported(name), dtype="float64")
    assert np.abs(expected["f"]).max() > 0.01
    assert atoms.get_potential_energy() == pytest.approx(float(expected["e"]), rel=rounding / 10)
    np.testing.assert_allclose(atoms.get_forces(), expected["f"], atol=rounding)
    np.testing.assert_allclose(atoms.get_stress(), expected["s"], atol=rounding / 10)


def test_rounded_coupling_coefficients(checkpoint, exported):
    """What it makes that ours are exact: MACECalculator as it is, in float64, on the ten structures."""
    path = checkpoint("single-precision")
    with mace_packages():
        from mace.calculators import MACECalculator

        model = torch.load(path, weights_only=False)
        theirs = MACECalculator(models=[model], device="cpu", default_dtype="float64")
        structures = parity_structures([8, 14], CUTOFF)
        expected = {}
        for name, atoms in structures.items():
            atoms.calc = theirs
            expected[name] = atoms.get_potential_energy(), atoms.get_forces()
    deviations = []
    for name, atoms in structures.items():
        atoms.calc = MLIPCalculator(exported("single-precision"), dtype="float64")
        energy, forces = expected[name]
        errors = atoms.get_potential_energy() / energy - 1.0, np.abs(atoms.get_forces() - forces).max()
        deviations.append(np.abs(errors))
    energy, forces = np.max(deviations, axis=0)
    assert energy < 1e-10 and 1e-12 < forces < 1e-8  # 5e-12 and 5e-10 when written


def test_features_are_the_invariant_descriptors(checkpoint, exported):
    """Of all layers, as MACE's calculator gives them."""
    atoms = silica()
    with mace_packages():
        from mace.calculators import MACECalculator

        model = torch.load(checkpoint("two-layers"), weights_only=False)
        calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64")
        expected = calculator.get_descriptors(atoms)
    module = adapt("mace", checkpoint("two-layers"), allow_pickle=True).module
    graph = build_graph(atoms, CUTOFF, None)
    arguments = graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}
    found = module(*arguments, ["features"])["features"]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert read_info(exported("two-layers")).outputs == ["energies", "features"]


# ---- the module ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two-layers", "three-layers-zbl", "density", "vectors-at-the-end"])
@pytest.mark.parametrize("edges", [20, 2048])
def test_gradients_of_blocks_are_those_of_autograd(checkpoint, name, edges):
    """With ghosts, whose own energies are left out."""
    module = adapt("mace", checkpoint(name), allow_pickle=True).module
    module.edges_cpu = edges
    graph = build_graph(silica(), CUTOFF, None)
    arguments, rest = (graph.species, graph.edge_index), (graph.reverse_edges, {})
    weights = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    energies = module(*arguments, vectors, *rest, [])["energies"]
    (gradient,) = torch.autograd.grad((weights * energies).sum(), vectors)
    outputs, found = module.energies_and_gradients(*arguments, graph.edge_vectors, *rest, weights, [])
    expected = torch.where(weights > 0, energies.detach(), 0.0)
    torch.testing.assert_close(outputs["energies"], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, gradient, rtol=0, atol=1e-12)
    assert gradient.abs().max() > 0.01


@pytest.mark.parametrize("name", ["three-layers-zbl", "density", "single-precision"])
def test_the_contract(exported, name):
    results = check(exported(name))
    assert passed(results), [result for result in results if result.passed is False]


def test_a_structure_of_many_species(exported):
    """Each species has its own blocks; half of the foundation layout's are there."""
    rng = np.random.default_rng(3)
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.numbers[:] = rng.integers(1, 90, len(atoms))
    atoms.calc = MLIPCalculator(exported("mpa-0"), dtype="float64")
    reference = adapt("mace", exported("mpa-0").with_suffix(".model"), allow_pickle=True).reference(atoms)
    np.testing.assert_allclose(atoms.get_forces(), reference.forces, atol=1e-11)
    assert np.abs(reference.forces).max() > 0.1


def test_metadata(checkpoint, exported):
    info = read_info(exported("three-layers-zbl"))
    assert (info.cutoff, info.message_passing_layers, info.interaction_range) == (4.0, 3, 12.0)
    assert info.symbols == ["O", "Si"]
    assert info.equivariant and info.conservative
    assert info.dtype == "float64"
    with mace_packages():
        model = torch.load(checkpoint("three-layers-zbl"), weights_only=False)
    energies = model.atomic_energies_fn.atomic_energies.flatten().tolist()
    assert info.reference_energies == {"O": energies[0], "Si": energies[1]}
    assert info.architecture["name"] == "MACE" and info.architecture["zbl"]
    assert info.versions["mace-torch"] == common.check_version("mace-torch", "0", "99")
    assert "not recorded" in info.license and "MIT" in info.license
    assert len(info.training["checkpoint_sha256"]) == 64


def test_a_head_has_its_own_reference_energies(checkpoint, exported):
    info = read_info(exported("heads"))
    assert info.training["head"] == "r2scan"
    assert info.training["heads"] == ["pbe", "r2scan"]
    other = adapt("mace", checkpoint("heads"), allow_pickle=True, head="pbe")
    assert other.metadata["reference_energies"]["Si"] != info.reference_energies["Si"]


def test_the_process_is_left_as_it_was(checkpoint):
    """mace-torch sets a variable that makes every torch.load unpickle anything."""
    path = checkpoint("two-layers")

    def state():
        return (
            dict(os.environ),
            torch.get_default_dtype(),
            slice in torch.serialization.get_safe_globals(),
            list(warnings.filters),
            torch.random.get_rng_state().tolist(),
        )

    before = state()
    adapt("mace", path, allow_pickle=True).reference(silica())
    assert state() == before
    with pytest.raises(AdapterError):
        adapt("mace", path, allow_pickle=True, head="other")
    assert state() == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["two-layers", "three-layers-zbl", "heads", "mpa-0"])
def test_lammps_agrees_with_ase(parallel, exported, tmp_path, name, ranks):
    from harness import Case, check_case, in_lammps_frame

    path = exported(name)
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {path} O Si"
    calculator = MLIPCalculator(path, dtype="float64")
    check_case(parallel, Case(in_lammps_frame(silica()), pair), tmp_path, calculator, ranks=ranks)


# ---- names ---------------------------------------------------------------------------------------


def test_a_foundation_model_that_was_downloaded_before(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(AdapterError, match="not there as .*mace_mp"):
        adapt("mace", "medium-mpa-0", allow_pickle=True)
    (tmp_path / "mace").mkdir()
    write(tmp_path / "mace" / "macempa0mediummodel")
    metadata = adapt("mace", "medium-mpa-0", allow_pickle=True).metadata
    assert metadata["species"] == [8, 14] and metadata["name"] == "medium-mpa-0"
    assert metadata["license"].startswith("weights: MIT; embedded code of mace-torch and e3nn: MIT")
    assert metadata["training"]["functional"] == "PBE+U" and "MPtrj" in metadata["training"]["data"]


def test_a_foundation_model_of_molecules(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(AdapterError, match=r"not there as .*import mace_off; mace_off\('small'\)"):
        adapt("mace", "off-small", allow_pickle=True)
    (tmp_path / "mace").mkdir()
    write(tmp_path / "mace" / "MACE-OFF23_small.model")
    assert "ASL" in adapt("mace", "off-small", allow_pickle=True).metadata["license"]
    with pytest.raises(AdapterError, match=r"ani500k_large_CC.model`.*mace_anicc\(\)"):
        adapt("mace", "anicc", allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "functional", "weights"),
    [
        ("small-0b2", "PBE+U", "MIT"),
        ("small-omat-0", "PBE+U", "ASL"),
        ("mace-matpes-r2scan-0", "r2SCAN", "ASL"),
        ("mh-1", "by head", "ASL"),
        ("anicc", "coupled cluster", "MIT"),
    ],
)
def test_what_is_known_of_foundation_models(name, functional, weights):
    from ase_mlip.converters.mace.mace import _foundation_models, _known

    with mace_packages():
        assert name in _foundation_models()
    known = _known(name, {"checkpoint": "x"})
    assert functional in known["training"]["functional"] and weights in known["license"].split(";")[0]


def test_a_species_that_the_model_does_not_know(exported):
    atoms = Atoms("Ge", calculator=MLIPCalculator(exported("two-layers")))
    with pytest.raises(ValueError, match="Ge"):
        atoms.get_potential_energy()
