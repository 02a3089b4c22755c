"""``ase-mlip elastic`` and ``ase-mlip eos``: the numbers of the functions, in text, JSON and pictures.

It also tests `crystal_run`, `eos`, `pictures.elastic`.
"""

import importlib
import json
import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.spacegroup import crystal
from click.testing import CliRunner
from optional_packages import needs_phono3py
from stillinger_weber import BULK_MODULUS, COHESIVE_ENERGY, LATTICE_CONSTANT, export

from ase_mlip import MLIPCalculator
from ase_mlip.cli.simulations.conductivity import conductivity
from ase_mlip.cli.simulations.crystal_run import CrystalRun
from ase_mlip.cli.simulations.elastic import elastic
from ase_mlip.cli.simulations.eos import eos
from ase_mlip.rotations.rotation_file import write_rotations
from ase_mlip.rotations.schemes import find_averaging

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elastic")
    export(folder / "sw.pt")
    write(folder / "si.xyz", bulk("Si", a=LATTICE_CONSTANT * 1.004), format="extxyz")
    write(folder / "pair.xyz", Atoms("Si2", [[4, 4, 4], [6.3, 4, 4]], cell=[9, 8, 8]), format="extxyz")
    return folder


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def run(command, *arguments):
    result = invoke(command, *arguments, "--device", "cpu", "--dtype", "float64")
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("scheme", ["crystal", "file"])
def test_strained_cells_are_averaged_over_the_group_of_the_crystal(files, scheme):
    """The group has to keep the crystal; strains break it, as they should."""
    if scheme == "file":
        write_rotations(find_averaging(bulk("Si", a=LATTICE_CONSTANT, cubic=True)), files / "group.txt")
        scheme = f"file:{files / 'group.txt'}"
    arguments = [files / "sw.pt", files / "si.xyz", "--strains", 2, "--symmetrize", scheme]
    document = json.loads(run(elastic, *arguments, "--json").stdout)
    assert document["stiffness"][0][0] == pytest.approx(151.4, abs=0.3)
    assert document["averaging"] == "crystal m-3m"


def test_a_group_that_does_not_keep_the_crystal_is_refused_or_allowed(files):
    """That of silicon in another orientation."""
    tilted = bulk("Si", a=LATTICE_CONSTANT, cubic=True)
    tilted.rotate(10.0, (1, 2, 3), rotate_cell=True)
    write_rotations(find_averaging(tilted), files / "tilted.txt")
    arguments = [files / "sw.pt", files / "si.xyz", "--strains", 2, "--no-relax", "--json"]
    plain = json.loads(run(elastic, *arguments).stdout)
    arguments += ["--symmetrize", f"file {files / 'tilted.txt'}"]
    result = invoke(elastic, *arguments, "--device", "cpu")
    assert result.exit_code != 0
    assert "48 operations" in result.output + str(result.exception)
    document = json.loads(run(elastic, *arguments, "--no-check-lattice").stdout)
    assert document["averaging"] == "crystal m-3m"
    assert document["stiffness"][0] == pytest.approx(plain["stiffness"][0], abs=1e-3)  # it is invariant


def test_elastic_relaxes_prints_writes_and_draws(files):
    result = run(
        elastic,
        files / "sw.pt",
        files / "si.xyz",
        "--strains",
        2,
        "-o",
        files / "e",
        "--plot",
    )
    document = json.loads((files / "e" / "elastic.json").read_text())
    assert document["relaxation"]["converged"] and document["stable"] and document["relaxed_ions"]
    assert document["stiffness"][0][0] == pytest.approx(151.4, abs=0.3)
    assert f"{document['stiffness'][0][0]:9.2f}" in result.stdout
    assert "mechanically stable" in result.stdout
    assert f"{document['moduli']['young']:9.2f}" in result.stdout
    assert (files / "e" / "elastic.png").read_bytes().startswith(PNG)
    assert max(map(len, result.stdout.splitlines())) <= 110


def test_elastic_as_json_with_clamped_ions_under_stress(files):
    arguments = ("--clamped", "--no-relax", "--strains", 2, "--json")
    document = json.loads(run(elastic, files / "sw.pt", files / "si.xyz", *arguments).stdout)
    assert document["relaxation"] == {}
    assert not document["relaxed_ions"]
    assert document["stiffness"][3][3] > 100.0
    assert document["residual_stress"][0] > 0.5  # GPa; stretched by 0.4%


@pytest.mark.parametrize(
    ("command", "options"),
    [(elastic, ("--strains", 2, "--clamped")), (eos, ("--keep-shape", "--volume-change", 0.2))],
)
def test_a_crystal_that_is_not_relaxed_is_warned_of(command, options, files):
    """On stderr and in the JSON document, with the force, and what to do."""
    atoms = bulk("Si", a=LATTICE_CONSTANT, cubic=True)
    atoms.positions[0, 0] += 0.2
    write(files / "away.xyz", atoms, format="extxyz")
    result = run(command, files / "sw.pt", files / "away.xyz", "--no-relax", *options, "--json")
    document = json.loads(result.stdout)
    (text,) = [text for text in document["warnings"] if "forces up to" in text]
    assert f"warning: {text}" in result.stderr and text.endswith("relax it first")
    atoms.calc = MLIPCalculator(files / "sw.pt", device="cpu", dtype="float64")
    force = max(map(np.linalg.norm, atoms.get_forces()))
    assert f"forces up to {force:.3g} eV/Å" in text
    if command is elastic:
        assert document["residual_force"] == pytest.approx(force)
        result = run(elastic, files / "sw.pt", files / "si.xyz", *options, "--json")
        assert json.loads(result.stdout)["warnings"] == []


def test_eos_prints_writes_and_draws(files):
    arguments = ("--volumes", 7, "-o", files / "v", "--plot")
    result = run(eos, files / "sw.pt", files / "si.xyz", *arguments)
    document = json.loads((files / "v" / "eos.json").read_text())
    assert document["bulk_modulus"] == pytest.approx(BULK_MODULUS, rel=0.01)
    assert document["energy"] / document["n_atoms"] == pytest.approx(COHESIVE_ENERGY, abs=1e-3)
    assert document["volume"] == pytest.approx(LATTICE_CONSTANT**3 / 4, rel=1e-3)
    assert len(document["energies"]) == 7
    assert f"bulk modulus {document['bulk_modulus']:.2f} GPa" in result.stdout
    assert (files / "v" / "eos.png").read_bytes().startswith(PNG)
    assert json.loads(run(eos, files / "sw.pt", files / "si.xyz", "--json").stdout)["n_atoms"] == 2


@pytest.mark.parametrize(
    ("command", "function", "options"),
    [
        (eos, "equation_of_state", ("--volumes", 5)),
        (elastic, "elastic_constants", ("--clamped",)),
        pytest.param(
            conductivity,
            "thermal_conductivity",
            ("--supercell", 1, 1, 1, "--mesh", 2, 2, 2),
            marks=needs_phono3py,
        ),
    ],
)
def test_float64_is_the_default_and_float32_is_said(files, command, function, options):
    """Curvatures and differences of forces lose half of their digits."""
    arguments = (files / "sw.pt", files / "si.xyz", *options, "--device", "cpu")
    result = invoke(command, *arguments, "--json")
    assert json.loads(result.stdout)["settings"]["dtype"] == "float64" and "float64" not in result.stderr
    result = invoke(command, *arguments, "--dtype", "float32")
    assert f"warning: `{function}` takes small differences" in result.stderr


def test_the_space_group_is_kept_unless_it_is_let_go(files, monkeypatch):
    module = importlib.import_module("ase_mlip.relaxation.minimum")
    found = []

    def spy(atoms, **options):
        found.append(options["keep_space_group"])
        return original(atoms, **options)

    original = module.relax
    monkeypatch.setattr(module, "relax", spy)
    for arguments in ((), ("--no-keep-space-group",)):
        run(eos, files / "sw.pt", files / "si.xyz", *arguments)
    assert found == [True, False]


@pytest.mark.parametrize("command", [elastic, eos])
def test_what_cannot_be_done_is_said(command, files):
    result = invoke(command, files / "sw.pt", files / "si.xyz", "--symmetrize", "random 1")
    assert "symmetrize='random 1'" in str(result.exception)
    result = invoke(command, files / "sw.pt", files / "si.xyz", "--plot")
    assert result.exit_code == 2 and "needs a folder for the picture: -o FOLDER" in result.output
    result = invoke(command, files / "sw.pt", files / "si.xyz", "-o", files / "e.json")
    assert result.exit_code == 2 and "expected a folder, got the name of a .json file" in result.output
    result = invoke(command, files / "sw.pt", files / "pair.xyz")
    assert f"`ase-mlip {command.name}` needs a crystal" in str(result.exception)
    result = invoke(elastic, files / "sw.pt", files / "si.xyz", "--strains", 3)
    assert result.exit_code == 2 and "even" in result.output


@pytest.fixture(scope="module")
def rough(tmp_path_factory, files):
    """Silicon's crystal with a potential of a random anisotropy: its symmetric cell has forces."""
    from toy import AnisotropicNetwork, export_toy

    path = tmp_path_factory.mktemp("rough") / "rough.pt"
    export_toy(path, AnisotropicNetwork([14], 4.0), reference_energies={"Si": 0.0})
    return path


def test_what_anisotropy_leaves_is_said_as_the_command_has_it(files, rough):
    """A residual force above --relax-fmax is explained, and the remedies are options of the command."""
    result = run(elastic, rough, files / "si.xyz", "--strains", 2, "--clamped")
    (warning,) = [line for line in result.stderr.splitlines() if "rotating the structure" in line]
    assert (
        "more than --relax-fmax 0.0001 eV/Å" in warning
        and "(--symmetrize octahedral or icosahedral)" in warning
    )
    assert "symmetrize=" not in warning and "--keep-space-group" not in warning
    result = run(elastic, files / "sw.pt", files / "si.xyz", "--strains", 2)
    assert re.search(r"^residual force \S+ eV/Å$", result.stdout, re.M)
    assert "warning" not in result.stderr


def test_a_force_that_the_relaxation_does_not_see_is_explained():
    options = dict.fromkeys(("model", "structure", "relax_first", "symprec", "calculator", "results"))
    run = CrystalRun("elastic", keep_space_group=True, fmax=1e-4, **options)
    assert run.force(2.5e-3) == "2.5e-03 eV/Å"  # not relaxed: it is what it is
    run.relaxation = {"converged": True, "largest_force": 3e-5}
    assert run.force(2.5e-3).startswith("2.5e-03 eV/Å (3.0e-05 within the space group, the rest is")
    assert run.force(9e-5) == "9.0e-05 eV/Å"
    run.relaxation["converged"] = False
    assert run.force(2.5e-3) == "2.5e-03 eV/Å"


@pytest.mark.parametrize(("command", "other"), [(elastic, "--strains"), (eos, "--volume-change")])
def test_results_of_something_else_are_not_replaced(command, other, files, tmp_path):
    few = {elastic: ("--strains", 2), eos: ("--volumes", 5)}[command]
    arguments = (files / "sw.pt", files / "si.xyz", "-o", tmp_path / "out")
    stored = tmp_path / "out" / f"{command.name}.json"
    run(command, *arguments, *few)
    before = json.loads(stored.read_text())
    assert json.loads(run(command, *arguments, *few, "--json").stdout) == before
    changed = {"--strains": 4, "--volume-change": 0.05}[other]
    kept = () if other in few else few
    result = invoke(command, *arguments, *kept, other, changed)
    name = other.removeprefix("--").replace("-", "_")
    assert re.search(
        rf"those of other settings: `{name}=\S+`, now `{name}={changed}`; ", str(result.exception)
    )
    assert "replace them with `overwrite=True`" in str(result.exception)
    assert json.loads(stored.read_text()) == before
    run(command, *arguments, *kept, other, changed, "--overwrite")
    assert json.loads(stored.read_text())["settings"][other.removeprefix("--").replace("-", "_")] == changed
    stored.write_text("of somebody else")
    result = invoke(command, *arguments, *few)
    assert "got something else; choose another folder" in str(result.exception)
    assert stored.read_text() == "of somebody else"


def test_a_derivative_no_solid_has_is_said(files, monkeypatch):
    result = run(eos, files / "sw.pt", files / "si.xyz", "--volumes", 5)
    assert "warning" not in result.stderr
    monkeypatch.setattr("ase_mlip.mechanics.eos.PLAUSIBLE", (6.0, 8.0))
    result = run(eos, files / "sw.pt", files / "si.xyz", "--volumes", 5)
    assert "derivative of about 6 to 8, here" in result.stderr and "float64" not in result.stderr


def test_a_range_too_wide_is_said_and_the_shape_named(files, sw_path):
    """Of a tetragonal crystal, whose shape is kept or relaxed."""
    result = run(eos, files / "sw.pt", files / "si.xyz", "--volume-change", 0.85)
    assert "warning: the energies deviate from Birch's curve by" in result.stderr
    assert "shape of the cell at each volume: fixed by symmetry" in result.stdout
    tin = crystal("Si", [(0, 0, 0)], spacegroup=141, cellpar=[4.9, 4.9, 2.7, 90, 90, 90], primitive_cell=True)
    write(files / "tin.xyz", tin, format="extxyz")
    kept = run(eos, sw_path, files / "tin.xyz", "--volumes", 5, "--keep-shape", "--volume-change", 0.02)
    assert "kept, so that the bulk modulus is that of a uniform strain (Voigt's)" in kept.stdout
    relaxed = run(eos, sw_path, files / "tin.xyz", "--volumes", 5, "--volume-change", 0.02, "--json")
    document = json.loads(relaxed.stdout)
    assert document["shape"] == "relaxed" and document["doubts"] == []
