"""The numbers do not depend on how LAMMPS divides the box, nor on what ghosts it sends home by itself."""

import pytest
from ase import Atoms
from harness import Case, check_case
from structures import PETS, STRUCTURES, case_of, corner, diamond, silicon_oxygen, slow_unless, triclinic

slow = pytest.mark.slow
GRIDS = [(2, "2 1 1"), (2, "1 1 2"), (3, "1 3 1"), (3, "3 1 1"), (4, "2 2 1"), (4, "1 1 4"), (4, "1 2 2")]
QUICK = {
    ("two-adaptive", "triclinic", 2, "2 1 1"),
    ("two", "corner", 3, "1 3 1"),
    ("one", "slab", 2, "1 1 2"),
}
MATRIX = {
    *QUICK,
    *((model, "rattled", ranks, grid) for model in PETS for ranks, grid in GRIDS),
    *(("two-adaptive", name, 2, "1 2 1") for name in STRUCTURES),
    *(("two", name, 4, "2 2 1") for name in STRUCTURES),
    *(("one-adaptive", name, 3, "* * *") for name in STRUCTURES),
}
BALANCE = "fix balance all balance 1 1.0 rcb"
SETTINGS = {
    "newton off": {"before": "newton off"},
    "tiled": {
        "before": "comm_style tiled",
        "middle": "neighbor 1.0 bin",
        "fixes": BALANCE,
        "commands": "run 2",
    },
    "shifted planes": {
        "fixes": "balance 0.9 shift xyz 10 1.05\nfix balance all balance 1 0.9 shift xyz 5 1.05"
    },
    "no ids": {"before": "atom_modify id no", "ids": 64 * [0]},
    "map array": {"before": "atom_modify map array"},
    "non-consecutive ids": {"ids": [7 + 13 * k for k in range(64)]},
    "no sorting": {"before": "atom_modify sort 0 0"},
    "first group": {"before": "comm_modify vel yes"},
    "brick with a long cutoff": {"middle": "comm_modify cutoff 15.0"},
    "list made by n^2": {"middle": "neighbor 1.0 nsq"},
    "wide skin": {"middle": "neighbor 4.0 bin"},
    "no skin": {"middle": "neighbor 0.0 bin"},
}


@pytest.mark.parametrize(("model", "name", "ranks", "grid"), slow_unless(QUICK, MATRIX))
def test_energy_forces_and_virial(parallel, models, tmp_path, model, name, ranks, grid):
    """Among them subdomains thinner than the halo, and ranks without atoms."""
    case = case_of(models, model, name, before=f"processors {grid}")
    check_case(parallel, case, tmp_path, models.calculator(model), ranks=ranks)


@pytest.mark.parametrize(
    ("name", "ranks", "newton"),
    [
        pytest.param("triclinic", 2, "on"),
        pytest.param("silicon_oxygen", 3, "off", marks=pytest.mark.slow),
        pytest.param("slab", 4, "on", marks=pytest.mark.slow),
        pytest.param("corner", 4, "off", marks=pytest.mark.slow),
        pytest.param("one_atom", 2, "on", marks=pytest.mark.slow),
    ],
)
def test_edges_of_ghosts_are_those_of_ase(parallel, models, tmp_path, name, ranks, newton):
    case = case_of(models, "census", name, before=f"newton {newton}")
    check_case(parallel, case, tmp_path, models.calculator("census"), ranks=ranks)


@pytest.mark.parametrize(
    "ranks", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "setting",
    [s if s in ("newton off", "no ids") else pytest.param(s, marks=pytest.mark.slow) for s in SETTINGS],
)
def test_settings_of_lammps_change_nothing(parallel, models, tmp_path, setting, ranks):
    atoms = diamond(2, rattle=0.1)
    model = "two" if setting == "tiled" else "two-adaptive"  # a tiled halo has to be thinner than the box
    case = Case(atoms, pair=models.pair(model), **SETTINGS[setting])
    check_case(parallel, case, tmp_path, models.calculator(model), ranks=ranks)


@slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("newton", ["on", "off"])
def test_tiles_of_a_box_that_is_mostly_empty(parallel, models, tmp_path, newton, ranks):
    case = Case(corner(), pair=models.pair("two-adaptive"), before=f"newton {newton}\ncomm_style tiled")
    case.fixes, case.commands = f"balance 1.0 rcb\n{BALANCE}\nfix move all nve", "run 3"
    check_case(parallel, case, tmp_path, models.calculator("two-adaptive"), ranks=ranks)


@pytest.mark.parametrize("newton", ["on", "off"])
def test_two_ranks_with_either_newton_setting(parallel, models, tmp_path, newton):
    case = Case(triclinic(), pair=models.pair("two"), before=f"newton {newton}")
    check_case(parallel, case, tmp_path, models.calculator("two"), ranks=2)


@pytest.mark.slow
@pytest.mark.parametrize("newton", ["on", "off"])
def test_atoms_move_between_ranks(parallel, models, tmp_path, newton):
    """Hot atoms cross borders; between LAMMPS' rebuilds the graph is kept."""
    case = Case(
        silicon_oxygen(2),
        pair=models.pair("two", ("O", "Si")),
        before=f"newton {newton}",
        fixes="velocity all create 4000 3 loop geom\nfix move all nve\ntimestep 0.001",
        every=10,
        commands="run 60",
    )
    frames = check_case(parallel, case, tmp_path, models.calculator("two"), ranks=4)
    assert len(frames) == 7


@pytest.mark.slow
def test_a_rank_that_loses_all_its_atoms(parallel, models, tmp_path):
    atoms = corner(side=24.0)
    case = Case(
        atoms,
        pair=models.pair("two"),
        before="processors 2 1 1",
        fixes="velocity all set 60 0 0\nfix move all nve\nneigh_modify every 1 delay 0 check yes",
        every=20,
        commands="run 200",
    )
    check_case(parallel, case, tmp_path, models.calculator("two"), ranks=2)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", ["216", "1000"])
def test_larger_crystals(parallel, models, tmp_path, name, ranks):
    case = case_of(models, "two-adaptive", name)
    check_case(parallel, case, tmp_path, models.calculator("two-adaptive"), ranks=ranks)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("model", ["pet-si", "pet-water"])
def test_shipped_potentials(parallel, models, tmp_path, model, ranks):
    if model == "pet-water":
        from ase.build import molecule

        atoms = molecule("H2O")
        atoms.set_cell([3.2, 3.3, 3.1])
        atoms.pbc = True
        atoms = atoms.repeat(2)
        atoms.rattle(0.05, seed=9)
        atoms.wrap()
    else:
        atoms = diamond(2, rattle=0.08)
    case = Case(Atoms(atoms), pair="")
    case.pair = models.pair(model, case.elements)
    check_case(parallel, case, tmp_path, models.calculator(model), ranks=ranks)
