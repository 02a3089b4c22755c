"""Structures from files: what ASE would change without a word is refused by name, in every command.

It also tests `frames`.
"""

import re
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from click.testing import CliRunner
from optional_packages import HAS_PHONO3PY, needs_phono3py

from ase_mlip import relaxation
from ase_mlip.cli.program import main
from ase_mlip.data.frames import read_structures
from ase_mlip.data.training_data import DataConfig, load_data
from ase_mlip.errors import DataError, StructureError
from ase_mlip.relaxation.relax import relax
from ase_mlip.stability.runs import md_stability

CIF = """data_alloy
_cell_length_a 5.43
_cell_length_b 5.43
_cell_length_c 5.43
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""

STABILIZE = """name = "a"
output = "out"
model = "snnp-si"
[starts]
train = "good.xyz"
validation = "good.xyz"
[data]
train = "alloy.cif"
[simulation]
temperature_K = 600.0
replicas = 4
time = 0.1
[[observables]]
kind = "distances"
reference = "good.xyz"
[learning]
learning_rate = 1e-5
epochs = 1
"""


def cif(path, *sites, extra=""):
    text = CIF.format(sites="\n".join(sites))
    path.write_text(text.replace("_atom_site_occupancy\n", f"_atom_site_occupancy\n{extra}"))
    return path


@pytest.fixture
def alloy(tmp_path):
    """Germanium on a third of one site, and a site that is half empty."""
    return cif(
        tmp_path / "alloy.cif",
        "Si1 Si 0 0 0 0.7(1)",
        "Ge1 Ge 0 0 0 0.3(1)",
        "Si2 Si 0.25 0.25 0.25 0.5",
        "Si3 Si 0.5 0.5 0 1",
    )


def test_partial_occupancy_is_refused_by_the_name_of_the_site(alloy):
    assert len(read(alloy)) == 3  # ASE takes it as full, without a word
    with pytest.raises(StructureError, match=r"alloy\.cif`: expected sites that are fully occupied") as got:
        read_structures(alloy)
    for name in ("`Si1` (Si, 0.7)", "`Ge1` (Ge, 0.3)", "`Si2` (Si, 0.5)", "ordered structure"):
        assert name in str(got.value)
    assert "Si3" not in str(got.value)


@pytest.mark.parametrize(
    "command",
    [
        ("check", "pet-si", "FILE"),
        ("evaluate", "pet-si", "FILE"),
        ("relax", "pet-si", "FILE"),
        ("phonons", "pet-si", "FILE", "-o", "OUT"),
        ("elastic", "pet-si", "FILE"),
        ("eos", "pet-si", "FILE"),
        pytest.param(("conductivity", "pet-si", "FILE"), marks=needs_phono3py),
        ("md", "pet-si", "FILE"),
        ("md", "pet-si", "GOOD", "--rdf-frames", "FILE"),
        ("md", "pet-si", "GOOD", "--symmetrize", "crystal", "--crystal", "FILE"),
        ("validate", "pet-si", "FILE", "-o", "OUT"),
        ("symmetry", "pet-si", "FILE"),
        ("symmetry", "pet-si", "GOOD", "--crystal", "FILE"),
        ("rotations", "FILE", "-o", "OUT"),
        ("relax", "pet-si", "GOOD", "--symmetrize", "crystal", "--crystal", "FILE"),
        ("relax", "pet-si", "GOOD", "--reference", "FILE"),
        ("design", "FILE", "--pick", "1"),
        ("design", "GOOD", "--pick", "1", "--have", "FILE"),
        ("design", "GOOD", "--pick", "1", "--target", "FILE"),
        ("design", "--attach", "pet-si", "FILE", "-o", "OUT.pt"),
        ("landscape", "snnp-si", "FILE"),
        ("train", "TOML"),
        ("stabilize", "STABLE"),
    ],
    ids=lambda command: " ".join(command),
)
def test_every_command_refuses_it(command, alloy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.xyz", bulk("Si", cubic=True))
    example = Path(__file__).parents[2] / "examples" / "training" / "pet-si.toml"
    text = re.sub(r"(?m)^train = .*$", 'train = "alloy.cif"', example.read_text())
    (tmp_path / "run.toml").write_text(text)
    names = {"FILE": alloy, "GOOD": tmp_path / "good.xyz", "OUT": tmp_path / "out"}
    (tmp_path / "stable.toml").write_text(STABILIZE)
    names |= {"TOML": "run.toml", "STABLE": "stable.toml", "OUT.pt": "out.pt"}
    result = CliRunner().invoke(main, [str(names.get(word, word)) for word in command])
    assert result.exit_code == 1
    assert "alloy.cif`: expected sites that are fully occupied, got `Si1` (Si, 0.7)" in result.output


def test_training_data_are_read_alike(alloy):
    with pytest.raises(StructureError, match="fully occupied"):
        load_data(DataConfig(train=str(alloy)))


def test_functions_refuse_it_too(alloy):
    atoms = read(alloy)
    atoms.calc = EMT()
    with pytest.raises(StructureError, match=r"`relax`: expected .* got site 0 with Si 0\.7, Ge 0\.3"):
        relax(atoms)


def test_frames_to_compare_dynamics_with_are_read_alike(alloy):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    with pytest.raises(StructureError, match=r"alloy\.cif`: expected sites that are fully occupied"):
        md_stability(atoms, temperature_K=300.0, rdf_frames=alloy)


def test_files_of_users_are_read_in_one_place():
    """Others that call ASE's reader read forces of displaced supercells, or what the package wrote."""
    package = Path(relaxation.__file__).parents[1]
    others = {
        "lattice_dynamics/comparison.py",
        "report/validate.py",
        "relaxation/relax.py",
        "relaxation/store.py",
    }
    reads = re.compile(r"from ase\.io import [^\n]*\bi?read\b|ase\.io\.i?read\(")
    found = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if reads.search(p.read_text())}
    assert found == others | {"data/structure_files.py"}


def test_it_is_found_in_files_of_other_formats(alloy, tmp_path):
    write(tmp_path / "alloy.traj", read(alloy))
    with pytest.raises(StructureError, match=r"alloy\.traj`: expected .* got site 0 with Si 0\.7, Ge 0\.3"):
        read_structures(tmp_path / "alloy.traj")


def test_full_sites_are_taken(tmp_path):
    file = cif(tmp_path / "full.cif", "Si1 Si 0 0 0 1.0", "Si2 Si 0.25 0.25 0.25 1", "Si3 Si 0.5 0.5 0 ?")
    (atoms,) = read_structures(file)
    assert len(atoms) == 3
    write(tmp_path / "own.cif", bulk("Si", cubic=True))  # ASE writes occupancies
    assert len(read_structures(tmp_path / "own.cif")[0]) == 8


def test_alternatives_of_disorder_are_refused(tmp_path):
    sites = ("Si1 Si 0 0 0 1 .", "Si2 Si 0.25 0.25 0.25 1 1", "Si3 Si 0.3 0.25 0.25 1 2")
    file = cif(tmp_path / "a.cif", *sites, extra="_atom_site_disorder_group\n")
    with pytest.raises(StructureError, match=r"alternatives: `Si2` \(group 1\), `Si3` \(group 2\)"):
        read_structures(file)
    file = cif(tmp_path / "b.cif", *sites[:2], extra="_atom_site_disorder_group\n")
    assert len(read_structures(file)[0]) == 2


def test_deuterium_keeps_its_mass_or_is_named(tmp_path):
    file = cif(tmp_path / "heavy.cif", "D1 D 0 0 0 1", "O1 O 0.2 0 0 1")
    (atoms,) = read_structures(file)
    assert atoms.symbols.get_chemical_formula() == "HO" and atoms.get_masses()[0] == pytest.approx(
        2.0136, abs=1e-3
    )
    (tmp_path / "heavy.xyz").write_text("1\nProperties=species:S:1:pos:R:3\nD 0 0 0\n")
    with pytest.raises(DataError, match=r"got `D`, which it does not know \(of an isotope, write the el"):
        read_structures(tmp_path / "heavy.xyz")


def test_the_first_of_several_frames_is_said(tmp_path):
    """Commands that take one structure."""
    write(tmp_path / "two.xyz", [Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), bulk("Si", cubic=True)])
    commands = [("elastic",), ("eos",), ("md",), ("symmetry",)]
    for command in commands + [("conductivity",)] * HAS_PHONO3PY:
        arguments = [command[0], "pet-si", str(tmp_path / "two.xyz"), *command[1:]]
        result = CliRunner().invoke(main, arguments)
        assert f"{tmp_path / 'two.xyz'}: the first of 2 structures is taken" in result.output, command
