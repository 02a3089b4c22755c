"""Several models in one pair style: the mean of their numbers, and how much they deviate from each other."""

import numpy as np
import pytest
from harness import ENERGY, PRESSURE, Case, assert_same, expected_frame, read_dump, read_frames
from structures import diamond, triclinic

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, 2, pytest.param(3, marks=slow)])
MEMBERS = {
    "one layer": ("one", "one-b"),
    "two layers": ("two", "two-b"),
    "mixed": ("two", "one-b", "two-adaptive"),
}
HEADER = ["#", "step"] + [f"{kind}_devi_{what}" for what in "vf" for kind in ("max", "min", "avg")]


def pair_of(models, names, options: str = "", elements: str = "Si") -> str:
    files = " ".join(str(models.path(name)) for name in names)
    return f"pair_style mlip device cpu dtype float64 {options}\npair_coeff * * {files} {elements}"


def of_members(models, names, frame, **options):
    return [expected_frame(frame, models.calculator(name, **options)) for name in names]


def mean_of(frames):
    fields = ("energy", "forces", "virial", "energies")
    means = {name: np.mean([getattr(frame, name) for frame in frames], axis=0) for name in fields}
    return type(frames[0])(frames[0].step, frames[0].atoms, **means)


def deviations(frames) -> tuple[np.ndarray, np.ndarray]:
    """As DeePMD-kit defines them: per atom of the force vector, and per component of the virial per atom."""
    forces = np.array([frame.forces for frame in frames])
    of_forces = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    virials = np.array([frame.virial for frame in frames]) / len(frames[0].atoms)
    return of_forces, virials.std(axis=0)


@RANKS
@pytest.mark.parametrize("name", MEMBERS)
def test_a_committee_gives_the_mean(parallel, models, tmp_path, name, ranks):
    case = Case(triclinic(), pair=pair_of(models, MEMBERS[name]), every=2, commands="run 4")
    case.fixes = "fix move all nve\ntimestep 0.001"
    case.write(tmp_path)
    output = parallel.run(case.script(), tmp_path, ranks=ranks)
    frames = read_frames(case, output)
    assert len(frames) == 3
    for frame in frames:
        assert_same(frame, mean_of(of_members(models, MEMBERS[name], frame)))
    assert f"committee of {len(MEMBERS[name])}: " in output.text


@RANKS
def test_ase_and_lammps_have_the_same_committee(parallel, models, tmp_path, ranks):
    """The ``Ensemble`` of the same files: means, and each atom's deviation, at steps that LAMMPS made."""
    from ase_mlip import Ensemble

    names = MEMBERS["mixed"]
    case = Case(triclinic(), pair=pair_of(models, names), every=2, commands="run 4")
    case.fixes = "fix each all pair 2 mlip forces_deviation 1\nfix move all nve\ntimestep 0.001"
    case.write(tmp_path)
    script = case.script().replace("fz c_energies\n", "fz c_energies f_each\n")
    frames = read_frames(case, parallel.run(script, tmp_path, ranks=ranks))
    dumped = [columns[:, 4] for _, _, columns in read_dump(tmp_path / "frames.dump", case.elements)]
    committee = Ensemble.from_files([models.path(name) for name in names], device="cpu", dtype="float64")
    assert len(frames) == len(dumped) == 3
    for frame, deviation in zip(frames[1:], dumped[1:], strict=True):  # fix pair has nothing before step 1
        assert_same(frame, expected_frame(frame, committee))
        atoms = frame.atoms.copy()
        atoms.calc = committee
        np.testing.assert_allclose(atoms.get_potential_energy(), frame.energy, rtol=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), frame.forces, rtol=0, atol=1e-8)
        np.testing.assert_allclose(committee.diagnostics["forces_deviation"], deviation, rtol=1e-8)
        assert deviation.min() > 1e-3


@RANKS
@pytest.mark.parametrize("units", ["metal", pytest.param("real", marks=slow)])
def test_deviations_are_written(parallel, models, tmp_path, units, ranks):
    names = MEMBERS["mixed"]
    pair = pair_of(models, names, "out_freq 2 out_file deviations.txt")
    case = Case(triclinic(), pair=pair, commands="run 4", units=units)
    step = 0.001 if units == "metal" else 1.0
    columns = " ".join(f"c_all[{k}]" for k in range(1, 11))
    case.fixes = f"fix each all pair 2 mlip forces_deviation 1\nfix move all nve\ntimestep {step}\n"
    case.fixes += "compute all all pair mlip\n"
    case.fixes += f"fix out all ave/time 2 1 2 {columns} file all.txt format ' %.16g'"
    case.write(tmp_path)
    script = case.script().replace(
        "\nrun 4",
        "\ndump each all custom 2 each.dump id f_each\ndump_modify each sort id format float %.16g\nrun 4",
    )
    frames = read_frames(case, parallel.run(script, tmp_path, ranks=ranks))[::2]
    header, *lines = (tmp_path / "deviations.txt").read_text().splitlines()
    assert header.replace("#", "# ").split() == HEADER
    extras = [line.split() for line in (tmp_path / "all.txt").read_text().splitlines() if line[0] != "#"]
    dumped = (tmp_path / "each.dump").read_text().split("ITEM: ATOMS id f_each\n")[1:]
    assert len(lines) == len(frames) == len(extras) == len(dumped) == 3
    for line, frame, extra, text in zip(lines, frames, extras, dumped, strict=True):
        members = of_members(models, names, frame)
        forces, virial = (ENERGY[units] * values for values in deviations(members))
        number, *values = (float(word) for word in line.split())
        expected = [virial.max(), virial.min(), np.sqrt((virial**2).mean())]
        expected += [forces.max(), forces.min(), forces.mean()]
        assert number == frame.step
        np.testing.assert_allclose(values, expected, rtol=2e-6)
        energies = ENERGY[units] * np.array([member.energy for member in members])
        found = np.array(extra[1:], dtype=float)
        assert found[0] == pytest.approx(energies.std(), rel=1e-6)
        pressures = virial * len(frame.atoms) * PRESSURE[units] / frame.atoms.get_volume()
        np.testing.assert_allclose(found[1:7], pressures[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], rtol=1e-6)
        np.testing.assert_allclose(found[7:], [forces.max(), forces.mean(), forces.min()], rtol=1e-6)
        if frame.step > 0:  # fix pair has nothing before the first step
            each = [float(row.split()[1]) for row in text.split("ITEM")[0].splitlines()]
            np.testing.assert_allclose(each, forces, rtol=1e-6)


@RANKS
def test_direct_forces_deviate(parallel, models, tmp_path, ranks):
    names = ("direct-stress", "direct-stress-b")
    pair = pair_of(models, names, "forces direct out_freq 1 out_file deviations.txt")
    case = Case(triclinic(), pair=pair)
    case.write(tmp_path)
    frame = read_frames(case, parallel.run(case.script(), tmp_path, ranks=ranks))[0]
    members = of_members(models, names, frame, forces="direct")
    assert_same(frame, mean_of(members))
    forces, virial = deviations(members)
    values = [float(word) for word in (tmp_path / "deviations.txt").read_text().splitlines()[1].split()[1:]]
    expected = [virial.max(), virial.min(), np.sqrt((virial**2).mean())]
    np.testing.assert_allclose(values, [*expected, forces.max(), forces.min(), forces.mean()], rtol=2e-6)


@RANKS
def test_a_run_ends_where_the_models_disagree(parallel, models, tmp_path, ranks):
    pair = pair_of(models, MEMBERS["two layers"], "out_freq 3 out_file deviations.txt stop_above 1e-4")
    case = Case(diamond(2, 0.1), pair=pair, commands="run 50\nprint 'after the run'", every=1)
    case.fixes = "fix move all nve\ntimestep 0.0001"
    case.write(tmp_path)
    output = parallel.run(case.script(), tmp_path, ranks=ranks)
    assert "the models' forces deviate by" in output.text and "after the run" in output.text
    assert len(read_frames(case, output)) < 10


@pytest.mark.parametrize(
    ("coeff", "options", "message"),
    [
        ("{one} {two} Si Si", "", "several models\\) and 1 element symbols"),
        ("{one} nowhere.pt Si", "", "nowhere.pt"),
        ("{one} Si", "out_freq 10", "give several in pair_coeff"),
        ("{one} {two} Si", "stop_above 1.0", "compared every `out_freq` steps"),
        ("{one} {two} Si", "out_freq -1", "must not be negative"),
        ("{one} {two} Si", "out_freq 1 out_file no/where.txt", "cannot be written"),
        ("{one} {two} Ge", "", "not the element Ge"),
        ("{one} {two} Si", "forces direct", "has no direct forces"),
    ],
)
def test_what_makes_no_sense_is_refused(lammps, models, tmp_path, coeff, options, message):
    import re

    files = {"one": models.path("one"), "two": models.path("two")}
    pair = f"pair_style mlip device cpu {options}\npair_coeff * * {coeff.format(**files)}"
    case = Case(diamond(1, 0.1), pair=pair)
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    assert re.search(message, " ".join(output.text.split())), output.text[-1500:]


def test_models_without_a_common_element_are_named(lammps, models, tmp_path):
    """Each with what it knows."""
    files = [models.path("morse"), tmp_path / "germanium.pt"]
    from networks import Morse, export

    export(files[1], Morse([32], 4.5), layers=1, range_=4.5, equivariant=True)
    pair = f"pair_style mlip device cpu\npair_coeff * * {files[0]} {files[1]} Si"
    case = Case(diamond(1, 0.1), pair=pair)
    case.write(tmp_path)
    output = lammps.start(case.script(), tmp_path, timeout=60)
    assert output.status != 0
    found = " ".join(output.text.split())
    assert "none in common" in found
    assert f"`{files[0]}` knows Si; `{files[1]}` knows Ge" in found
