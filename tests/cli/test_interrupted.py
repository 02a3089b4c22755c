"""Commands ended between two parts of their work, and given once more: the numbers are those of one piece."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from click.testing import CliRunner
from optional_packages import needs_phono3py

from ase_mlip import elastic_constants, provenance
from ase_mlip.calculators.identity import parts_of
from ase_mlip.cli import program as cli
from ase_mlip.lattice_dynamics.files import Checkpoint
from ase_mlip.provenance import Parts

COMMANDS = {
    "elastic": ["crystal.extxyz", "--strains", "2", "--clamped"],
    "eos": ["crystal.extxyz", "--volumes", "5"],
    "md": ["crystal.extxyz", "--time", "0.02", "--replicas", "3", "--thermostat", "langevin"],
    "evaluate": ["labelled.extxyz"],
    "symmetry": ["crystal.extxyz", "labelled.extxyz", "--orientations", "3", "--symmetrize", "none"],
    "conductivity": ["crystal.extxyz", "--supercell", "1", "1", "1", "--mesh", "2", "2", "2"],
}
OTHERS = {  # settings: an option, as it was and as it is
    "elastic": ("--strain", "0.005", "0.01"),
    "eos": ("--volume-change", "0.06", "0.05"),
    "md": ("--seed", "0", "1"),
    "evaluate": ("--forces", "conservative", "direct"),
    "symmetry": ("--symprec", "0.01", "0.02"),
    "conductivity": ("--distance", "0.03", "0.04"),
}
# bit by bit, or to the rounding of sums over a neighbour list, which is kept while atoms move little; a fit
# of four parameters, and modes that are degenerate, make more of it
TOLERANCES = dict.fromkeys(COMMANDS, 0.0) | {"elastic": 1e-9, "eos": 1e-6, "conductivity": 1e-6}
pytestmark = [
    pytest.mark.filterwarnings("ignore::ase_mlip.errors.SupercellWarning"),
    pytest.mark.filterwarnings("ignore::ase_mlip.errors.ResidualWarning"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with structures, in which every part is written at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "PARTS_SECONDS", -1.0)
    monkeypatch.setattr(provenance, "PARTS_SHARE", np.inf)
    crystal = bulk("Si", a=5.45, cubic=True)
    ase.io.write("crystal.extxyz", crystal)
    frames = []
    for seed in range(4):
        frames.append(crystal.copy())
        frames[-1].rattle(0.1, seed=seed)
        forces = np.random.default_rng(seed).normal(0.0, 0.2, (8, 3))
        frames[-1].calc = SinglePointCalculator(frames[-1], energy=-43.0, forces=forces)
    ase.io.write("labelled.extxyz", frames)
    return tmp_path


def invoke(command, folder, *more):
    words = [command, "snnp-si", *COMMANDS[command], "--dtype", "float64", "-o", folder, *more]
    return CliRunner().invoke(cli.main, words)


class Wrong(LennardJones):
    """A calculator that does not say all of itself."""

    shift = 0.0

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["energy"] += self.shift


class Watched:
    """Names of the parts that are computed; the process is ended, or interrupted, after ``until`` of them."""

    def __init__(self, monkeypatch, error=KeyboardInterrupt):
        self.names, self.until = [], None
        keep = Parts.keep

        def watched(parts, name, part):
            keep(parts, name, part)
            self.names.append(name)
            if len(self.names) == self.until:
                raise error

        monkeypatch.setattr(Parts, "keep", watched)

    def taken(self):
        names, self.names, self.until = self.names, [], None
        return names


def document(folder, command):
    found = json.loads((folder / f"{command}.json").read_text())
    if command == "symmetry":
        for of_structure in found["structures"].values():
            for row in of_structure["rows"]:
                row.pop("seconds")
    return found


def compare(found, expected, tolerance, place=""):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            compare(found[key], expected[key], tolerance, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for k, values in enumerate(zip(found, expected, strict=True)):
            compare(*values, tolerance, f"{place}[{k}]")
    elif isinstance(expected, float) and tolerance:
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), place
    else:
        assert found == expected, place


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=needs_phono3py if c == "conductivity" else ()) for c in COMMANDS]
)
@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_command_goes_on_with_the_same_numbers(command, after, here, monkeypatch):
    """Nothing that was done is done again."""
    watched = Watched(monkeypatch)
    assert invoke(command, "whole").exit_code == 0
    every = watched.taken()
    after = min(after, len(every))
    watched.until = after
    ended = invoke(command, "ended")
    assert (
        ended.exit_code == 130
        and "interrupted: the same command goes on with what is finished, in ended" in ended.stderr
    )
    first = watched.taken()
    assert first == every[:after] and f"{command}.parts.json" in names_in(here / "ended")
    option, before, now = OTHERS[command]
    if command != "evaluate":
        refused = invoke(command, "ended", option, now)
        assert f"those of other settings: {option} {before}, now {option} {now};" in str(refused.output)
    again = invoke(command, "ended")
    assert again.exit_code == 0 and "going on with what an interrupted run has finished" in again.stderr
    assert [name for name in watched.taken() if name != "begun"] == [n for n in every[after:] if n != "begun"]
    compare(document(here / "ended", command), document(here / "whole", command), TOLERANCES[command])
    assert names_in(here / "ended") == names_in(here / "whole")


def test_parts_of_other_settings_are_replaced_with_overwrite(here, monkeypatch):
    watched = Watched(monkeypatch)
    watched.until = 5
    assert invoke("elastic", "out").exit_code == 130
    watched.taken()
    assert invoke("elastic", "out", "--strain", "0.01", "--overwrite").exit_code == 0
    assert len(watched.taken()) == 1 + 6 * 2
    assert json.loads((here / "out" / "elastic.json").read_text())["settings"]["strain"] == 0.01


def test_parts_of_another_version_are_refused(here, monkeypatch):
    """As by relax and validate."""
    watched = Watched(monkeypatch)
    watched.until = 2
    assert invoke("eos", "out").exit_code == 130
    original = provenance.versions
    monkeypatch.setattr(provenance, "versions", lambda: original() | {"torch": "9.9"})
    found = invoke("eos", "out")
    assert found.exit_code == 1 and "now `torch='9.9'`" in found.output


def test_without_a_folder_nothing_is_kept(here):
    result = CliRunner().invoke(cli.main, ["eos", "snnp-si", "crystal.extxyz", "--volumes", "5"])
    assert result.exit_code == 0
    assert names_in(here) == ["crystal.extxyz", "labelled.extxyz"]


def test_a_function_goes_on_from_its_checkpoint(here, monkeypatch):
    """With the relaxed crystal, too. Oracle: the same without."""
    atoms, options = bulk("Si"), {"strains": 2, "clamped": True}
    whole = elastic_constants(atoms, "snnp-si", **options)
    watched = Watched(monkeypatch)
    watched.until = 4
    with pytest.raises(KeyboardInterrupt):
        elastic_constants(atoms, "snnp-si", **options, checkpoint="strains.json")
    assert watched.taken()[0] == "relaxed"
    found = elastic_constants(atoms, "snnp-si", **options, checkpoint="strains.json")
    assert len(watched.taken()) == 1 + 6 * 2 - 4
    assert found.stiffness == pytest.approx(whole.stiffness, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"structures": [bulk("Cu", a=3.7)]}, "another `structure`"),
        ({"strain": 0.01}, "`strain=0.005`, now `strain=0.01`"),
        ({"calculator": LennardJones(sigma=2.3, rc=5.0)}, "`sigma=2.2`, now `sigma=2.3`"),
        ({"calculator": EMT()}, "`class="),
        ({"calculator": Wrong(sigma=2.2, rc=5.0)}, "`class="),
    ],
)
def test_a_checkpoint_of_another_run_is_replaced_with_a_line(changed, why, tmp_path):
    run = {"structures": [bulk("Cu")], "calculator": LennardJones(sigma=2.2, rc=5.0), "strain": 0.005}
    path = tmp_path / "parts.json"
    for _ in range(2):
        with parts_of(path, **run) as parts:
            parts.once("one", lambda: 1)
    assert parts.before == 1
    with pytest.warns(UserWarning, match=f"holds parts of another run .{why}.*: all are computed anew"):
        assert parts_of(path, **run | changed).found == {}


def test_a_foreign_calculator_that_gives_another_energy_is_another_one(tmp_path):
    """Whatever it says of itself."""
    for shift in (0.0, 0.1):
        calculator = Wrong(sigma=2.2, rc=5.0)
        calculator.shift = shift
        if shift:
            with pytest.warns(UserWarning, match="`energy="):
                parts_of(tmp_path / "parts.json", [bulk("Cu")], calculator)
        else:
            with parts_of(tmp_path / "parts.json", [bulk("Cu")], calculator) as parts:
                parts.keep("one", 1)


# ---- forces of supercells, in a file of their own ----------------------------------------------------------

PHONONS = ["phonons", "--mesh", "2", "2", "2"]
CONDUCTIVITY = COMMANDS["conductivity"][1:]
FORCES = {
    "phonons": (PHONONS, "out/crystal/forces.npz", "out/crystal/phonons"),
    "conductivity": (["conductivity", *CONDUCTIVITY], "out/conductivity.forces.npz", "out/conductivity"),
    "not relaxed": (
        ["conductivity", *CONDUCTIVITY, "--no-relax"],
        "out/conductivity.forces.npz",
        "out/conductivity",
    ),
}
with_forces = pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=() if k == "phonons" else needs_phono3py) for k in FORCES]
)


def invoke_with_forces(kind, *more):
    command, *given = FORCES[kind][0]
    supercell = ["--supercell", "1", "1", "1"] if command == "phonons" else []
    line = [command, "snnp-si", "crystal.extxyz", *given, *supercell, "-o", "out", *more]
    return CliRunner().invoke(cli.main, line)


@pytest.fixture
def ended(kind, here, monkeypatch):
    """Forces of a command that was ended just after the first, as by a kill: what counts is there before."""
    crystal = bulk("Si", a=5.431, cubic=True)
    ase.io.write("crystal.extxyz", crystal)
    _, forces, results = FORCES[kind]
    add = Checkpoint.add

    def killed(checkpoint, *arguments):
        assert (here / f"{results}.parts.json").exists()  # before the forces are
        add(checkpoint, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "add", killed)
        assert invoke_with_forces(kind).exit_code == 130
    return here / forces


@with_forces
def test_forces_of_other_settings_are_refused_and_nothing_is_lost(kind, ended, here):
    before = ended.read_bytes()
    distance = "0.01" if kind == "phonons" else "0.03"
    refused = invoke_with_forces(kind, "--distance", "0.02")
    assert refused.exit_code == 1, refused.output
    assert f"those of other settings: --distance {distance}, now --distance 0.02; choose" in refused.stderr
    ase.io.write("crystal.extxyz", bulk("Si", a=5.432, cubic=True))
    refused = invoke_with_forces(kind)
    assert refused.exit_code == 1 and "those of other settings: another STRUCTURE" in refused.stderr
    assert ended.read_bytes() == before
    assert invoke_with_forces(kind, "--overwrite").exit_code == 0
    assert ended.read_bytes() != before


@with_forces
def test_forces_of_the_same_settings_are_gone_on_with(kind, ended, here, monkeypatch):
    counts, add = [], Checkpoint.add
    monkeypatch.setattr(Checkpoint, "add", lambda *given: (add(*given), counts.append(1)))
    assert invoke_with_forces(kind).exit_code == 0
    again = len(counts)
    assert not (here / f"{FORCES[kind][2]}.parts.json").exists()
    ended.unlink()
    assert invoke_with_forces(kind).exit_code == 0
    assert len(counts) - again == again + 1


@pytest.mark.parametrize("kind", ["phonons"])
def test_forces_of_unknown_settings_are_not_replaced(kind, ended, here, monkeypatch):
    """Those of an earlier version, without settings beside them; --overwrite goes on where they are right."""
    (here / "out" / "crystal" / "phonons.parts.json").unlink()
    before = ended.read_bytes()
    refused = invoke_with_forces(kind)
    assert (
        refused.exit_code == 1 and "got forces of which the settings are not known; choose" in refused.stderr
    )
    assert ended.read_bytes() == before
    counts, add = [], Checkpoint.add
    monkeypatch.setattr(Checkpoint, "add", lambda *given: (add(*given), counts.append(1)))
    assert invoke_with_forces(kind, "--overwrite").exit_code == 0 and len(counts) == 1


@pytest.mark.parametrize("kind", ["phonons", pytest.param("not relaxed", marks=needs_phono3py)])
def test_a_command_that_made_no_forces_leaves_nothing_that_would_be_refused(kind, here):
    """A crystal away from its minimum is an error of some settings, and none of others.

    Conductivity that relaxes first finds the minimum, and keeps it.
    """
    crystal = bulk("Si", a=5.431, cubic=True)
    crystal.rattle(0.05, seed=1)
    ase.io.write("crystal.extxyz", crystal)
    stopped = invoke_with_forces(kind, *(["--no-relax"] if kind == "phonons" else []))
    assert stopped.exit_code == 1 and "needs a relaxed structure" in stopped.stderr
    assert not [path for path in (here / "out").rglob("*") if path.is_file()]
