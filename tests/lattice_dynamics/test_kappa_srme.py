"""κ_SRME worked out by hand, and the benchmark's table of references."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from optional_packages import needs_phono3py

from ase_mlip.errors import DataError
from ase_mlip.lattice_dynamics.kappa_srme import kappa_srme, read_references
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy
from tests.two_modes import two_modes

REFERENCES = Path(__file__).resolve().parents[3] / "shared" / "data" / "phonon103"


def test_srme_by_hand():
    """Totals 8/4 and 12/4; |differences| 2 + 4 + 2 + 0 = 8: 2 · (8/4) / (2 + 3)."""
    result, reference = two_modes([[4, 0], [3, 1]]), two_modes([[2, 4], [5, 1]])
    assert kappa_srme(result, reference) == pytest.approx(0.8)
    assert kappa_srme(reference, result) == pytest.approx(0.8)
    assert kappa_srme(result, result) == 0.0


def test_errors_of_modes_do_not_cancel():
    """Equal totals, no mode in common: the largest error there is."""
    assert kappa_srme(two_modes([[8, 0], [0, 0]]), two_modes([[0, 0], [8, 0]])) == pytest.approx(2.0)


def test_failures_count_as_two():
    reference = two_modes([[2, 4], [5, 1]])
    assert kappa_srme(None, reference) == 2.0
    assert kappa_srme(two_modes([[2, 4], [5, 1]], stable=False), reference) == 2.0
    assert kappa_srme(two_modes([[2, 4], [5, 1]], space_group_number=166), reference) == 2.0
    assert kappa_srme(two_modes([[2, 4], [5, np.nan]]), reference) == 2.0


def test_what_cannot_be_compared_is_refused():
    reference = two_modes([[2, 4], [5, 1]])
    with pytest.raises(DataError, match="use its mesh"):
        kappa_srme(two_modes([[2, 4], [5, 1]], weights=(2, 2)), reference)
    with pytest.raises(DataError, match="use its mesh"):
        kappa_srme(two_modes([[2, 4], [5, 1]], q_points=np.full((2, 3), 0.25)), reference)
    with pytest.raises(DataError, match="temperature=400"):
        kappa_srme(reference, reference, temperature=400.0)


def entry(mode_kappa, **changes):
    """A row of the benchmark's table: two q-points with two bands each, as :func:`two_modes`."""
    found = two_modes(mode_kappa)
    row = {
        "mp_id": "mp-1",
        "name": "AB",
        "temperatures": [300.0],
        "kappa_TOT_ave": found.mean_kappa.tolist(),
        "mode_kappa_TOT_ave": found.mode_kappa.tolist(),
        "frequencies": [[0.0, 1.0], [2.0, 3.0]],
        "qpoints": found.q_points.tolist(),
        "weights": found.weights.tolist(),
        "q_mesh": list(found.mesh),
        "symm.no": 227,
    }
    return row | changes


def test_srme_of_entries_of_a_table_is_that_by_hand(tmp_path):
    """The benchmark's format: JSON by column, then row; packed or not."""
    rows = [entry([[4, 0], [3, 1]]), entry([[2, 4], [5, 1]], mp_id="mp-2", name="CD")]
    rows.append(entry([[2, 4], [5, 1]], mp_id="mp-3") | {"symm.no": 166})
    table = {column: {str(n): row[column] for n, row in enumerate(rows)} for column in rows[0]}
    (tmp_path / "table.json").write_text(json.dumps(table))
    (tmp_path / "table.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    for name in ("table.json", "table.json.gz"):
        found = read_references(tmp_path / name)
        assert [(row.name, row.identifier) for row in found.values()] == [
            ("AB", "mp-1"), ("CD", "mp-2"), ("AB", "mp-3")
        ]  # fmt: skip
        for row in found.values():
            assert row.mode_kappa.sum(axis=(1, 2)) / row.weights.sum() == pytest.approx(row.mean_kappa)
        first = two_modes([[4, 0], [3, 1]])
        assert kappa_srme(first, found["mp-1"]) == 0.0
        assert kappa_srme(first, found["mp-2"]) == pytest.approx(0.8)  # as worked out above
        assert kappa_srme(first, found["mp-3"]) == 2.0  # another space group


@pytest.mark.skipif(not REFERENCES.is_dir(), reason="reference data of the benchmark not found")
def test_the_references_of_the_benchmark_add_up():
    references = read_references(REFERENCES / "kappas_phononDB_PBE_noNAC.json.gz")
    assert len(references) == 103
    for found in references.values():
        total = found.mode_kappa.sum(axis=(1, 2)) / found.weights.sum()
        assert total == pytest.approx(found.mean_kappa, rel=1e-4)
        assert found.weights.sum() == np.prod(found.mesh)
        assert found.mode_kappa.shape[1:] == found.frequencies.shape


def test_another_file_is_no_reference(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps({"mp_id": {"0": "a"}}).encode()))
    (tmp_path / "c.json.gz").write_bytes(b"no gzip")
    for name in ("a.json", "b.json.gz", "c.json.gz"):
        with pytest.raises(DataError, match="table of reference conductivities"):
            read_references(tmp_path / name)


@needs_phono3py
@pytest.mark.skipif(not REFERENCES.is_dir(), reason="reference data of the benchmark not found")
@pytest.mark.filterwarnings("ignore:primitive_matrix defaulted")
def test_q_points_are_those_of_the_benchmark():
    """Modes correspond only where points and their order are the same."""
    from phono3py import Phono3py
    from phonopy.phonon.grid import get_ir_grid_points, get_qpoints_from_bz_grid_points

    references = read_references(REFERENCES / "kappas_phononDB_PBE_noNAC.json.gz")
    frames = read(REFERENCES / "phononDB-PBE-structures.extxyz", index=":")
    structures = {frame.info["mp_id"]: frame for frame in frames}
    for identifier, reference in references.items():
        cell = to_phonopy(structures[identifier])
        calculation = Phono3py(cell, np.eye(3, dtype=int), primitive_matrix="auto")
        calculation.mesh_numbers = reference.mesh
        points, weights, _ = get_ir_grid_points(calculation.grid)
        q_points = get_qpoints_from_bz_grid_points(calculation.grid.grg2bzg[points], calculation.grid)
        assert np.array_equal(weights, reference.weights), identifier
        assert np.array(q_points) == pytest.approx(reference.q_points, abs=1e-6), identifier
    assert len(references) == 103
