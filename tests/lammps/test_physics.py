"""What the numbers mean: derivatives, conserved quantities, per-atom parts, heat flux."""

import re

import numpy as np
import pytest
from ase import units
from ase.neighborlist import neighbor_list
from harness import PRESSURE, Case, check_case, read_dump, read_frames, read_thermo
from structures import diamond, silicon_oxygen, slab, triclinic

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
PICOSECOND = 1000.0 * units.fs
STRAIN = 1e-4


def printed(text: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)]


# ---- stress --------------------------------------------------------------------------------------

LENGTHS = {"xx": "x", "yy": "y", "zz": "z"}
TILTS = {"xy": 1, "xz": 2, "yz": 2}  # the vector whose height the tilt moves along


def strained(component: str, heights, amount: float) -> str:
    if component in LENGTHS:
        return f"change_box all {LENGTHS[component]} scale {1 + amount:.17g} remap units box"
    return f"change_box all {component} delta {amount * heights[TILTS[component]]:.17g} remap units box"


def unstrained(component: str, heights, amount: float) -> str:
    if component in LENGTHS:
        return f"change_box all {LENGTHS[component]} scale {1 / (1 + amount):.17g} remap units box"
    return strained(component, heights, -amount)


@RANKS
@pytest.mark.parametrize(
    ("model", "components"),
    [
        ("morse", "xx yy zz xy xz yz"),
        pytest.param("sw", "xx yy zz xy xz yz", marks=slow),
        # a tilt of the box rotates bonds; an unconstrained model answers with more than the symmetric stress
        pytest.param("two-adaptive", "xx yy zz", marks=slow),
    ],
)
def test_stress_is_the_derivative_of_the_energy_by_strain(
    parallel, models, tmp_path, model, components, ranks
):
    atoms = diamond(2, rattle=0.1)
    case = Case(atoms, pair=models.pair(model), triclinic=True)
    heights = np.diag(atoms.cell)
    for component in components.split():
        for amount in (STRAIN, -STRAIN):
            case.commands += f"\n{strained(component, heights, amount)}\nrun 0\nprint 'energy $(pe:%.17g)'"
            case.commands += f"\n{unstrained(component, heights, amount)}"
    case.commands += f"\n{case.go_on_at(7)}\nrun 0"
    case.write(tmp_path)
    frame = read_frames(case, parallel.run(case.script(), tmp_path, ranks=ranks))[-1]
    energies = np.array(printed((tmp_path / "log.lammps").read_text(), "energy")).reshape(-1, 2)
    slopes = (energies[:, 0] - energies[:, 1]) / (2 * STRAIN)
    index = {"x": 0, "y": 1, "z": 2}
    virial = [frame.virial[index[c[0]], index[c[1]]] for c in components.split()]
    np.testing.assert_allclose(-slopes, virial, rtol=1e-6, atol=1e-5)


def test_pressure_is_the_derivative_of_the_energy_by_volume(lammps, models, tmp_path):
    atoms = silicon_oxygen()
    case = Case(
        atoms, pair=models.pair("two", ("O", "Si")), commands="run 0\nprint 'pressure $(c_virial:%.17g)'"
    )
    for factor in (1 + STRAIN, (1 - STRAIN) / (1 + STRAIN)):
        scales = " ".join(f"{axis} scale {factor:.17g}" for axis in "xyz")
        case.commands += f"\nchange_box all {scales} remap units box\nrun 0\nprint 'energy $(pe:%.17g)'"
        case.commands += "\nprint 'volume $(vol:%.17g)'"
    case.write(tmp_path)
    text = lammps.run(case.script(), tmp_path).text
    (pressure,), energy, volume = (printed(text, name) for name in ("pressure", "energy", "volume"))
    slope = (energy[0] - energy[1]) / (volume[0] - volume[1])
    assert pressure == pytest.approx(-slope * PRESSURE["metal"], rel=1e-6)


# ---- per-atom parts ------------------------------------------------------------------------------


@RANKS
@pytest.mark.parametrize("newton", ["on", pytest.param("off", marks=slow)])
@pytest.mark.parametrize("model", [pytest.param("one", marks=slow), "two-adaptive"])
def test_per_atom_stresses(parallel, models, tmp_path, model, newton, ranks):
    """Each is the calculator's, and they sum to the virial."""
    case = Case(silicon_oxygen(2), pair=models.pair(model, ("O", "Si")), before=f"newton {newton}")
    columns = " ".join(f"c_stress[{k}]" for k in range(1, 7))
    case.fixes = (
        "compute stress all stress/atom NULL virial\n"
        f"dump stresses all custom 1 stress.dump type x y z {columns}\n"
        "dump_modify stresses format float %.17g"
    )
    (frame,) = check_case(parallel, case, tmp_path, models.calculator(model), ranks=ranks)
    ((_, atoms, stresses),) = read_dump(tmp_path / "stress.dump", case.elements)
    stresses = stresses / PRESSURE["metal"]
    expected = models.calculator(model).evaluate([atoms], ["stresses"])[0]["stresses"] * atoms.get_volume()
    np.testing.assert_allclose(stresses, expected[:, [0, 1, 2, 5, 4, 3]], atol=1e-8)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = frame.virial
    np.testing.assert_allclose(-stresses.sum(axis=0), [xx, yy, zz, xy, xz, yz], atol=1e-8)


@RANKS
def test_per_atom_energies_sum_to_the_energy(parallel, models, tmp_path, ranks):
    case = Case(slab(), pair=models.pair("two"))
    frames = check_case(parallel, case, tmp_path, models.calculator("two"), ranks=ranks)
    assert frames[0].energies.sum() == pytest.approx(frames[0].energy, rel=1e-12)


# ---- direct forces -------------------------------------------------------------------------------


@RANKS
@pytest.mark.parametrize("name", ["triclinic", pytest.param("silicon_oxygen", marks=slow)])
def test_direct_forces_and_stress(parallel, models, tmp_path, name, ranks):
    """Forces less their mean over all ranks, and the virial of the stress head."""
    case = Case({"triclinic": triclinic, "silicon_oxygen": silicon_oxygen}[name](), per_atom=False)
    case.pair = models.pair("direct-stress", case.elements, "forces direct")
    calculator = models.calculator("direct-stress", forces="direct")
    frames = check_case(parallel, case, tmp_path, calculator, ranks=ranks)
    assert np.abs(frames[0].forces.sum(axis=0)).max() < 1e-10


# ---- dynamics ------------------------------------------------------------------------------------


def with_velocities(case: Case, temperature: float, seed=1) -> None:
    """The same start for LAMMPS and for ASE."""
    masses = case.atoms.get_masses()[:, None]
    shape = (len(case.atoms), 3)
    velocities = np.random.default_rng(seed).normal(0.0, np.sqrt(units.kB * temperature / masses), shape)
    case.atoms.set_velocities(velocities - (masses * velocities).sum(axis=0) / masses.sum())
    velocities = case.atoms.get_velocities() * PICOSECOND
    lines = [f"set atom {k} vx {x:.17g} vy {y:.17g} vz {z:.17g}" for k, (x, y, z) in enumerate(velocities, 1)]
    case.middle += "\n" + "\n".join(lines)


def total_energies(lammps, case: Case, folder, **options) -> np.ndarray:
    """Potential and kinetic energy at every line of thermo output, eV."""
    folder.mkdir(exist_ok=True)
    case.write(folder)
    script = case.script().replace("step pe", "step pe etotal")
    lammps.run(script, folder, **options)
    thermo = read_thermo((folder / "log.lammps").read_text())
    return np.array([thermo[step][1] for step in sorted(thermo)])


def drift(energies: np.ndarray, picoseconds: float, atoms: int) -> float:
    """Slope of a straight line, meV/atom/ps."""
    times = np.linspace(0.0, picoseconds, len(energies))
    return 1000.0 * np.polyfit(times, energies, 1)[0] / atoms


@RANKS
def test_trajectory_is_that_of_ase(parallel, models, tmp_path, ranks):
    from ase_mlip.dynamics.md import run_nve

    case = Case(triclinic(), pair=models.pair("two"), fixes="fix move all nve\ntimestep 0.001", every=10)
    case.commands = "run 40"
    with_velocities(case, 600.0)
    frames = check_case(parallel, case, tmp_path, models.calculator("two"), ranks=ranks)
    atoms = case.atoms.copy()
    atoms.calc = models.calculator("two")
    energies = run_nve(atoms, None, units.fs, 40 * units.fs).potential_energies
    np.testing.assert_allclose([frame.energy for frame in frames], energies[::10], atol=1e-6)


@slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energy_drifts_no_more_than_in_ase(parallel, models, tmp_path, dtype):
    from ase_mlip.dynamics.md import run_nve

    case = Case(diamond(2, 0.02), fixes="fix move all nve\ntimestep 0.001", every=10)
    case.pair = models.pair("pet-si", dtype=dtype)
    case.commands = "run 1000"
    with_velocities(case, 600.0)
    ours = drift(total_energies(parallel, case, tmp_path), 1.0, 64)
    atoms = case.atoms.copy()
    atoms.calc = models.calculator("pet-si", dtype=dtype)
    theirs = run_nve(atoms, None, 1.0 * units.fs, 1000.0 * units.fs).drift
    # the two trajectories part by rounding: equal within what one run scatters
    assert abs(ours) <= abs(theirs) + 0.05, (ours, theirs)


RESPA = "run_style respa 2 2 inner 1 3.0 4.0 outer 2"


@RANKS
@pytest.mark.parametrize("commands", ["run 0", "run 6"])
def test_respa_tallies_what_plain_verlet_does(parallel, models, tmp_path, commands, ranks):
    """Inner direct and outer remaining forces sum to the conservative ones; energy and virial are theirs."""
    case = Case(triclinic(), pair=models.pair("direct-stress"), commands=commands, every=2)
    case.fixes = f"velocity all create 300 1 loop geom\nfix move all nve\n{RESPA}\ntimestep 0.002"
    check_case(parallel, case, tmp_path, models.calculator("direct-stress"), ranks=ranks)


@slow
def test_respa_drift(parallel, models, tmp_path):
    """Twice the outer time step keeps the energy nearly as well as plain dynamics with the inner one."""
    energies = {}
    for name, lines in {"plain": "timestep 0.001", "respa": f"timestep 0.002\n{RESPA}"}.items():
        case = Case(diamond(2, 0.02), pair=models.pair("pet-si"), fixes=f"fix move all nve\n{lines}")
        case.every = 10 if name == "plain" else 5
        case.commands = "run 1000" if name == "plain" else "run 500"
        with_velocities(case, 600.0)
        energies[name] = total_energies(parallel, case, tmp_path / name)
    plain, respa = (drift(energies[name], 1.0, 64) for name in ("plain", "respa"))
    assert abs(respa) < abs(plain) + 0.5, (respa, plain)


def test_respa_needs_direct_forces(parallel, models, tmp_path):
    case = Case(triclinic(), pair=models.pair("one"), fixes=f"fix move all nve\n{RESPA}")
    case.write(tmp_path)
    output = parallel.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0 and output.errors


# ---- heat flux -----------------------------------------------------------------------------------


def morse_flux(atoms, velocities: np.ndarray, cutoff: float) -> np.ndarray:
    """1/2 Σ_{i<j} F_ij·(v_i + v_j) r_ij of docs/artifact.md's Morse potential, eV Å/ps."""
    i, j, r, vectors = neighbor_list("ijdD", atoms, cutoff)  # vectors from i to j
    x = np.exp(2.5 - r)
    f = 1 - (r / cutoff) ** 2
    slope = (-2 * x * x + 2 * x) * f**3 + (x * x - 2 * x) * 3 * f**2 * (-2 * r / cutoff**2)
    force_on_i = slope[:, None] * vectors / r[:, None]
    power = (force_on_i * (velocities[i] + velocities[j])).sum(axis=1)
    return 0.5 * 0.5 * (power[:, None] * -vectors).sum(axis=0)  # the list has each pair twice


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("newton", ["on", pytest.param("off", marks=slow)])
def test_heat_flux_of_a_pair_potential(parallel, models, tmp_path, newton, ranks):
    case = Case(triclinic(), pair=models.pair("morse"), before=f"newton {newton}")
    with_velocities(case, 900.0)
    flux = " ".join(f"$(c_flux[{k}]:%.17g)" for k in range(1, 7))
    case.fixes = (
        "compute ke all ke/atom\ncompute pe all pe/atom\n"
        "compute stress all centroid/stress/atom NULL virial\ncompute flux all heat/flux ke pe stress"
    )
    case.commands = f'thermo_style custom step pe vol c_flux[1]\nrun 0\nprint "flux {flux}"'
    case.write(tmp_path)
    text = parallel.run(case.script(), tmp_path, ranks=ranks).text
    values = np.array(re.search(r"^flux (.*)$", text, re.MULTILINE)[1].split(), dtype=float)
    velocities = case.atoms.get_velocities() * PICOSECOND
    expected = morse_flux(case.atoms, velocities, 4.5)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(values[:3] - values[3:], expected, rtol=1e-7, atol=1e-7)
    kinetic = 0.5 * case.atoms.get_masses() * (case.atoms.get_velocities() ** 2).sum(axis=1)
    potential = models.calculator("morse").evaluate([case.atoms], ["energies"])[0]["energies"]
    convective = ((kinetic + potential)[:, None] * velocities).sum(axis=0)
    np.testing.assert_allclose(values[3:], convective, rtol=1e-6, atol=1e-5)


@RANKS
@pytest.mark.parametrize("style", ["centroid/stress/atom", pytest.param("stress/atom", marks=slow)])
def test_heat_flux_of_a_message_passing_model_is_refused(parallel, models, tmp_path, style, ranks):
    case = Case(triclinic(), pair=models.pair("two"))
    case.fixes = (
        f"compute ke all ke/atom\ncompute pe all pe/atom\ncompute stress all {style} NULL virial\n"
        "compute flux all heat/flux ke pe stress"
    )
    case.write(tmp_path)
    output = parallel.start(case.script(), tmp_path, ranks=ranks, timeout=60)
    assert output.status != 0
    assert "heat/flux" in output.text and "one-layer model" in output.text


def test_frames_are_compared_where_lists_are_old(parallel, models, tmp_path):
    """Guards these tests themselves: most frames lie between two rebuilds of the list."""
    case = Case(diamond(2, 0.05), pair=models.pair("two"), every=1, commands="run 12")
    case.fixes = "velocity all create 1500 2\nfix move all nve\nneighbor 1.0 bin"
    check_case(parallel, case, tmp_path, models.calculator("two"))
    builds = int(re.search(r"Neighbor list builds = (\d+)", (tmp_path / "log.lammps").read_text())[1])
    assert builds <= 4
    assert len(read_frames(case, parallel.run(case.script(), tmp_path))) == 13
