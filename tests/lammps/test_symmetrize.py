"""Averaging over rotations in LAMMPS: the numbers of the ASE calculator, on any number of ranks."""

import numpy as np
import pytest
from ase.build import bulk
from harness import PRESSURE, Case, check_case, read_frames
from structures import diamond, triclinic

from ase_mlip import MLIPCalculator
from ase_mlip.rotations.averaging import random_rotation
from ase_mlip.rotations.rotation_file import write_rotations
from ase_mlip.rotations.schemes import find_averaging

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, 2, pytest.param(3, marks=slow)])
BOTH = ["octahedral", "icosahedral"]


class Rotated:
    """The plain calculator on a structure seen from another frame, with forces and stress rotated back."""

    def __init__(self, calculator, matrix: np.ndarray):
        self.calculator, self.matrix = calculator, matrix

    def calculate(self, atoms, *arguments):
        rotated = atoms.copy()
        rotated.set_cell(atoms.cell.array @ self.matrix.T)
        rotated.positions = atoms.positions @ self.matrix.T
        self.calculator.calculate(rotated)
        return self.calculator.results


@RANKS
@pytest.mark.parametrize("scheme", [s if s == "octahedral" else pytest.param(s, marks=slow) for s in BOTH])
@pytest.mark.parametrize("model", ["two", pytest.param("pet-si", marks=slow)])
def test_average_is_that_of_ase(parallel, models, tmp_path, model, scheme, ranks):
    pair = models.pair(model, options=f"symmetrize {scheme}")
    case = Case(triclinic(), pair=pair, fixes="fix move all nve\ntimestep 0.001", commands="run 2", every=2)
    check_case(parallel, case, tmp_path, models.calculator(model, symmetrize=scheme), ranks=ranks)


def test_inversion_is_averaged_over_too(lammps, models, tmp_path):
    case = Case(triclinic(), pair=models.pair("one", options="symmetrize octahedral+inversion"))
    check_case(lammps, case, tmp_path, models.calculator("one", symmetrize="octahedral+inversion"))


@RANKS
def test_a_rule_comes_from_a_file(parallel, models, tmp_path, ranks):
    write_rotations(find_averaging("lebedev 3"), tmp_path / "rotations.txt")
    case = Case(triclinic(), pair=models.pair("two", options="symmetrize file rotations.txt"))
    check_case(parallel, case, tmp_path, models.calculator("two", symmetrize="lebedev 3"), ranks=ranks)


def test_a_crystals_group_comes_from_a_file(lammps, models, tmp_path):
    """The numbers of ASE with the same crystal, and boxes that the group does not keep are refused."""
    crystal = bulk("Si", cubic=True)
    write_rotations(find_averaging(crystal), tmp_path / "group.txt")
    case = Case(diamond(1, 0.1), pair=models.pair("one", options="symmetrize file group.txt"))
    calculator = MLIPCalculator(models.path("one"), dtype="float64", symmetrize=crystal)
    check_case(lammps, case, tmp_path, calculator)
    case.atoms = triclinic()
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert any("do not map this box onto itself" in line for line in output.errors), output.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`rotations.txt`: cannot be read"),
        ("1 0 0 0 1 0 0 0 1\n", "expected `ase_mlip rotations 1`"),
        ("ase_mlip rotations 1\nx\nany 1\n1 2 0 0 0 1 0 0 0 1\n", "matrix 1 of 1 is incomplete or not"),
        ("ase_mlip rotations 1\nx\nany 2\n1 1 0 0 0 1 0 0 0 1\n", "expected 2 matrices"),
        ("ase_mlip rotations 1\nx\nany 1\n0.5 1 0 0 0 1 0 0 0 1\n", "weights of sum 1"),
        ("ase_mlip rotations 1\nx\nany 1\n1 1 0 0 0 1 0 0 0 one\n", "matrix 1 of 1 is incomplete"),
    ],
)
def test_a_wrong_file_is_refused(lammps, models, tmp_path, text, message):
    if text is not None:
        (tmp_path / "rotations.txt").write_text(text)
    case = Case(diamond(1, 0.1), pair=models.pair("one", options="symmetrize file rotations.txt"))
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    assert any(message in line for line in output.errors), output.text


@RANKS
def test_direct_forces_are_averaged(parallel, models, tmp_path, ranks):
    pair = models.pair("direct-stress", options="forces direct symmetrize octahedral")
    case = Case(triclinic(), pair=pair)
    calculator = models.calculator("direct-stress", forces="direct", symmetrize="octahedral")
    check_case(parallel, case, tmp_path, calculator, ranks=ranks)


@RANKS
@pytest.mark.parametrize("forces", ["conservative", pytest.param("direct", marks=slow)])
def test_spread_reaches_fix_pair(parallel, models, tmp_path, forces, ranks):
    pair = models.pair("direct-stress", options=f"forces {forces} symmetrize octahedral")
    case = Case(triclinic(), pair=pair, every=1, commands="run 2")
    case.fixes = "fix spread all pair 1 mlip forces_spread 1\nfix move all nve\ntimestep 0.001"
    case.write(tmp_path)
    script = case.script().replace("\nrun 2", "\ndump spread all custom 1 spread.dump id f_spread\n"
                                   "dump_modify spread sort id format float %.16g\nrun 2")  # fmt: skip
    frames = read_frames(case, parallel.run(script, tmp_path, ranks=ranks))
    calculator = models.calculator("direct-stress", forces=forces, symmetrize="octahedral")
    text = (tmp_path / "spread.dump").read_text().split("ITEM: ATOMS id f_spread\n")[1:]
    assert len(text) == len(frames) == 3
    for frame, lines in zip(frames[1:], text[1:], strict=True):
        found = [float(line.split()[1]) for line in lines.split("ITEM")[0].splitlines()]
        calculator.calculate(frame.atoms)
        np.testing.assert_allclose(found, calculator.diagnostics["forces_spread"], atol=1e-8)
        assert min(found) > 1e-5


@RANKS
@pytest.mark.parametrize("forces", ["conservative", pytest.param("direct", marks=slow)])
def test_spread_of_energy_and_pressure_reaches_compute_pair(parallel, models, tmp_path, forces, ranks):
    pair = models.pair("direct-stress", options=f"forces {forces} symmetrize octahedral")
    case = Case(triclinic(), pair=pair)
    names = " ".join(f"c_spread[{k}]" for k in range(1, 11))
    case.fixes = f"compute spread all pair mlip\nfix out all ave/time 1 1 1 {names} file spread.txt"
    case.fixes += " format ' %.16g'"
    case.write(tmp_path)
    frame = read_frames(case, parallel.run(case.script(), tmp_path, ranks=ranks))[0]
    found = np.array((tmp_path / "spread.txt").read_text().splitlines()[-1].split()[1:], dtype=float)
    calculator = models.calculator("direct-stress", forces=forces, symmetrize="octahedral")
    calculator.calculate(frame.atoms)
    spreads = calculator.diagnostics
    assert found[0] == pytest.approx(spreads["energy_spread"], rel=1e-8)
    pressures = PRESSURE["metal"] * spreads["stress_spread"][[0, 1, 2, 5, 4, 3]]
    np.testing.assert_allclose(found[1:7], pressures, rtol=1e-7)
    of_forces = spreads["forces_spread"]
    np.testing.assert_allclose(found[7:], [of_forces.max(), of_forces.mean(), of_forces.min()], rtol=1e-7)
    assert found.min() > 0


@pytest.fixture(scope="module")
def crystal_model(tmp_path_factory):
    """PET averaged over the 48 operations of diamond, as ``ase-mlip`` users export it."""
    from networks import export_pet

    from ase_mlip import SymmetrizedModel, export_model, load_model
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    path = tmp_path_factory.mktemp("crystal") / "crystal.pt"
    plain = load_model(export_pet(path, species=(14,), num_gnn_layers=1), dtype="float64")
    hypers = {key: value for key, value in plain.info.architecture.items() if key != "name"}
    network = PET(PETHypers(**hypers)).double()
    network.load_state_dict(plain.module.network.network.state_dict())
    chosen = find_averaging(bulk("Si"))
    metadata = {"name": "crystal", "species": [14], "cutoff": 3.5, "message_passing_layers": 1}
    metadata |= {"interaction_range": 3.5, "symmetrization": {"scheme": "crystal", "lattice": True}}
    export_model(SymmetrizedModel(network, chosen.rotations, chosen.weights), path, metadata)
    return path


def test_a_box_that_keeps_the_crystals_group_is_accepted(lammps, models, tmp_path, crystal_model):

    pair = f"pair_style mlip device cpu\npair_coeff * * {crystal_model} Si"
    check_case(lammps, Case(diamond(2, 0.1), pair=pair), tmp_path, MLIPCalculator(crystal_model))


@pytest.mark.parametrize("atoms", [triclinic(), diamond(1, 0.1).repeat((1, 1, 2))], ids=["triclinic", "long"])
def test_a_box_that_breaks_the_crystals_group_is_refused(lammps, models, tmp_path, crystal_model, atoms):

    pair = f"pair_style mlip device cpu\npair_coeff * * {crystal_model} Si"
    case = Case(atoms, pair=pair)
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    assert any("do not map this box onto itself" in line for line in output.errors), output.text
    case.pair = pair.replace("cpu", "cpu check_lattice no")
    allowed = MLIPCalculator(crystal_model, check_lattice=False)
    check_case(lammps, case, tmp_path, allowed)


@RANKS
def test_random_rotates_anew_at_every_step(parallel, models, tmp_path, ranks):
    """The rotation follows from seed and step alone: the same on all ranks and in Python."""
    pair = models.pair("two", options="symmetrize random 11")
    case = Case(triclinic(), pair=pair, fixes="fix move all nve\ntimestep 0.001\nreset_timestep 4", every=1)
    case.commands = "run 2"
    case.write(tmp_path)
    frames = read_frames(case, parallel.run(case.script(), tmp_path, ranks=ranks))
    energies = []
    for frame, step in zip(frames, (4, 5, 6), strict=True):
        matrix = random_rotation(11, step)
        results = Rotated(models.calculator("two"), matrix).calculate(frame.atoms)
        assert frame.energy == pytest.approx(results["energy"], rel=1e-9)
        np.testing.assert_allclose(frame.forces, results["forces"] @ matrix, atol=1e-8)
        energies.append(frame.energy)
    assert len(set(energies)) == 3


def test_exported_averaging_is_kept_and_can_be_left_out(lammps, models, tmp_path):
    from ase_mlip import SymmetrizedModel, export_model
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    sizes = {"d_pet": 16, "d_node": 24, "d_head": 16, "d_feedforward": 32, "num_heads": 2}
    network = PET(PETHypers(species=[14], cutoff=4.0, num_gnn_layers=1, **sizes)).double()
    chosen = find_averaging("octahedral")
    path = tmp_path / "averaged.pt"
    metadata = {
        "name": "a",
        "species": [14],
        "cutoff": 4.0,
        "message_passing_layers": 1,
        "interaction_range": 4.0,
    }
    metadata["symmetrization"] = {"scheme": "octahedral"}
    export_model(SymmetrizedModel(network, chosen.rotations, chosen.weights), path, metadata)
    for options, scheme in {
        "": None,
        "symmetrize none": "none",
        "symmetrize icosahedral": "icosahedral",
    }.items():
        pair = f"pair_style mlip device cpu {options}\npair_coeff * * {path} Si"
        calculator = MLIPCalculator(path, symmetrize=scheme)
        folder = tmp_path / (scheme or "exported")
        folder.mkdir()
        check_case(lammps, Case(triclinic(), pair=pair), folder, calculator)


@pytest.mark.parametrize(
    ("options", "commands", "message"),
    [
        ("symmetrize octahedral+mirror", "run 0", "unexpected `symmetrize octahedral+mirror`"),
        ("symmetrize cubic", "run 0", "unexpected `symmetrize cubic`"),
        ("symmetrize random", "run 0", "unexpected `symmetrize random`"),
        ("symmetrize random x", "run 0", "x"),
        ("symmetrize random 3", "minimize 0 1e-3 1 1", "a minimisation needs one energy surface"),
    ],
)
def test_what_makes_no_sense_is_refused(lammps, models, tmp_path, options, commands, message):
    case = Case(diamond(1, 0.1), pair=models.pair("two", options=options), commands=commands)
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    assert any(message in line for line in output.errors), output.text


def test_log_says_what_is_averaged(lammps, models, tmp_path):
    case = Case(diamond(1, 0.1), pair=models.pair("two", options="symmetrize octahedral"))
    case.write(tmp_path)
    assert "averaged over 24 rotations (octahedral)" in lammps.run(case.script(), tmp_path).text


@RANKS
def test_random_is_the_same_after_a_restart(parallel, models, tmp_path, ranks):
    """The rotation follows from the step, which the restart file holds: the run goes on as before."""
    pair = models.pair("two", options="symmetrize random 11")
    case = Case(triclinic(), pair=pair, fixes="fix move all nve\ntimestep 0.001", every=1)
    case.commands = "run 3\nwrite_restart middle.restart\nrun 3"
    case.write(tmp_path)
    whole = read_frames(case, parallel.run(case.script(), tmp_path, ranks=ranks))
    script = f"units metal\nread_restart middle.restart\n{pair}\n{case.fixes}\n{case.output()}\nrun 3\n"
    resumed = read_frames(case, parallel.run(script, tmp_path, ranks=ranks))
    assert [frame.step for frame in resumed] == [3, 4, 5, 6]
    expected = {frame.step: frame for frame in whole}
    for frame in resumed:
        assert frame.energy == pytest.approx(expected[frame.step].energy, rel=1e-10)
        np.testing.assert_allclose(frame.forces, expected[frame.step].forces, atol=1e-8)
        matrix = random_rotation(11, frame.step)
        results = Rotated(models.calculator("two"), matrix).calculate(frame.atoms)
        assert frame.energy == pytest.approx(results["energy"], rel=1e-9)


def test_random_is_refused_under_respa(lammps, models, tmp_path):
    respa = "fix move all nve\nrun_style respa 2 2 inner 1 3.0 4.0 outer 2\ntimestep 0.002"
    case = Case(diamond(1, 0.1), pair=models.pair("direct-stress", options="symmetrize random 3"))
    case.fixes, case.commands = respa, "run 2"
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    assert any("run_style respa needs one energy surface" in line for line in output.errors), output.text
