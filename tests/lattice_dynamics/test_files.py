"""Files of phonons: what phonopy reads of them, checkpoints of runs that were killed, full disks."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.integrate import trapezoid

from ase_mlip.lattice_dynamics.files import Checkpoint, write_results
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy

X = (0.5, 0.0, 0.5)


def test_phonopy_reads_what_is_saved(copper_phonons, tmp_path):
    import phonopy

    copper_phonons.save(tmp_path / "phonopy.yaml")
    again = phonopy.load(tmp_path / "phonopy.yaml", fc_calculator="symfc", log_level=0)
    again.run_qpoints([X])
    assert again.qpoints.frequencies[0] == pytest.approx(copper_phonons.special_frequencies["X"], abs=1e-5)


@pytest.fixture(scope="module")
def written(copper_phonons, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, write_results(copper_phonons, folder, with_group_velocities=True)


@pytest.mark.parametrize("beside", ["FORCE_SETS", "force_constants.hdf5"])
def test_phonopys_command_line_reads_what_is_written(copper_phonons, written, beside, tmp_path):
    """With the forces in the cell's file left out, so that those beside it are what is read."""
    copper_phonons.phonopy.save(
        tmp_path / "phonopy.yaml", settings={"force_sets": False, "displacements": True}
    )
    shutil.copy(written[0] / beside, tmp_path)
    command = [Path(sys.executable).with_name("phonopy-load"), "phonopy.yaml", "--qpoints", "1/2 0 1/2"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    (point,) = yaml.safe_load((tmp_path / "qpoints.yaml").read_text())["phonon"]
    frequencies = [band["frequency"] for band in point["band"]]
    assert frequencies == pytest.approx(copper_phonons.special_frequencies["X"], abs=1e-4)
    # and as it is written
    command[1] = written[0] / "phonopy.yaml"
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120).returncode == 0


def test_spectra_are_in_the_document(copper_phonons, written):
    folder, document = written
    assert json.loads((folder / "phonons.json").read_text()) == json.loads(json.dumps(document))
    states = trapezoid(document["dos"]["states"], document["dos"]["frequencies"])
    assert states == pytest.approx(3.0, rel=0.01)
    assert document["thermal"]["heat_capacity"][30] == document["heat_capacity_300K"]
    modes = document["mesh_modes"]
    assert np.shape(modes["group_velocities"]) == (*np.shape(modes["frequencies"]), 3)
    assert np.sum(modes["weights"]) == 12**3
    # the sound at small q is as fast as the slope says, THz Å
    q_points = np.array(modes["q_points"])
    nearest = np.argsort(np.linalg.norm(q_points, axis=1))[1]
    again = copper_phonons.group_velocities([q_points[nearest]])[0]
    assert np.array(modes["group_velocities"][nearest]) == pytest.approx(again, abs=1e-9)
    assert "mesh_modes" not in copper_phonons.spectra()


class Counting(EMT):
    """Fails at the third structure, once."""

    calls, fails = 0, True

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 3 and self.fails:
            raise KeyboardInterrupt
        super().calculate(*args, **kwargs)


def test_a_full_disk_is_the_disks_error_and_what_was_there_stays(copper, tmp_path, monkeypatch):
    file = tmp_path / "forces.npz"
    options = {"mesh": (2, 2, 2), "relax_first": False, "checkpoint": file}
    result = phonons(copper, supercell_matrix=(2, 2, 2), **options)
    write_results(result, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(UserWarning, match="other supercells"), pytest.raises(OSError, match="No space left"):
        phonons(copper, supercell_matrix=(3, 3, 3), **options)
    with pytest.raises(OSError, match="No space left"):
        write_results(result, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["forces.npz"] == before["forces.npz"] and after["phonons.json"] == before["phonons.json"]
    monkeypatch.undo()
    counted = copper.copy()
    counted.calc = Counting()
    what = r"another run \(`class='.*EMT'`, now `class='.*Counting'`\): all are computed anew"
    with pytest.warns(UserWarning, match=what):
        phonons(counted, supercell_matrix=(2, 2, 2), **options)
    assert counted.calc.calls == 2


def test_a_killed_run_goes_on_with_the_supercells_it_has(copper, tmp_path):
    atoms = copper.copy()
    options = {"mesh": (2, 2, 2), "relax_first": False, "is_symmetry": False, "is_plusminus": True}
    atoms.calc = Counting()
    file = tmp_path / "forces.npz"
    with pytest.raises(KeyboardInterrupt):
        phonons(atoms, supercell_matrix=(2, 2, 2), checkpoint=file, **options)
    calculator = atoms.calc = Counting()
    calculator.fails = False
    result = phonons(atoms, supercell_matrix=(2, 2, 2), checkpoint=file, **options)
    assert calculator.calls == 7 - 2 + 1  # one again, to see that the calculator is the same
    whole = phonons(copper, supercell_matrix=(2, 2, 2), **options)
    assert result.special_frequencies["X"] == pytest.approx(whole.special_frequencies["X"], abs=1e-9)
    assert result.evaluations == whole.evaluations == 7
    with pytest.warns(UserWarning, match="another run"):  # nothing is reused
        phonons(atoms, supercell_matrix=(2, 2, 2), distance=0.02, checkpoint=file, **options)
    assert calculator.calls == 6 + 7


def test_another_model_at_the_same_path_is_another_run():
    cells = [to_phonopy(bulk("Cu"))]
    models = [SimpleNamespace(info=SimpleNamespace(document_sha256=digest)) for digest in ("a", "b", "a")]
    first, second, again = (
        Checkpoint(None, cells, SimpleNamespace(parameters={"model": "m.pt"}, model=m)).key for m in models
    )
    assert first != second
    assert first == again


def test_a_broken_checkpoint_is_ignored(copper, tmp_path):
    file = tmp_path / "forces.npz"
    file.write_bytes(b"PK\x03\x04 half a file")
    with pytest.warns(UserWarning, match="holds no forces that can be read: all are computed anew"):
        assert phonons(copper, supercell_matrix=(2, 2, 2), mesh=(2, 2, 2), checkpoint=file).stable
