"""Atoms that `neigh_modify exclude group X all` takes out count nothing, as if they had been deleted.

That is how `fix gcmc` tries what an atom's removal costs. The right numbers are those of the same run after
``delete_atoms``, and those of the ASE calculator on the atoms that are left.
"""

import re
from itertools import product

import numpy as np
import pytest
from harness import Case, read_thermo
from scipy.integrate import trapezoid
from snnp_models import known_model
from structures import diamond, silicon_oxygen, slow_unless

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, 2])
GONE = (1, 4, 6)  # ids
RESPA = "run_style respa 2 2 inner 1 2.0 3.0 outer 2"
DEVIATIONS = "forces_deviation"


@pytest.fixture(scope="module")
def snnp(tmp_path_factory):
    """An s-NNP whose data lack some of the distances of the structure."""
    return known_model(tmp_path_factory.mktemp("excluded"))


def mlip(files, keywords="") -> str:
    files = " ".join(map(str, files))
    return f"pair_style mlip device cpu dtype float64 {keywords}\npair_coeff * * {files} O Si"


KINDS = {  # models, keywords, commands before the run, what fix pair writes
    "PET": (["two-adaptive"], "", "", ""),
    "averaged": (["two"], "symmetrize octahedral", "", "forces_spread"),
    "direct": (["direct-stress"], "forces direct", "", ""),
    "respa": (["direct-stress"], "", RESPA, ""),
    "committee": (["two", "one-b"], "out_freq 1", "", DEVIATIONS),
    "direct committee": (["direct-stress", "direct-stress-b"], "forces direct out_freq 1", "", DEVIATIONS),
    "s-NNP": (["snnp"], "kernel native", "", "extrapolating"),
    "s-NNP by torch": (["snnp"], "kernel torch", "", "extrapolating"),
    "s-NNPs": (["snnp", "one-b"], "out_freq 1", "", "extrapolating"),
}


GROUP = f"group gone id {' '.join(map(str, GONE))}\n"
STAYS = "group stays subtract all gone\n"
OXYGEN = (2, 4, 6, 8)
WAYS = {  # commands, the ids that are gone by them, commands that take it back
    "group": (f"{GROUP}neigh_modify exclude group gone all", GONE, "neigh_modify exclude none"),
    "turned": (f"{GROUP}neigh_modify exclude group all gone", GONE, "neigh_modify exclude none"),
    "types": (
        "group gone type 1\nneigh_modify exclude type 1 1 exclude type 1 2",
        OXYGEN,
        "neigh_modify exclude none",
    ),
    "include": (
        f"{GROUP}{STAYS}atom_modify first stays\nneigh_modify include stays",
        GONE,
        "",  # LAMMPS cannot; all that is left is in the group
    ),
}


def case_of(models, snnp, kind: str, way: str) -> Case:
    names, keywords, before, extra = KINDS[kind]
    files = [snnp if name == "snnp" else models.path(name) for name in names]
    case = Case(silicon_oxygen(), pair=mlip(files, keywords), elements=["O", "Si"])
    exclude, _, back = WAYS[way]
    fixes = [before, "compute s all stress/atom NULL virial"]
    if extra:
        fixes.append(f"fix extra all pair 1 mlip {extra} 1")
    columns = " ".join(["id", "c_energies", "fx", "fy", "fz", "c_s[*]", *(["f_extra"] if extra else [])])
    dump = (
        f"dump all all custom 1 {{}} {columns}\ndump_modify all sort id format float %.17g\nrun 1\nundump all"
    )
    case.fixes = "\n".join(fixes)
    case.commands = (
        f"{exclude}\n{dump.format('excluded.dump')}\n{back}\ndelete_atoms group gone compress no\n"
        f"undump frames\nreset_timestep 10\n{dump.format('deleted.dump')}"
    )
    return case


def rows_of(path) -> np.ndarray:
    """The last frame of a dump."""
    lines = path.read_text().split("ITEM: ATOMS")[-1].splitlines()[1:]
    return np.array([line.split() for line in lines], dtype=float)


def check(lammps, models, snnp, folder, kind: str, way: str, ranks: int) -> None:
    case = case_of(models, snnp, kind, way)
    case.write(folder)
    lammps.run(case.script(), folder, ranks=ranks)
    thermo = read_thermo((folder / "log.lammps").read_text())
    np.testing.assert_allclose(thermo[1][0], thermo[11][0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(thermo[1][2:], thermo[11][2:], rtol=1e-9, atol=1e-4)
    excluded, deleted = rows_of(folder / "excluded.dump"), rows_of(folder / "deleted.dump")
    stays = ~np.isin(excluded[:, 0], WAYS[way][1])
    assert len(deleted) == len(case.atoms) - len(WAYS[way][1]) and np.abs(deleted[:, 2:5]).max() > 0.01
    np.testing.assert_allclose(excluded[stays], deleted, rtol=1e-9, atol=1e-9)
    assert np.all(excluded[~stays, 1:] == 0.0)


QUICK = {("PET", 2), ("averaged", 1), ("direct committee", 2), ("respa", 1), ("s-NNP", 2), ("s-NNPs", 1)}


@pytest.mark.parametrize(("kind", "ranks"), slow_unless(QUICK, product(KINDS, (1, 2))))
def test_excluded_is_deleted(parallel, models, snnp, tmp_path, kind, ranks):
    check(parallel, models, snnp, tmp_path, kind, "group", ranks)
    if "out_freq" in KINDS[kind][1]:
        lines = (tmp_path / "model_devi.out").read_text().splitlines()
        numbers = {int(line.split()[0]): np.array(line.split()[1:], dtype=float) for line in lines[1:]}
        np.testing.assert_allclose(numbers[1], numbers[11], rtol=1e-6)


@pytest.mark.parametrize("way", [w for w in WAYS if w != "group"])
@pytest.mark.parametrize("kind", ["s-NNP", "PET"])
def test_other_ways_to_leave_an_atom_without_partners(parallel, models, snnp, tmp_path, kind, way):
    check(parallel, models, snnp, tmp_path, kind, way, 2 if way == "types" else 1)


@slow
@pytest.mark.parametrize("name", ["snnp-si", "pet-si"])
@RANKS
def test_shipped_potentials(parallel, tmp_path, name, ranks):
    case = Case(
        diamond(2, rattle=0.05), pair=f"pair_style mlip device cpu dtype float64\npair_coeff * * {name} Si"
    )
    case.commands = (
        f"{GROUP}neigh_modify exclude group gone all\nrun 0\nneigh_modify exclude none\n"
        "delete_atoms group gone\nundump frames\nreset_timestep 10\nrun 0"
    )
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path, ranks=ranks)
    thermo = read_thermo((tmp_path / "log.lammps").read_text())
    np.testing.assert_allclose(thermo[0][0], thermo[10][0], rtol=0, atol=1e-9)


# ---- fix gcmc ------------------------------------------------------------------------------------

KELVIN = 5000.0
THERMAL = 8.617343e-5 * KELVIN  # eV, with LAMMPS' constant
SIDE = 30.0  # Å
ATOMS = 10.0  # of an ideal gas with the pressure below and no lone-atom energy
PRESSURE = ATOMS / SIDE**3 * THERMAL * 1.6021765e6  # bar


@pytest.fixture(scope="module")
def gases(tmp_path_factory):
    """The Morse model by the energy of a lone atom, eV."""
    folder = tmp_path_factory.mktemp("gases")

    def path_of(energy: float):
        path = folder / f"{energy}.pt"
        if not path.exists():
            from networks import Morse, export

            network = Morse([14], 4.5)
            export(path, network, 1, 4.5, equivariant=True, reference_energies={"Si": energy})
        return path

    return path_of


def gas(path, pressure: float, steps: int) -> str:
    """100 insertions or deletions in each step."""
    return f"""
units metal
region box block 0 {SIDE} 0 {SIDE} 0 {SIDE}
create_box 1 box
create_atoms 1 random {ATOMS:.0f} 271828 NULL overlap 2.0 maxtry 100
mass 1 28.085
pair_style mlip device cpu
pair_coeff * * {path} Si
fix exchange all gcmc 1 100 0 1 29494 {KELVIN} 0.0 0.5 pressure {pressure:.17g} full_energy
thermo_style custom step atoms pe
thermo 1
run {steps}
"""


def numbers_of_atoms(lammps, script: str, folder, **options) -> np.ndarray:
    folder.mkdir()
    lammps.run(script, folder, **options)
    rows = re.findall(r"^ +(\d+) +(\d+) +\S+ *$", (folder / "log.lammps").read_text(), re.MULTILINE)
    return np.array([int(number) for _, number in rows])[1:]


def second_virial_sum() -> float:
    """½ ∫ (exp(-u/kT) - 1) d³r of the Morse potential of networks.py, Å³."""
    r = np.linspace(1e-4, 4.5, 20001)
    x = np.exp(2.5 - r)
    u = (x * x - 2 * x) * (1 - (r / 4.5) ** 2) ** 3
    return float(trapezoid(2 * np.pi * r**2 * np.expm1(-u / THERMAL), r))


@pytest.mark.parametrize(
    ("energy", "ranks"),
    [(-0.1, 1), (0.1, 1), pytest.param(0.0, 1, marks=slow), pytest.param(0.1, 2, marks=slow)],
)
def test_a_gas_keeps_its_number_of_atoms(parallel, gases, tmp_path, energy, ranks):
    """⟨N⟩ = zV (1 + 2 b z) to second order, where z has the Boltzmann factor of a lone atom's energy."""
    found = numbers_of_atoms(
        parallel, gas(gases(energy), PRESSURE, 60), tmp_path / "gas", ranks=ranks, timeout=900
    )
    activity = ATOMS / SIDE**3 * np.exp(-energy / THERMAL)
    expected = activity * SIDE**3 * (1 + 2 * second_virial_sum() * activity)
    assert abs(found.mean() - expected) < 4 * np.sqrt(expected / len(found))


def test_the_lone_atom_energy_is_a_shift_of_the_chemical_potential(parallel, gases, tmp_path):
    """With the same random numbers, every trial ends as without such an energy."""
    plain = numbers_of_atoms(parallel, gas(gases(0.0), PRESSURE, 8), tmp_path / "plain")
    pressure = PRESSURE * np.exp(0.1 / THERMAL)
    shifted = numbers_of_atoms(parallel, gas(gases(0.1), pressure, 8), tmp_path / "shifted")
    assert len(plain) == 8 and np.array_equal(plain, shifted)


def test_widom_insertions_contain_the_lone_atom_energy(parallel, gases, tmp_path):
    """The same insertions with and without such an energy differ by it in μ_ex."""
    found = []
    for energy in (0.0, 0.1):
        folder = tmp_path / str(energy)
        folder.mkdir()
        script = gas(gases(energy), PRESSURE, 1).replace(f"random {ATOMS:.0f}", "random 1")
        head = script.split("fix exchange")[0]
        widom = (
            f"fix insert all widom 1 200 1 29494 {KELVIN} full_energy\nthermo_style custom step f_insert[1]"
        )
        parallel.run(f"{head}{widom}\nthermo 1\nthermo_modify format float %.12g\nrun 1\n", folder)
        row = re.findall(r"^ +1 +(\S+) *$", (folder / "log.lammps").read_text(), re.MULTILINE)
        found.append(float(row[-1]))
    assert found[1] - found[0] == pytest.approx(0.1, abs=1e-6)
