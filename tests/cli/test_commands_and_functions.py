"""Functions take the words of ``--symmetrize`` and give the numbers of the commands.

It also tests `models.evaluate`, `simulations.thermostat`.
"""

import json

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import CliRunner
from optional_packages import HAS_PHONO3PY, needs_phono3py
from toy import AnisotropicNetwork, export_toy

import ase_mlip
from ase_mlip import MLIPCalculator
from ase_mlip.cli import program as cli
from ase_mlip.errors import StructureError

A = 4.26  # Å, near the minimum of the network
FLOAT64 = ("--dtype", "float64", "--device", "cpu")
COMMANDS = {  # quick options of the command, and the same of the function
    "elastic": (
        ("--no-relax", "--clamped", "--strains", 2),
        ase_mlip.elastic_constants,
        {"clamped": True, "strains": 2},
    ),
    "eos": (("--no-relax", "--volumes", 5), ase_mlip.equation_of_state, {"volumes": 5}),
    "conductivity": (
        ("--no-relax", "--supercell", 1, 1, 1, "--mesh", 1, 1, 1, "--pair-cutoff", 0.1),
        ase_mlip.thermal_conductivity,
        {"supercell_matrix": (1, 1, 1), "mesh": (1, 1, 1), "pair_cutoff": 0.1},
    ),
}
NUMBERS = {"elastic": "stiffness", "eos": "energies", "conductivity": "lowest_frequency"}
pytestmark = [
    pytest.mark.filterwarnings("ignore::ase_mlip.errors.SupercellWarning"),
    pytest.mark.filterwarnings("ignore::ase_mlip.errors.ResidualWarning"),  # of a random network
]


def invoke(*arguments) -> dict:
    result = CliRunner().invoke(cli.main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0 or result.stdout, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network of a random anisotropy; a crystal, displaced, and its primitive cell in another frame."""
    folder = tmp_path_factory.mktemp("averaged")
    export_toy(folder / "rough.pt", AnisotropicNetwork([14], 4.0), reference_energies={"Si": 0.0})
    crystal = bulk("Si", a=A, cubic=True)
    write(folder / "crystal.extxyz", crystal)
    primitive = bulk("Si", a=A)
    primitive.rotate(20.0, (1, 2, 3), rotate_cell=True)  # which the octahedral group does not keep
    write(folder / "primitive.extxyz", primitive)
    crystal.rattle(0.05, seed=0)
    write(folder / "rattled.extxyz", crystal)
    return folder


@pytest.mark.parametrize("scheme", ["octahedral", "crystal"])
def test_relax(scheme, files):
    model, rattled, crystal = files / "rough.pt", files / "rattled.extxyz", files / "crystal.extxyz"
    extra = ("--crystal", crystal) if scheme == "crystal" else ()
    options = ("--symmetrize", scheme, *extra, "--steps", 2, "--cell", "full", *FLOAT64)
    row = invoke("relax", model, rattled, *options)["structures"]["rattled"]
    group = {"crystal": read(crystal)} if scheme == "crystal" else {}
    few = {"steps": 2, "cell": True, "check_noise": False}
    calculator = MLIPCalculator(model, dtype="float64")
    found = ase_mlip.relax(rattled, calculator, symmetrize=scheme, **group, **few)
    assert row["energy"] == pytest.approx(found.energy, abs=1e-8)
    assert row["fmax"] == pytest.approx(found.fmax, abs=1e-8)
    assert found.averaging == ("crystal m-3m" if scheme == "crystal" else "octahedral")
    if scheme == "octahedral":  # oracle: the calculator's own averaging
        calculator = MLIPCalculator(model, dtype="float64", symmetrize=scheme)
        other = ase_mlip.relax(rattled, calculator, **few)
        assert found.energies == pytest.approx(other.energies, abs=1e-9)


@pytest.mark.parametrize(
    ("command", "scheme"),
    [
        *(("elastic", "octahedral"), ("elastic", "crystal"), ("eos", "octahedral"), ("eos", "crystal")),
        ("conductivity", "crystal"),  # any other leaves forces, which are refused
    ],
)
def test_statics(command, scheme, files):
    if command == "conductivity" and not HAS_PHONO3PY:
        pytest.skip("needs phono3py")
    options, function, arguments = COMMANDS[command]
    given = files / "primitive.extxyz", files / "rough.pt"
    document = invoke(command, *given[::-1], *options, "--symmetrize", scheme)
    arguments = arguments | {"relax_first": False}
    found = function(*given, symmetrize=scheme, **arguments)
    allowed = {"max_residual": 1.0} if command == "conductivity" else {}
    plain = function(*given, **arguments, **allowed)
    numbers, same, other = (
        np.ravel(values[NUMBERS[command]]) for values in (document, found.to_dict(), plain.to_dict())
    )
    assert numbers == pytest.approx(same, abs=1e-7)
    if (command, scheme) != ("eos", "crystal"):  # whose cells have the symmetry of the crystal
        assert numbers != pytest.approx(other, abs=1e-5)
    assert document["averaging"] == found.averaging == {"crystal": "crystal m-3m"}.get(scheme, scheme)


@pytest.fixture
def strained(tmp_path):
    """Silicon far from the minimum of snnp-si: sheared, stretched, and with a displaced atom."""
    crystal = bulk("Si", a=5.6)
    crystal.set_cell(crystal.cell.array @ np.diag([1.01, 1.0, 0.99]), scale_atoms=True)
    crystal.positions[0, 0] += 0.03
    write(tmp_path / "strained.extxyz", crystal)
    return tmp_path / "strained.extxyz"


RELAX_OPTIONS = [(), ("--no-keep-space-group",), ("--relax-fmax", 0.01), ("--no-relax",)]


@needs_phono3py
def test_both_refuse_the_conductivity_of_a_crystal_that_is_not_relaxed(strained):
    quick, function, arguments = COMMANDS["conductivity"]
    result = CliRunner().invoke(cli.main, ["conductivity", "snnp-si", *map(str, (strained, *quick))])
    assert result.exit_code == 1 and "needs a relaxed structure" in result.stderr
    with pytest.raises(StructureError, match="needs a relaxed structure"):
        function(strained, "snnp-si", **arguments, relax_first=False)


@pytest.mark.filterwarnings("ignore:.*compare with elastic constants")  # from a strained crystal
@pytest.mark.parametrize(
    ("command", "options"),
    [
        pytest.param(command, options, marks=needs_phono3py if command == "conductivity" else ())
        for command in COMMANDS
        for options in RELAX_OPTIONS
        if (command, options) != ("conductivity", ("--no-relax",))  # which both refuse
    ],
)
def test_both_relax_first_alike(command, options, strained):
    """By default, and with each option; what is said of the relaxation is the same, too."""
    quick, function, arguments = COMMANDS[command]
    named = {
        (): {},
        ("--no-keep-space-group",): {"keep_space_group": False},
        ("--relax-fmax", 0.01): {"relax_fmax": 0.01},
        ("--no-relax",): {"relax_first": False},
    }[options]
    wide = {"eos": (("--volume-change", 0.3), {"volume_change": 0.3})}.get(command, ((), {}))
    document = invoke(command, "snnp-si", strained, *quick[1:], *wide[0], *options)
    found = function(strained, "snnp-si", **arguments, **wide[1], **named)
    same, name = found.to_dict(), NUMBERS[command]
    assert np.ravel(document[name]) == pytest.approx(np.ravel(same[name]), abs=1e-6)
    assert document["relaxation"].keys() == same["relaxation"].keys()
    assert document["relaxation"].get("steps") == same["relaxation"].get("steps")
    if options == ("--no-relax",):
        assert found.relaxation is None and same["relaxation"] == {}
    else:
        alone = ase_mlip.relax(
            strained, MLIPCalculator("snnp-si", dtype="float64"), cell=True, fmax=1e-5,
            keep_space_group=True, check_noise=False,
        )  # fmt: skip
        reached = {"rel": 1e-3 if options[:1] == ("--relax-fmax",) else 1e-4}
        assert found.relaxation.atoms.get_volume() == pytest.approx(alone.volume, **reached)


@pytest.mark.parametrize("scheme", ["octahedral", "crystal"])
def test_phonons(scheme, files, tmp_path):
    """The relaxation of the command has the averaged model, too."""
    given = files / "primitive.extxyz", files / "rough.pt"
    options = ("--supercell", 2, 2, 2, "--mesh", 2, 2, 2, "--symmetrize", scheme, "-o", tmp_path / "out")
    document = invoke("phonons", *given[::-1], *options)["structures"]["primitive"]
    arguments = {"supercell_matrix": (2, 2, 2), "mesh": (2, 2, 2)}
    found = ase_mlip.phonons(*given, symmetrize=scheme, **arguments)
    assert document["gamma"] == pytest.approx(found.to_dict()["gamma"], abs=1e-4)
    assert document["averaging"] == found.averaging
    volume = found.relaxation.volume
    if scheme == "octahedral":  # oracle: the calculator's own averaging
        averaged = MLIPCalculator(given[1], dtype="float64", symmetrize=scheme)
        other = ase_mlip.phonons(given[0], averaged, **arguments)
        assert other.relaxation.volume == pytest.approx(volume, abs=1e-9)
        assert other.gamma_frequencies == pytest.approx(found.gamma_frequencies, abs=1e-6)


@pytest.mark.parametrize("scheme", ["octahedral", "crystal"])
def test_dynamics(scheme, files):
    model, rattled, crystal = files / "rough.pt", files / "rattled.extxyz", files / "crystal.extxyz"
    options = ("--time", 0.002, "--interval", 1, "--replicas", 1, "--symmetrize", scheme, *FLOAT64)
    extra = ("--crystal", crystal) if scheme == "crystal" else ()
    (replica,) = invoke("md", model, rattled, *options, *extra)["replicas"]
    calculator = MLIPCalculator(model, dtype="float64")
    arguments = {"time": 2 * units.fs, "interval": 1, "replicas": 1, "temperature_K": 300.0}
    chosen = read(crystal) if scheme == "crystal" else scheme
    found = ase_mlip.md_stability(rattled, calculator, symmetrize=chosen, **arguments)
    plain = ase_mlip.md_stability(rattled, calculator, **arguments)
    energies = found.replicas[0].total_energies
    assert replica["total_energies"] == pytest.approx(energies, abs=1e-8)
    assert energies != pytest.approx(plain.replicas[0].total_energies, abs=1e-5)


@pytest.mark.parametrize("scheme", ["octahedral", "crystal", "auto"])
def test_evaluate(scheme, files, tmp_path):
    """Oracle: the forces of a calculator that is averaged so. The references are the plain model's."""
    model, crystal = files / "rough.pt", files / "crystal.extxyz"
    frames = [read(crystal) for _ in range(2)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
        found = MLIPCalculator(model, dtype="float64").evaluate([atoms], ("energy", "forces"))[0]
        atoms.calc = SinglePointCalculator(atoms, **found)
    write(tmp_path / "frames.extxyz", frames)
    extra = {"crystal": ("--crystal", crystal), "auto": ("--tolerance", 0.05)}.get(scheme, ())
    frames_file = tmp_path / "frames.extxyz"
    document = invoke("evaluate", model, frames_file, "--symmetrize", scheme, *extra, *FLOAT64)
    chosen = read(crystal) if scheme == "crystal" else scheme
    averaged = MLIPCalculator(model, dtype="float64", symmetrize=chosen, tolerance=0.05)
    forces = [found["forces"] for found in averaged.evaluate(frames, ("forces",))]
    away = np.subtract(forces, [atoms.get_forces() for atoms in frames])
    plain = MLIPCalculator(model, dtype="float64", tolerance=0.05)
    found = ase_mlip.evaluate(plain, frames, symmetrize=chosen)
    assert found.forces_rmse == pytest.approx(np.sqrt(np.mean(away**2)), rel=1e-6)
    assert document["forces_rmse"] == pytest.approx(found.forces_rmse, rel=1e-5)
    assert found.forces_rmse > 1e-3
