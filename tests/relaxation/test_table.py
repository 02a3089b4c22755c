"""The lines of a table against the numbers of its rows, which are made up."""

from ase.units import GPa

from ase_mlip.relaxation.table import table

ROW = {
    "status": "converged",
    "atoms": {"numbers": [14, 14]},
    "steps": 7,
    "energy": -18.0,
    "fmax": 0.00042,
    "stress": [0.0, 0.0, -1.5 * GPa, 0.0, 0.5 * GPa, 0.0],
    "volume": 11.4,
    "rmsd": 0.0123,
    "rmsd_to_reference": None,
    "wall_time": 3.21,
    "spacegroup_before": {"0.01": "P1 (1)"},
    "spacegroup_after": {"0.01": "Fd-3m (227)"},
}


def cells(text: str, line: int) -> list[str]:
    return text.splitlines()[line].split()


def test_a_line_has_energies_per_atom_and_the_largest_component_of_the_stress():
    text = table({"diamond": ROW})
    assert cells(text, 1)[:9] == [
        "diamond", "2", "7", "-9.000000", "4.2e-04", "1.500", "5.7000", "0.0123", "3.2"
    ]  # fmt: skip
    assert "P1 (1) → Fd-3m (227)" in text and text.splitlines()[1].endswith("converged")
    assert text.splitlines()[2].startswith("1 of 1 converged.")


def test_a_failed_structure_has_gaps_and_a_molecule_dashes():
    molecule = ROW | {"stress": None, "volume": None}
    text = table({"dimer": molecule, "broken": {"status": "failed", "error": "atoms at one place"}})
    assert cells(text, 1)[5:7] == ["-", "-"]
    assert cells(text, 2) == ["broken", "failed"]
    assert text.splitlines()[3].startswith("1 of 2 converged, 1 failed.")


def test_the_distance_to_a_reference_is_a_column_where_a_row_has_it():
    text = table({"diamond": ROW, "other": ROW | {"rmsd_to_reference": 0.25}})
    assert "to ref., Å" in text.splitlines()[0]
    assert "-" in cells(text, 1) and "0.2500" in cells(text, 2)
