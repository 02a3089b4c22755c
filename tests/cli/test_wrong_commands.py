"""Wrong command lines and files: exit status, a line that names the cause, no traceback, in one process."""

import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from click.testing import CliRunner
from model_files import bad_file
from optional_packages import HAS_PHONO3PY
from toy import AnisotropicNetwork, PairNetwork, export_toy

from ase_mlip import design
from ase_mlip.cli import program as cli

CPU_SECONDS = 60  # of all
EACH = 10  # before a command counts as one that started its work
MODEL_COMMANDS = {  # how each command is called with a model and a structure
    "info": ["info", "MODEL"],
    "check": ["check", "MODEL", "good.xyz"],
    "evaluate": ["evaluate", "MODEL", "good.xyz"],
    "symmetry": ["symmetry", "MODEL", "good.xyz"],
    "relax": ["relax", "MODEL", "good.xyz"],
    "phonons": ["phonons", "MODEL", "good.xyz", "-o", "out-phonons"],
    "elastic": ["elastic", "MODEL", "good.xyz"],
    "eos": ["eos", "MODEL", "good.xyz"],
    "conductivity": ["conductivity", "MODEL", "good.xyz"],
    "md": ["md", "MODEL", "good.xyz"],
    "validate": ["validate", "MODEL", "good.xyz", "-o", "out-validate"],
    "landscape": ["landscape", "MODEL", "good.xyz"],
    "plot-filters": ["plot-filters", "MODEL", "-o", "out.png"],
    "demo": ["demo", "--model", "MODEL", "--quick", "-o", "out-demo"],
}
MODELS = [
    "missing.pt",
    "pet-sj",
    "folder",
    "empty.pt",
    "text.pt",
    "truncated.pt",
    "pickle.pt",
    "zip.pt",
    "good.xyz",
]
STRUCTURES = [
    "missing.xyz", "folder", "empty.xyz", "binary.xyz", "binary.cif", "text.cif", "words", "picture.png",
    "document.json", "none.xyz", "nan.xyz", "coinciding.xyz", "copper.xyz", "placeholder.xyz",
]  # fmt: skip
WITH_STRUCTURE = (
    "check",
    "evaluate",
    "symmetry",
    "relax",
    "phonons",
    "elastic",
    "eos",
    "conductivity",
    "md",
    "validate",
    "landscape",
)
NUMBERS = {  # option: command, wrong values
    ("relax", "--fmax"): ["-1", "0", "nan", "inf", "much"],
    ("relax", "--smax"): ["-1", "nan"],
    ("relax", "--steps"): ["-1", "1.5"],
    ("relax", "--symprec"): ["-1", "0", "nan"],
    ("phonons", "--supercell"): ["0 1 1", "-2 2 2", "a b c"],
    ("phonons", "--min-length"): ["-1", "nan", "0"],
    ("phonons", "--distance"): ["0", "-0.01", "nan", "100"],
    ("phonons", "--mesh"): ["0 1 1", "-1 1 1"],
    ("phonons", "--path"): ["QQQ"],
    ("elastic", "--strain"): ["0", "nan", "-0.1", "2"],
    ("elastic", "--strains"): ["3", "0", "-2"],
    ("elastic", "--fmax"): ["0", "nan"],
    ("eos", "--volume-change"): ["0", "nan", "1"],
    ("eos", "--volumes"): ["4", "-1"],
    ("eos", "--relax-atoms"): ["0", "nan"],
    ("conductivity", "--supercell"): ["0 1 1"],
    ("conductivity", "--phonon-supercell"): ["0 1 1"],
    ("conductivity", "--mesh"): ["0 1 1"],
    ("conductivity", "--temperature"): ["0", "-5", "nan"],
    ("conductivity", "--distance"): ["0", "-1", "nan"],
    ("conductivity", "--pair-cutoff"): ["-1", "nan"],
    ("md", "--temperature"): ["-1", "nan", "inf"],
    ("md", "--timestep"): ["0", "-1", "nan"],
    ("md", "--time"): ["0", "-1", "nan"],
    ("md", "--replicas"): ["0", "two"],
    ("md", "--interval"): ["0"],
    ("md", "--equilibration"): ["-1", "nan", "50"],
    ("md", "--supercell"): ["0 1 1"],
    ("md", "--seed"): ["-1", "x"],
    ("md", "--bond-length"): ["0", "-1", "nan"],
    ("md", "--bond-deviation"): ["0", "-0.5", "inf"],
    ("md", "--thermostat"): ["andersen"],
    ("symmetry", "--orientations"): ["1", "-3"],
    ("symmetry", "--symmetrize"): ["tetrahedral", "lebedev", "lebedev:1000", "random", "auto", ","],
    ("validate", "--phonon-length"): ["-1", "nan"],
    ("validate", "--temperature"): ["-1", "nan"],
    ("validate", "--time"): ["0", "-1", "nan"],
    ("validate", "--processes"): ["0"],
    ("check", "--device"): ["gpu", "cuda:99"],
    ("evaluate", "--device"): ["gpu"],
    ("evaluate", "--dtype"): ["float16"],
    ("relax", "--device"): ["gpu"],
    ("relax", "--optimizer"): ["Newton"],
    ("relax", "--cell"): ["cubic"],
    ("relax", "--symmetrize"): ["tetrahedral", "file missing.txt", "file folder", "file words"],
    ("relax", "--tolerance"): ["0.1", "0", "nan"],
    ("relax", "--forces"): ["direct", "none"],
    ("phonons", "--symmetrize"): ["random 3"],
    ("elastic", "--symmetrize"): ["random 3"],
    ("md", "--engine"): ["gromacs"],
    ("landscape", "--span"): ["0", "-0.5", "nan"],
    ("landscape", "--lines"): ["0", "few"],
    ("landscape", "--points"): ["0", "8"],
    ("landscape", "--frames"): ["1", "0"],
    ("landscape", "--seed"): ["-1"],
    ("landscape", "--directions"): ["uniform"],
    ("landscape", "--predictors"): ["luck", "sharpness,luck"],
}  # fmt: skip
INPUTS = ["missing.xyz", "folder", "empty.xyz", "binary.xyz", "words"]
REFERENCES = {
    ("relax", "--reference"): INPUTS,
    ("symmetry", "--crystal"): INPUTS,
    ("phonons", "--reference"): ["missing", "folder", "words"],
    ("validate", "--reference"): ["missing", "folder", "words"],
    ("md", "--rdf-frames"): INPUTS,
}
OUTPUTS = {
    ("evaluate", "-o"): ["words", "words/out", "out.json", "picture.png"],
    ("symmetry", "-o"): ["words", "words/out", "out.png"],
    ("relax", "-o"): ["words", "words/out", "out.xyz", "good.xyz"],
    ("phonons", "-o"): ["words", "words/out"],
    ("elastic", "-o"): ["words", "words/out", "out.json", "document.json"],
    ("eos", "-o"): ["words", "words/out", "out.json", "document.json"],
    ("conductivity", "-o"): ["words", "words/out", "out.json", "document.json"],
    ("md", "-o"): ["words", "words/out", "out.json", "document.json"],
    ("validate", "-o"): ["words", "words/out"],
    ("plot-filters", "-o"): ["missing/out.png"],
    ("demo", "-o"): ["words", "words/out"],
    ("landscape", "-o"): ["words"],
}
OTHERS = [  # command line, what the message names
    ("simulate pet-si", "simulate"),
    ("elastic model.pt good.xyz --points 4", "--points.*--strains"),
    ("eos model.pt good.xyz --points 9", "--points.*--volumes"),
    ("eos model.pt good.xyz --strain 0.1", "--strain.*--volume-change"),
    ("phonons model.pt good.xyz --force", "--force.*--allow-unrelaxed"),
    ("info", "MODEL"),
    ("info pet-si extra", "extra"),
    ("info --yaml pet-si", "--yaml"),
    ("doctor now", "now"),
    ("build --fast", "--fast"),
    ("check pet-si good.xyz good.xyz", "good.xyz"),
    ("evaluate pet-si", "STRUCTURES"),
    ("evaluate model.pt good.xyz", "energy"),
    ("lammps --lmp missing-lmp", "missing-lmp"),
    ("lammps --plugin missing", "missing"),
    ("lammps --plugin words", "words"),
    ("rotations tetrahedral", "tetrahedral"),
    ("rotations missing.cif", "missing.cif"),
    ("rotations empty.xyz", "empty.xyz"),
    ("rotations binary.cif", "binary.cif"),
    ("rotations folder", "folder"),
    ("rotations auto", "auto"),
    ("rotations random", "random"),
    ("rotations good.xyz --symprec -1", "--symprec"),
    ("rotations good.xyz --symprec nan", "--symprec"),
    ("rotations octahedral -o missing/out.txt", "missing"),
    ("rotations octahedral -o folder", "folder"),
    ("plot-filters model.pt -o out.png", "model.pt|s-NNP"),
    ("landscape", "MODEL"),
    ("landscape model.pt", "FILES"),
    ("landscape model.pt good.xyz", "good.xyz|energy"),
    ("landscape model.pt good.xyz --plot", "--plot"),
    ("landscape model.pt good.xyz --with document.json", "--with"),
    ("landscape model.pt good.xyz --control x", "--control"),
    ("landscape --compare document.json", "document.json"),
    ("landscape --compare missing.json", "missing.json"),
    ("landscape --compare document.json --plot", "--plot"),
    ("landscape --compare document.json --span 0.3", "--span"),
    ("export --from mace missing.model -o out.pt", "missing.model|mace"),
    ("export --from pet words -o out.pt", "words|metatrain|pet"),
    ("export --from gap words -o out.pt", "gap"),
    ("export --from pet words", "--output"),
    ("export --from pet words -o missing/out.pt", "missing"),
    ("export --from nequip empty.pt -o out.pt", "empty.pt|nequip"),
    ("export --from sevennet folder -o out.pt", "folder|sevenn"),
    ("md model.pt molecule.xyz --engine lammps --forces direct", "--forces"),
    ("md model.pt good.xyz --thermostat langevin --temperature 0", "--temperature"),
    ("md model.pt good.xyz --thermostat langevin --friction -1", "--friction"),
    ("md model.pt good.xyz --thermostat langevin --friction nan", "--friction"),
    ("md model.pt good.xyz --friction 5", "--friction.*--thermostat langevin"),
    ("md model.pt good.xyz --thermostat nose-hoover --friction 5", "--friction"),
    ("md model.pt good.xyz --thermostat nose-hoover --damping 0", "--damping"),
    ("md model.pt good.xyz --thermostat langevin --damping 0.1", "--damping"),
    ("md model.pt good.xyz --ramp 1600", "--ramp.*--thermostat"),
    ("md model.pt good.xyz --thermostat langevin --ramp 0", "--ramp"),
    ("md model.pt good.xyz --thermostat langevin --ramp -300", "--ramp"),
    ("md model.pt good.xyz --thermostat langevin --ramp-time 1", "--ramp-time.*--ramp"),
    ("md model.pt good.xyz --thermostat langevin --ramp 1600 --ramp-time 0", "--ramp-time"),
    ("relax model.pt good.xyz --symmetrize crystal --keep-space-group", "--symmetrize"),
    ("relax model.pt good.xyz molecule.xyz --plot", "--plot"),
    ("relax model.pt molecule.xyz --cell full", "cell|molecule"),
    ("relax model.pt molecule.xyz --keep-space-group", "cell|molecule|period"),
    ("relax model.pt good.xyz --smax 0.1", "--smax"),
    ("phonons model.pt molecule.xyz", "molecule|period|cell"),
    ("elastic model.pt molecule.xyz", "molecule|period|cell"),
    ("eos model.pt molecule.xyz", "molecule|period|cell"),
    ("conductivity model.pt molecule.xyz", "molecule|period|cell"),
    ("conductivity model.pt good.xyz --reference words --entry mp-1", "words"),
    ("conductivity model.pt good.xyz --reference missing.gz --entry mp-1", "missing.gz"),
    ("conductivity model.pt good.xyz --reference words", "--entry"),
    ("md model.pt good.xyz --reference good.xyz", "--reference.*--rdf-frames"),
    ("symmetry model.pt good.xyz --no-plot", "--no-plot"),
    ("symmetry model.pt good.xyz --crystal molecule.xyz", "molecule|period|cell"),
    ("design", "POOL"),
    ("design missing.xyz --pick 2", "missing.xyz"),
    ("design empty.xyz --pick 2", "empty.xyz"),
    ("design coinciding.xyz --pick 1", "structures to choose from.*too close"),
    ("design nan.xyz --pick 1", "nan.xyz.*frame 0.*NaN"),
    ("design placeholder.xyz --pick 1", "placeholder.xyz.*elements"),
    ("design references.xyz", "pick.*budget"),
    ("design references.xyz --pick 0", "--pick"),
    ("design references.xyz --pick 2 --budget 3", "pick.*budget"),
    ("design references.xyz --budget 1 --cost atoms^2", "budget.*at least 64"),
    ("design references.xyz --budget 1 --cost price", "cost.*price"),
    ("design references.xyz --pick 2 --sigma energy=0", "sigma.*positive"),
    ("design references.xyz --pick 2 --sigma forces=-1", "sigma.*positive"),
    ("design references.xyz --pick 2 --sigma energy", "sigma.*NAME=NUMBER"),
    ("design references.xyz --pick 2 --basis model.pt", "model.*features"),
    ("design references.xyz --pick 2 --basis words", "words"),
    ("design references.xyz --pick 2 --labels charges", "labels.*charges"),
    ("design references.xyz --pick 2 --rows sketch:0", "rows.*sketch"),
    ("design references.xyz --pick 2 --have references.xyz", "labelled already"),
    ("design references.xyz --pick 2 --target copper.xyz", "pool.*Cu"),
    ("design references.xyz --pick 2 --keep copper.xyz", "keep.*copper.xyz"),
    ("design references.xyz --pick 2 --calibration good.xyz", "--calibration"),
    ("design references.xyz --pick 2 -o words", "words"),
    ("design grouped.xyz --pick 2", "grouped.xyz.*3 of 6 frames"),
    ("design references.xyz --pick 2 --group-key kind", "group_key.*kind"),
    ("design --verify copper.xyz designed", "copper.xyz.*picks.xyz"),
    ("design --verify good.xyz folder", "design.json"),
    ("design --verify missing.xyz designed", "missing.xyz"),
    ("design --attach model.pt good.xyz", "--attach"),
    ("design --attach model.pt good.xyz -o out.pt", "features"),
    ("train", "RUN"),
    ("train missing.toml", "missing.toml"),
    ("train folder", "folder"),
    ("train empty.xyz", "empty.xyz"),
    ("train binary.xyz", "binary.xyz"),
    ("train words", "words"),
]
RUN = """
name = "potential"
output = "out-train"
threads = 1
[data]
train = "references.xyz"
[model]
cutoff = 4.0
d_pet = 8
num_heads = 2
[optimizer]
epochs = 1
"""
TOMLS = {  # text in RUN, its replacement, what the message names
    "broken": ('name = "potential"', 'name = "potential', "TOML|toml"),
    "nameless": ('name = "potential"', "", "name"),
    "number as name": ('name = "potential"', "name = 3", "name"),
    "no data": ('[data]\ntrain = "references.xyz"', "", "data"),
    "missing data": ('"references.xyz"', '"missing.xyz"', "missing.xyz"),
    "empty data": ('"references.xyz"', '"empty.xyz"', "empty.xyz"),
    "binary data": ('"references.xyz"', '"binary.xyz"', "binary.xyz"),
    "folder as data": ('"references.xyz"', '"folder"', "folder"),
    "no references": ('"references.xyz"', '"good.xyz"', "energy"),
    "number as data": ('"references.xyz"', "3", "train"),
    "no slice": ('"references.xyz"', '"references.xyz@x"', "references.xyz"),
    "empty slice": ('"references.xyz"', '"references.xyz@90:"', "references.xyz"),
    "unknown key": ("threads = 1", "thread = 1", "thread"),
    "unknown section": ("[optimizer]", "[optimiser]", "optimiser"),
    "unknown model key": ("d_pet = 8", "d_pat = 8", "d_pat"),
    "text as cutoff": ("cutoff = 4.0", 'cutoff = "far"', "cutoff"),
    "negative cutoff": ("cutoff = 4.0", "cutoff = -4.0", "cutoff"),
    "cutoff nan": ("cutoff = 4.0", "cutoff = nan", "cutoff"),
    "heads": ("num_heads = 2", "num_heads = 3", "heads"),
    "no heads": ("num_heads = 2", "num_heads = 0", "heads"),
    "negative epochs": ("epochs = 1", "epochs = -1", "epochs"),
    "text as epochs": ("epochs = 1", 'epochs = "many"', "epochs"),
    "text as flag": ("epochs = 1", 'epochs = 1\nrotate = "false"', "rotate"),
    "no batch": ("epochs = 1", "epochs = 1\nbatch_size = 0", "batch_size"),
    "rate": ("epochs = 1", "epochs = 1\nlearning_rate = -1", "learning_rate"),
    "loss": ("[optimizer]", '[loss]\nkind = "mae"\n[optimizer]', "kind"),
    "optimizer": ("epochs = 1", 'epochs = 1\nkind = "sgd"', "kind"),
    "units": ('"references.xyz"', '"references.xyz"\nunits = {energy = "cal"}', "units|energy"),
    "no energies": ('"references.xyz"', '"references.xyz"\nenergy_key = "E"', "E"),
    "fraction": ('"references.xyz"', '"references.xyz"\nvalidation_fraction = 2', "validation_fraction"),
    "device": ("threads = 1", 'device = "gpu"', "device"),
    "threads": ("threads = 1", "threads = -1", "threads"),
    "output is a file": ('"out-train"', '"words"', "words"),
    "an array": ("[optimizer]", "[[optimizer]]", "optimizer"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of all kinds, good and bad."""
    folder = tmp_path_factory.mktemp("wrong")
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.02, seed=0)
    write(folder / "good.xyz", crystal)
    write(folder / "molecule.xyz", molecule("Si2H6")[[0, 1]])
    copper = bulk("Cu", cubic=True)
    placeholder = Atoms("SiX", positions=[[0, 0, 0], [0, 0, 2.3]], cell=[4, 4, 5], pbc=True)
    for name, atoms in (("copper", copper), ("placeholder", placeholder)):
        atoms.info["energy"] = -1.0
        write(folder / f"{name}.xyz", atoms)
    for name, change in (("nan", np.nan), ("coinciding", 0.0)):
        wrong = crystal.copy()
        wrong.positions[1] = wrong.positions[0] + change
        write(folder / f"{name}.xyz", wrong)
    references = []
    for seed in range(6):
        frame = crystal.copy()
        frame.rattle(0.05, seed=seed)
        frame.info["energy"], frame.arrays["forces"] = -30.0 + seed, np.zeros((8, 3))
        references.append(frame)
    write(folder / "references.xyz", references)
    for frame in references[::2]:
        frame.info["group"] = "even"
    write(folder / "grouped.xyz", references)
    (folder / "none.xyz").write_text("0\n\n")
    random = np.random.default_rng(0).bytes(400)
    for name in ("binary.xyz", "binary.cif"):
        (folder / name).write_bytes(random)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + random)
    (folder / "document.json").write_text('{"energy": [1, 2], "name": "x"}')
    (folder / "words").write_text("pair_style mlip\n")
    (folder / "text.cif").write_text("data_\nloop_\n_cell_length_a five\n")
    (folder / "empty.xyz").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "folder.png").mkdir()
    (folder / "folder.xyz").mkdir()
    (folder / "good.toml").write_text(RUN)
    design(folder / "references.xyz", 3, output=folder / "designed")
    export_toy(folder / "model.pt", PairNetwork([8, 14], 4.0))
    export_toy(folder / "direct.pt", AnisotropicNetwork([8, 14], 4.0, direct=True))
    for kind in ("empty", "text", "truncated", "pickle", "zip"):
        bad_file(kind, folder / "model.pt", folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def limit():
    """On one core; CPU time, as other programs may run beside."""
    started = time.process_time()
    yield
    assert time.process_time() - started < CPU_SECONDS


@pytest.fixture
def refused(folder, monkeypatch):
    """Run a command line in that folder, and look at how it ends."""
    monkeypatch.chdir(folder)
    signal.signal(signal.SIGPROF, _too_long)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def run(arguments: list[str], named: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, EACH)
        result = CliRunner().invoke(cli.main, arguments)
        signal.setitimer(signal.ITIMER_PROF, 0)
        shown = f"{' '.join(arguments)}\n{result.output}"
        assert isinstance(result.exception, SystemExit), f"{shown}\n{result.exception!r}"
        assert result.exit_code not in (0, None), shown
        assert "Traceback" not in result.output and "site-packages" not in result.output, shown
        found = re.search(r"^(Error: |failed: |\S+: failed: ).*", result.output, re.MULTILINE | re.DOTALL)
        assert found, shown
        assert re.search(named, found.group()), f"{shown}\nexpected {named}"
        assert max(map(len, found.group().splitlines())) < 1000, shown
        assert all(path.read_bytes() == content for path, content in before.items()), shown

    yield run
    for path in folder.glob("out*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class TooLong(BaseException):
    """No error that a command may translate."""


def _too_long(*_) -> None:
    raise TooLong


def words(command: str, model: str = "model.pt", structure: str = "good.xyz") -> list[str]:
    replaced = {"MODEL": model, "good.xyz": structure}
    return [replaced.get(word, word) for word in MODEL_COMMANDS[command]]


def cases(table: dict) -> list:
    return [
        pytest.param(*key, value, id=f"{' '.join(key)} {value}")
        for key, values in table.items()
        for value in values
    ]


@pytest.fixture(autouse=True)
def what_needs_phono3py(request):
    """The command names the missing package before it looks at anything."""
    values = getattr(request.node, "callspec", None)
    named = [str(value) for value in values.params.values()] if values else []
    if not HAS_PHONO3PY and any(value.startswith("conductivity") for value in named):
        pytest.skip("phono3py is not installed")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("command", MODEL_COMMANDS)
def test_models(refused, command, model):
    refused(words(command, model), re.escape(model))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("command", WITH_STRUCTURE)
def test_structures(refused, command, structure):
    refused(words(command, structure=structure), re.escape(structure.partition(".")[0]))


@pytest.mark.parametrize(("command", "option", "value"), cases(NUMBERS))
def test_options(refused, command, option, value):
    named = value.removeprefix("file ")  # of a file that cannot be read
    values = value.split() if option in ("--supercell", "--phonon-supercell", "--mesh") else [value]
    refused([*words(command), option, *values], rf"{option}|{option.strip('-')}|{re.escape(named)}")


@pytest.mark.parametrize(("command", "option", "value"), cases(REFERENCES))
def test_other_inputs(refused, command, option, value):
    refused([*words(command), option, value], re.escape(value.partition(".")[0]))


@pytest.mark.parametrize(("command", "option", "value"), cases(OUTPUTS))
def test_outputs(refused, command, option, value):
    model = "snnp-si" if command == "plot-filters" else "model.pt"
    refused([*words(command, model), option, value], re.escape(value.partition("/")[0]))


@pytest.mark.parametrize(("line", "named"), OTHERS)
def test_other_command_lines(refused, line, named):
    refused(line.split(), named)


@pytest.mark.parametrize("kind", TOMLS)
def test_training_runs(refused, folder, kind):
    old, new, named = TOMLS[kind]
    assert old in RUN
    (folder / "out.toml").write_text(RUN.replace(old, new))
    refused(["train", "out.toml"], named)
