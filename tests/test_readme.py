"""What README.md shows runs as it stands, with the shipped potential."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run(snippet: str, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "snippet.py").write_text(snippet, encoding="utf-8")
    runpy.run_path("snippet.py", run_name="__main__")


def test_the_example_has_fifteen_lines_and_finds_silicon(tmp_path, monkeypatch, capsys):
    assert len([line for line in SNIPPETS[0].splitlines() if line]) <= 15
    np.random.seed(0)  # noqa: NPY002 - ASE's Langevin draws from it
    run(SNIPPETS[0], tmp_path, monkeypatch)
    first, second = capsys.readouterr().out.splitlines()
    assert float(re.search(r"a = (\S+) Å", first)[1]) == pytest.approx(5.47, abs=0.1)
    assert 50 < float(second.split()[0]) < 800


@pytest.mark.parametrize("index", range(1, len(SNIPPETS)))
def test_other_snippets_run(index, tmp_path, monkeypatch, capsys):
    run(SNIPPETS[index], tmp_path, monkeypatch)
    assert capsys.readouterr().out
    pictures = re.findall(r'\.plot\("(.*?)"\)', SNIPPETS[index])
    assert {path.name for path in tmp_path.iterdir()} == {"snippet.py", *pictures}


def test_files_and_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for folder in re.findall(r"`(\w+)/`", README):
        assert (ROOT / folder).is_dir(), folder
