"""Comparison with phonopy directories and with other calculators."""

import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.errors import StructureError
from ase_mlip.lattice_dynamics.comparison import compare_phonons, load_reference
from ase_mlip.lattice_dynamics.files import write_results
from ase_mlip.lattice_dynamics.phonons import phonons
from tests.emt_variants import Interrupted

MESH = {"mesh": (4, 4, 4)}


class Stiffer(EMT):
    """EMT times a number: frequencies grow by its root."""

    factor = 1.21

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        for name, value in self.results.items():
            self.results[name] = self.factor * value


def copper(calculator=None, cubic=False):
    atoms = bulk("Cu", a=3.58982, cubic=cubic)
    atoms.calc = EMT() if calculator is None else calculator
    return atoms


@pytest.fixture(scope="module")
def computed():
    return phonons(copper(), supercell_matrix=(2, 2, 2), **MESH)


@pytest.fixture
def folder(computed, tmp_path):
    write_results(computed, tmp_path / "reference")
    (tmp_path / "reference" / "phonons.json").unlink()
    return tmp_path / "reference"


@pytest.mark.parametrize("kept", ["FORCE_SETS", "force_constants.hdf5", None])
def test_a_folder_gives_its_own_frequencies_back(folder, kept, computed):
    for name in {"FORCE_SETS", "force_constants.hdf5"} - {kept}:
        (folder / name).unlink()
    if kept is not None:  # then forces are not in the cell's file
        computed.phonopy.save(
            folder / "phonopy.yaml", settings={"force_sets": False, "displacements": kept == "FORCE_SETS"}
        )
    # the crystal in another cell: what is compared is computed in the reference's
    comparison = compare_phonons(copper(cubic=True), folder, **MESH)
    assert comparison.mean_absolute_error < 1e-3
    assert comparison.lattice_strain == pytest.approx(0.0, abs=1e-5)
    assert comparison.model.n_atoms_supercell == 8


def test_errors_are_those_of_the_scaled_potential(folder, computed):
    comparison = compare_phonons(copper(Stiffer()), folder, **MESH)
    expected = 0.1 * np.abs(computed.mesh_frequencies)
    weights = computed.mesh_weights / computed.mesh_weights.sum()
    assert comparison.mean_absolute_error == pytest.approx((weights @ expected).mean(), rel=1e-3)
    assert comparison.max_error == pytest.approx(expected.max(), rel=1e-3)
    end = comparison.model.bands.segments[0][1] - 1
    ratio = comparison.model.bands.frequencies[end] / comparison.reference_bands.frequencies[end]
    assert ratio == pytest.approx(1.1, rel=1e-3)


def test_another_calculator_is_a_reference():
    comparison = compare_phonons(copper(Stiffer()), EMT(), supercell_matrix=(2, 2, 2), **MESH)
    assert comparison.source == "EMT"
    assert comparison.max_error == pytest.approx(
        comparison.model.mesh_frequencies.max() * (1 - 1 / 1.1), rel=1e-3
    )


VASPRUN = """<?xml version="1.0"?><modeling>
<kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<atominfo><atoms>{count}</atoms><array name="atoms"><set>{names}</set></array></atominfo>
<structure name="initialpos">{structure}</structure>
<calculation><scstep>{energies}</scstep><structure>{structure}</structure>
<varray name="forces">{forces}</varray>{energies}</calculation>
<structure name="finalpos">{structure}</structure></modeling>
"""
ENERGIES = "".join(f'<i name="{name}">0.0</i>' for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))


def write_vasprun(path, atoms, forces):
    """The little of a vasprun.xml that ASE reads."""
    basis = f'<crystal><varray name="basis">{rows(atoms.cell.array)}</varray></crystal>'
    places = f'<varray name="positions">{rows(atoms.get_scaled_positions(wrap=False))}</varray>'
    document = VASPRUN.format(
        count=len(atoms),
        names="".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in atoms.symbols),
        structure=basis + places,
        forces=rows(forces),
        energies=f"<energy>{ENERGIES}</energy>",
    )
    path.write_text(document)


def rows(values):
    return "".join(f"<v>{' '.join(map(str, row))}</v>" for row in values)


def only_displacements(folder, computed):
    for name in ("FORCE_SETS", "force_constants.hdf5", "phonopy.yaml"):
        (folder / name).unlink()
    computed.phonopy.save(folder / "phonopy_disp.yaml", settings={"force_sets": False, "displacements": True})
    cell = computed.phonopy.supercells_with_displacements[0]
    displaced = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
    return displaced, computed.phonopy.forces[0]


def test_vasp_runs_are_read(folder, computed):
    displaced, forces = only_displacements(folder, computed)
    write_vasprun(folder / "vasprun.xml", displaced, forces)
    assert compare_phonons(copper(), folder, **MESH).mean_absolute_error < 1e-3


@pytest.fixture(scope="module")
def alloy():
    """CuAu in a cell of two atoms, with 12 displacements."""
    atoms = bulk("Cu", "sc", a=2.85) + bulk("Au", "sc", a=2.85)
    atoms.positions[1] = 0.5 * atoms.cell.sum(axis=0)
    atoms.calc = EMT()
    return phonons(atoms, supercell_matrix=(2, 2, 2), is_symmetry=False, is_plusminus=True, **MESH)


def vasp_runs(folder, alloy, names):
    folder.mkdir()
    alloy.phonopy.save(folder / "phonopy_disp.yaml", settings={"force_sets": False, "displacements": True})
    cells = alloy.phonopy.supercells_with_displacements
    for name, cell, forces in zip(names, cells, alloy.phonopy.forces, strict=True):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        displaced = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
        write_vasprun(file, displaced, forces)


@pytest.mark.parametrize("name", ["vasprun-{}.xml", "disp-{}/vasprun.xml"])
@pytest.mark.parametrize("numbers", [range(1, 13), range(12, 0, -1)])
def test_runs_belong_to_the_displacement_of_their_atoms(alloy, tmp_path, name, numbers):
    """Sorted as text, 10 to 12 come before 2; and whoever numbered them may have begun elsewhere."""
    vasp_runs(tmp_path / "runs", alloy, [name.format(number) for number in numbers])
    assert load_reference(tmp_path / "runs").forces == pytest.approx(alloy.phonopy.forces, abs=1e-12)


def test_a_run_of_no_or_of_a_taken_displacement_is_named(alloy, tmp_path):
    folder = tmp_path / "runs"
    vasp_runs(folder, alloy, [f"vasprun-{number}.xml" for number in range(1, 13)])
    shutil.copy(folder / "vasprun-3.xml", folder / "vasprun-11.xml")
    with pytest.raises(
        StructureError, match=r"vasprun-11\.xml`: .* displacement 3, which .*vasprun-3\.xml` is"
    ):
        load_reference(folder)
    cell = alloy.phonopy.supercells_with_displacements[10]
    moved = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
    moved.positions[1, 2] += 0.007  # a displacement is 0.01 Å long
    write_vasprun(folder / "vasprun-11.xml", moved, alloy.phonopy.forces[10])
    with pytest.raises(
        StructureError, match=r"vasprun-11\.xml`: .* got an atom 0\.0070 Å away from displacement"
    ):
        load_reference(folder)


def test_other_atoms_order_or_phase_are_named(folder, computed, tmp_path):
    with pytest.raises(StructureError, match=r"space group of the structure, Im-3m \(229\), got Fm-3m"):
        iron = bulk("Cu", "bcc", a=2.9)
        iron.calc = EMT()
        compare_phonons(iron, folder, **MESH)
    with pytest.raises(StructureError, match="composition of the structure, Al, got Cu"):
        aluminium = bulk("Al")
        aluminium.calc = EMT()
        compare_phonons(aluminium, folder, **MESH)
    with pytest.raises(StructureError, match=r"about the volume.*another phase"):
        wide = bulk("Cu", a=4.2)
        wide.calc = EMT()
        compare_phonons(wide, folder, **MESH)

    displaced, forces = only_displacements(folder, computed)
    with pytest.raises(StructureError, match=r"expected forces in FORCE_SETS.*got none"):
        load_reference(folder)
    write_vasprun(folder / "vasprun.xml", displaced[::-1], forces)
    with pytest.raises(StructureError, match=r"got an atom \d\.\d{4} Å away from displacement 1"):
        load_reference(folder)
    write_vasprun(folder / "vasprun.xml", displaced[:-1], forces[:-1])
    with pytest.raises(StructureError, match="expected the atoms Cu8 in the order"):
        load_reference(folder)
    shutil.copy(folder / "vasprun.xml", folder / "vasprun-2.xml")
    with pytest.raises(StructureError, match="each of 1 displacements, got 2"):
        load_reference(folder)
    with pytest.raises(StructureError, match="which is none"):
        load_reference(tmp_path / "absent")
    with pytest.raises(StructureError, match=r"expected one of phonopy\.yaml"):
        load_reference(tmp_path)


def without_forces(folder, computed, kept):
    """Of the results in ``folder`` only ``kept`` has forces or force constants."""
    for name in {"FORCE_SETS", "force_constants.hdf5"} - {kept}:
        (folder / name).unlink()
    computed.phonopy.save(folder / "phonopy.yaml", settings={"force_sets": False, "displacements": True})


def cut(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def of_a_larger_supercell(file):
    larger = phonons(copper(), supercell_matrix=(3, 3, 3), relax_first=False, **MESH)
    write_results(larger, file.parent / "larger")
    shutil.move(file.parent / "larger" / file.name, file)


def no_yaml(file):
    file.write_text("phonopy: [")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("FORCE_SETS", of_a_larger_supercell, "on the 8 atoms of the supercell .*(forces on 27 atoms)"),
        ("FORCE_SETS", cut, r"\(force \d of displacement 1 of 1 is (missing|')"),
        ("force_constants.hdf5", of_a_larger_supercell, "a supercell of 8 atoms, as in .*, got 27"),
        ("force_constants.hdf5", cut, "OSError"),
        ("phonopy.yaml", no_yaml, "ParserError"),
        ("vasprun.xml", cut, "cannot be used"),
    ],
)
def test_broken_and_foreign_files_are_named(folder, computed, name, spoil, message):
    if name == "vasprun.xml":
        write_vasprun(folder / name, *only_displacements(folder, computed))
    else:
        without_forces(folder, computed, name if name != "phonopy.yaml" else "FORCE_SETS")
    load_reference(folder)
    spoil(folder / name)
    with pytest.raises(StructureError, match=f"{name}`: expected .*{message}.*from one calculation"):
        load_reference(folder)


def test_forces_of_the_folder_one_is_in_are_not_the_references(folder, computed, tmp_path, monkeypatch):
    """phonopy by itself would read them."""
    displaced = only_displacements(folder, computed)
    write_vasprun(folder / "vasprun.xml", *displaced)
    (tmp_path / "FORCE_SETS").write_text("of something else")
    monkeypatch.chdir(tmp_path)
    assert compare_phonons(copper(), folder.relative_to(tmp_path), **MESH).mean_absolute_error < 1e-3


def test_a_killed_comparison_goes_on_with_the_supercells_it_has(folder, tmp_path):
    options = {**MESH, "relax_first": False, "is_symmetry": False, "is_plusminus": True}
    options["checkpoint"] = tmp_path / "forces.npz"
    with pytest.raises(KeyboardInterrupt):
        compare_phonons(copper(Interrupted(last=4)), folder, **options)
    rest = Interrupted()
    comparison = compare_phonons(copper(rest), folder, **options)
    assert rest.calls == 7 - 3 + 1  # one again, to see that the calculator is the same
    assert comparison.model.evaluations == 7
    assert comparison.mean_absolute_error < 0.01
