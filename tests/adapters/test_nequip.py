"""NequIP and Allegro: random weights of their own builders, against their own calculator.

It also tests `converters.nequip.allegro_read`, `converters.nequip.layer`, `converters.nequip.nequip`,
`converters.nequip.nequip_read`, `converters.nequip.parts`, `networks.equivariant.allegro`,
`networks.equivariant.edges`, `networks.equivariant.interaction`, `networks.equivariant.linear`,
`networks.equivariant.neighbourhoods`, `networks.equivariant.nequip`, `networks.gradients`,
`networks.needed`, `networks.species`.
"""

import hashlib
import importlib.metadata
import importlib.util
import lzma
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

pytest.importorskip("nequip", reason="nequip is not installed")
pytest.importorskip("allegro", reason="nequip-allegro is not installed")

from toy import silica

from ase_mlip import MLIPCalculator
from ase_mlip.checks.check import check, passed
from ase_mlip.converters import AdapterError, adapt, common, export_adapted
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.info import read_info
from tests.adapters.nequip_models import BAD, GOOD

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Checkpoints of all models by name, and packages of two."""
    folder = tmp_path_factory.mktemp("nequip")
    command = [sys.executable, str(HERE / "nequip_models.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def exported(folder):
    """Model files by name, exported when first asked for."""

    def export(name: str) -> Path:
        path = folder / f"{name}.pt"
        if not path.exists():
            export_adapted(adapt("nequip", folder / f"{name}.ckpt", allow_pickle=True), path)
        return path

    return export


# ---- parity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_parity(folder, name):
    """To rounding: far below what the adapters promise; and in float32 to that precision's."""
    adapted = adapt("nequip", folder / f"{name}.ckpt", allow_pickle=True)
    single = export_adapted(adapted, folder / f"{name}.pt")
    for found in single:
        assert found.structures == 10
        scale = 1.0 if found.dtype == "float64" else 1e9
        assert found.energy < 1e-13 * scale
        assert found.forces < 1e-12 * scale
        assert found.stress < 1e-13 * scale


@pytest.mark.parametrize("name", ["float64", "allegro-float64"])
def test_the_familys_calculator_gives_the_same(folder, exported, name):
    """Without our way to the reference: nequip's calculator as its users make it, in a process of its own."""
    atoms = silica()
    atoms.write(folder / f"{name}.xyz")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, ase.io\n"
        "from nequip.integrations.ase import NequIPCalculator\n"
        "atoms = ase.io.read(sys.argv[2])\n"
        "load = NequIPCalculator._from_saved_model\n"
        "atoms.calc = load(sys.argv[1], chemical_species_to_atom_type_map=True)\n"
        "np.savez(sys.argv[3], e=atoms.get_potential_energy(), f=atoms.get_forces(), s=atoms.get_stress())\n"
    )
    files = [str(folder / f"{name}{ending}") for ending in (".ckpt", ".xyz", ".npz")]
    subprocess.run([sys.executable, "-c", code, *files], check=True, capture_output=True)
    expected = np.load(files[2])
    from ase.io import read

    atoms = read(files[1])  # as it was rounded in the file
    atoms.calc = MLIPCalculator(exported(name), dtype="float64")
    assert np.abs(expected["f"]).max() > 1e-3
    assert atoms.get_potential_energy() == pytest.approx(float(expected["e"]), rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), expected["f"], atol=1e-11)
    np.testing.assert_allclose(atoms.get_stress(), expected["s"], atol=1e-12)


@pytest.mark.parametrize("name", ["nequip", "allegro-splines"])
def test_a_package_gives_what_its_checkpoint_gives(folder, exported, name):
    path = folder / f"{name}-package.pt"
    export_adapted(adapt("nequip", folder / f"{name}.nequip.zip", allow_pickle=True), path)
    atoms = silica()
    energies = []
    for file in (path, exported(name)):
        atoms.calc = MLIPCalculator(file, dtype="float64")
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], rel=1e-13)
    assert read_info(path).training["written_by"]["nequip"] == importlib.metadata.version("nequip")


@pytest.mark.parametrize(
    ("name", "written_by"),
    [
        ("nequip-0.10", {"nequip": "0.10.0"}),
        ("nequip-0.15", {"nequip": "0.15.0"}),
        ("allegro-0.7", {"nequip": "0.14.0", "allegro": "0.7.1"}),
    ],
)
def test_a_package_of_an_older_version(tmp_path, name, written_by):
    """Written by that version, stored with the tests."""
    path = tmp_path / "old.nequip.zip"
    path.write_bytes(lzma.decompress((HERE / "data" / f"{name}.nequip.zip.xz").read_bytes()))
    found = export_adapted(adapt("nequip", path, allow_pickle=True), tmp_path / "old.pt")
    assert found[0].energy < 1e-13 and found[0].forces < 1e-12 and found[0].stress < 1e-13
    info = read_info(tmp_path / "old.pt")
    assert info.training["written_by"].items() >= written_by.items()
    assert info.architecture["zbl"] and info.pair_cutoffs["O-O"] == 2.5


# ---- the module ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nequip", "l-2", "zbl", "l-0", "one-sided-cutoffs", "allegro-splines"])
def test_blocks_and_their_gradient_are_those_of_autograd(folder, name):
    module = adapt("nequip", folder / f"{name}.ckpt", allow_pickle=True).module.to(torch.float64)
    graph = build_graph(silica(), 4.0, None)
    arguments = (graph.species, graph.edge_index)
    rest = (graph.reverse_edges, {})
    weights = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    energies = module(*arguments, vectors, *rest, [])["energies"]
    (gradient,) = torch.autograd.grad((weights * energies).sum(), vectors)
    outputs, found = module.energies_and_gradients(*arguments, graph.edge_vectors, *rest, weights, [])
    owned = weights > 0
    torch.testing.assert_close(outputs["energies"][owned], energies[owned].detach(), rtol=0, atol=1e-13)
    torch.testing.assert_close(found, gradient, rtol=0, atol=1e-13)
    assert gradient.abs().max() > 1e-4


def test_radial_weights_may_be_made_again(folder):
    """What large graphs do, to bound the memory."""
    module = adapt("nequip", folder / "three-layers.ckpt", allow_pickle=True).module.to(torch.float64)
    graph = build_graph(silica(), 4.0, None)
    arguments = (graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {})
    weights = torch.ones(8, dtype=torch.float64)
    _, kept = module.energies_and_gradients(*arguments, weights, [])
    for layer in module.layers:
        layer.most_kept = 0
    _, again = module.energies_and_gradients(*arguments, weights, [])
    assert torch.equal(kept, again)


@pytest.mark.parametrize("name", ["three-layers", "zbl", "one-sided-cutoffs", "allegro-splines"])
def test_the_contract(exported, name):
    results = check(exported(name))
    assert passed(results), [result for result in results if result.passed is False]


def test_metadata(folder, exported):
    info = read_info(exported("zbl"))
    assert info.symbols == ["O", "Si"]
    assert info.reference_energies == {"Si": -5.1, "O": -3.3}
    assert info.pair_cutoffs == pytest.approx({"Si-Si": 3.5, "Si-O": 3.5, "O-O": 2.5})
    assert (info.cutoff, info.message_passing_layers, info.interaction_range) == (4.0, 2, 8.0)
    assert info.equivariant
    assert info.dtype == "float32"
    assert info.outputs == ["energies", "features"]
    assert "eV and Å" in info.training["units"]
    assert "not stated in the checkpoint" in info.license
    assert "BSD-3-Clause" in info.license
    assert "arXiv" in info.citation
    assert info.architecture["name"] == "NequIP" and info.architecture["l_max"] == 1
    assert info.architecture["zbl"] and info.architecture["layers"] == 2
    assert info.versions["nequip"] == importlib.metadata.version("nequip") and "e3nn" in info.versions
    digest = hashlib.sha256((folder / "zbl.ckpt").read_bytes()).hexdigest()
    assert info.training["checkpoint_sha256"] == digest


def test_cutoffs_that_differ_by_direction_are_declared_by_the_larger(exported):
    """The engine filters by the larger one; the network knows both."""
    info = read_info(exported("one-sided-cutoffs"))
    assert info.pair_cutoffs == pytest.approx({"Si-Si": 4.0, "Si-O": 3.5, "O-O": 2.5})


def test_allegro_is_strictly_local(exported):
    info = read_info(exported("allegro"))
    assert (info.message_passing_layers, info.interaction_range) == (1, 4.0)
    assert info.architecture["name"] == "Allegro" and info.architecture["tensor_features"] == 4
    assert info.versions["nequip-allegro"] == importlib.metadata.version("nequip-allegro")


def test_isolated_atoms_have_the_shifts(exported):
    for symbol, energy in (("Si", -5.1), ("O", -3.3)):
        atoms = Atoms(symbol, calculator=MLIPCalculator(exported("nequip")))
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-12)


def test_the_process_is_left_as_it_was(folder):
    """nequip sets a default dtype, seeds, TorchScript's fusion and variables where it builds a model."""
    import e3nn
    from nequip.utils import global_state

    def state():
        return (
            torch.get_default_dtype(),
            e3nn.get_optimization_defaults(),
            dict(os.environ),
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002  (what lightning would seed)
            random.getstate(),
            global_state.global_state_initialized(),
        )

    before = state()
    adapt("nequip", folder / "nequip.ckpt", allow_pickle=True).reference(silica())
    adapt("nequip", folder / "nequip.nequip.zip", allow_pickle=True)
    assert state() == before
    with pytest.raises(AdapterError):
        adapt("nequip", folder / "lennard-jones.ckpt", allow_pickle=True)
    assert state() == before


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["zbl", "three-layers", "allegro-splines"])
def test_lammps_agrees_with_ase(parallel, exported, tmp_path, name, ranks):
    from harness import Case, check_case, in_lammps_frame

    path = exported(name)
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {path} O Si"
    calculator = MLIPCalculator(path, dtype="float64")
    check_case(parallel, Case(in_lammps_frame(silica()), pair), tmp_path, calculator, ranks=ranks)


# ---- what is refused -----------------------------------------------------------------------------


def refused(message: str, source, **options) -> None:
    with pytest.raises(AdapterError, match=message):
        adapt("nequip", source, **{"allow_pickle": True, **options})


REFUSALS = {
    "no-elements": "type `Core` is no chemical symbol",
    "lennard-jones": "pair potential `LennardJones` is not supported",
    "real-units": "`units: real`",
    "norm-activation": "`NormActivation`, supported is `Gate` only",
    "charge": r"`categorical_graph_field_embed` \(`charge`\) is not supported",
    "softplus": "`edge_readout` has a layer `Softplus`",
    "doubled-harmonics": r"`irreps_edge_sh` has degrees \[0, 1, 1\]",
    "old": "was written by nequip 0.6.2; expected at least 0.15",
    "older": "was written by nequip 0.14.0.*make a package of it with that version",
    "new": "was written by nequip 1.2.0; expected at least 0.15 and below",
}


def test_every_bad_model_is_tried():
    assert REFUSALS.keys() == BAD.keys()


def test_a_bias_is_refused():
    """Its builders make none; a model of one's own may."""
    from nequip.nn.mlp import ScalarMLPFunction

    from ase_mlip.converters.nequip.parts import read_perceptron

    module = ScalarMLPFunction(3, 1, hidden_layers_depth=1, hidden_layers_width=4, bias=True)
    with pytest.raises(AdapterError, match="`readout` has a bias, which is not supported"):
        read_perceptron(module, "readout")


@pytest.mark.parametrize("name", BAD)
def test_unsupported_models_are_refused_by_name(folder, name):
    refused(REFUSALS[name], folder / f"{name}.ckpt")


@pytest.mark.parametrize("ending", ["ckpt", "nequip.zip"])
def test_reading_needs_permission(folder, ending):
    refused("pass `allow_pickle=True`", folder / f"nequip.{ending}", allow_pickle=False)


@pytest.mark.parametrize("ending", ["ckpt", "nequip.zip"])
@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_a_damaged_file(folder, tmp_path, ending, kept):
    data = (folder / f"nequip.{ending}").read_bytes()
    damaged = tmp_path / f"damaged.{ending}"
    damaged.write_bytes(data[: int(kept * len(data))])
    refused("damaged.* cannot be read as checkpoint or package of nequip", damaged)


def test_a_file_that_is_not_there(tmp_path):
    refused("is no file", tmp_path / "nothing.ckpt")


def test_options_without_meaning(folder):
    refused("`modal` means nothing", folder / "nequip.ckpt", modal="PBE")
    refused("`head` must be one of sole_model; got `other`", folder / "nequip.ckpt", head="other")


@pytest.mark.parametrize("version", ["0.14.0", "0.20.0"])
def test_another_version_of_nequip(folder, monkeypatch, version):
    monkeypatch.setattr(common.importlib.metadata, "version", lambda package: version)
    refused(f"`nequip` is {version}; expected at least", folder / "nequip.ckpt")


def test_without_nequip(folder, monkeypatch):
    monkeypatch.setattr(common.importlib.util, "find_spec", lambda name: None)
    refused("pip install 'nequip", folder / "nequip.ckpt")


def test_without_nequip_allegro(folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        common.importlib.util, "find_spec", lambda name: None if name == "allegro" else find(name)
    )
    refused(
        "`allegro` is not installed; install it with `pip install 'nequip-allegro", folder / "allegro.ckpt"
    )
    adapt("nequip", folder / "nequip.ckpt", allow_pickle=True)
    adapt("nequip", folder / "allegro-splines.nequip.zip", allow_pickle=True)  # it brings its code along


@pytest.mark.parametrize("version", ["0.7.1", "0.9.0"])
def test_another_version_of_nequip_allegro(folder, monkeypatch, version):
    find = importlib.metadata.version
    known = {"nequip-allegro": version}
    monkeypatch.setattr(common.importlib.metadata, "version", lambda name: known.get(name) or find(name))
    refused(f"`nequip-allegro` is {version}; expected at least 0.8", folder / "allegro.ckpt")


def test_another_family_is_told_whose_it_is(folder):
    for name in ("nequip.ckpt", "nequip.nequip.zip", "allegro.ckpt"):
        with pytest.raises(
            AdapterError, match="is a checkpoint of nequip, not of mace; use `family=.nequip.`"
        ):
            adapt("mace", folder / name, allow_pickle=True)


def test_a_package_that_nequip_downloaded_before(folder, tmp_path, monkeypatch):
    """Files as nequip's own cache writes them."""
    monkeypatch.setenv("NEQUIP_CACHE_DIR", str(tmp_path))
    from nequip.utils.model_cache import cache_model

    name = "group/model:1.0"
    refused(
        "`nequip.net:group/model:1.0` is not in nequip's cache.*nothing is downloaded", f"nequip.net:{name}"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        address = "https://example.org/model"
        package = folder / "nequip.nequip.zip"
        cache_model(name, address, lambda path: path.write_bytes(package.read_bytes()))
    metadata = adapt("nequip", f"nequip.net:{name}", allow_pickle=True).metadata
    assert metadata["name"] == "group-model-1.0" and metadata["species"] == [8, 14]


def test_a_species_that_the_model_does_not_know(exported):
    atoms = Atoms("Ge", calculator=MLIPCalculator(exported("nequip")))
    with pytest.raises(ValueError, match="Ge"):
        atoms.get_potential_energy()
