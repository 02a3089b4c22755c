"""Atoms that `neigh_modify exclude group X all` takes out count nothing, as if they had been deleted.

That is how `fix gcmc` tries what an atom's removal costs. The right numbers are those of the same run after
``delete_atoms``, and those of the ASE calculator on the atoms that are left.
"""

import numpy as np
import pytest
from harness import Case, expected_frame, read_dump, read_frames, read_thermo
from structures import silicon_oxygen
from test_snnp import known_model

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


def case_of(models, snnp, kind: str, exclude: str, **changes) -> Case:
    names, keywords, before, extra = KINDS[kind]
    files = [snnp if name == "snnp" else models.path(name) for name in names]
    case = Case(silicon_oxygen(), pair=mlip(files, keywords), elements=["O", "Si"], **changes)
    fixes = [before, "compute s all stress/atom NULL virial"]
    if extra:
        fixes.append(f"fix extra all pair 1 mlip {extra} 1")
    columns = " ".join(["id", "c_energies", "fx", "fy", "fz", "c_s[*]", *(["f_extra"] if extra else [])])
    dump = f"dump all all custom 1 {{}} {columns}\ndump_modify all sort id format float %.17g\nrun 1\nundump all"
    case.fixes = "\n".join(fixes)
    case.commands = (
        f"group gone id {' '.join(map(str, GONE))}\n{exclude}\n{dump.format('excluded.dump')}\n"
        "neigh_modify exclude none\ndelete_atoms group gone compress no\nundump frames\nreset_timestep 10\n"
        f"{dump.format('deleted.dump')}"
    )
    return case


def rows_of(path) -> np.ndarray:
    """The last frame of a dump."""
    lines = path.read_text().split("ITEM: ATOMS")[-1].splitlines()[1:]
    return np.array([line.split() for line in lines], dtype=float)


WAYS = {
    "group": "neigh_modify exclude group gone all",
    "group, turned": "neigh_modify exclude group all gone",
}


@RANKS
@pytest.mark.parametrize("kind", KINDS)
def test_excluded_is_deleted(parallel, models, snnp, tmp_path, kind, ranks):
    case = case_of(models, snnp, kind, WAYS["group"])
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path, ranks=ranks)
    thermo = read_thermo((tmp_path / "log.lammps").read_text())
    np.testing.assert_allclose(thermo[1][0], thermo[11][0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(thermo[1][2:], thermo[11][2:], rtol=1e-9, atol=1e-4)
    excluded, deleted = rows_of(tmp_path / "excluded.dump"), rows_of(tmp_path / "deleted.dump")
    stays = ~np.isin(excluded[:, 0], GONE)
    assert len(deleted) == 5 and np.abs(deleted[:, 2:5]).max() > 0.01
    np.testing.assert_allclose(excluded[stays], deleted, rtol=1e-9, atol=1e-9)
    assert np.all(excluded[~stays, 1:] == 0.0)
    if "out_freq" in KINDS[kind][1]:
        lines = (tmp_path / "model_devi.out").read_text().splitlines()
        numbers = {int(line.split()[0]): np.array(line.split()[1:], dtype=float) for line in lines[1:]}
        np.testing.assert_allclose(numbers[1], numbers[11], rtol=1e-6)
