"""Wrong input ends in one LAMMPS error line with the cause: no hang, no crash, no silent wrong number."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from ase.build import bulk
from failures import fails, silicon
from harness import Case
from model_files import REFUSED, bad_file, rewrite
from structures import cluster, diamond

from ase_mlip.model_file.model import find_model, read_info

slow = pytest.mark.slow
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
QUICK_FILES = ("truncated", "zip", "newer")


# ---- model files ---------------------------------------------------------------------------------


@RANKS
def test_missing_file(parallel, models, tmp_path, ranks):
    pair = "pair_style mlip\npair_coeff * * nowhere.pt Si"
    fails(parallel, silicon(models, pair), tmp_path, "nowhere.pt", ranks)


@RANKS
@pytest.mark.parametrize("kind", [k if k in QUICK_FILES else pytest.param(k, marks=slow) for k in REFUSED])
def test_file_that_the_calculator_refuses(parallel, models, tmp_path, pair_model_path, kind, ranks):
    path = bad_file(kind, pair_model_path, tmp_path)
    pair = f"pair_style mlip device cpu\npair_coeff * * {path} Si"
    fails(parallel, silicon(models, pair), tmp_path, re.escape(path.name), ranks)


@RANKS
@pytest.mark.parametrize("quantity", ["energy", "forces", pytest.param("virial", marks=slow)])
def test_file_that_fails_its_self_test(parallel, models, tmp_path, quantity, ranks):
    """Consistent in all hashes, but the reference numbers are of another model."""
    good = models.path("one")
    record = json.loads(json.dumps(read_info(good).self_test))
    record["reference"][quantity] = (np.array(record["reference"][quantity]) + 1e-3).tolist()
    path = rewrite(good, tmp_path / "other.pt", document={"self_test": record})
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {path} Si"
    fails(parallel, silicon(models, pair), tmp_path, f"self-test.*{quantity}|{quantity}.*self-test", ranks)


SHORTER = {"interaction_range": 5.0}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("document", "resign", "cause"),
    [
        (SHORTER, False, "document was altered"),
        ({**SHORTER, "schema_version": 1}, False, "document was altered"),
        ({**SHORTER, "schema_version": 1}, True, "`interaction_range` must be at least the cutoff times"),
    ],
)
def test_a_shorter_interaction_range_is_refused(parallel, models, tmp_path, document, resign, cause, ranks):
    """On two ranks it gave -493.96 instead of -505.07 eV, in silence."""
    path = rewrite(models.path("pet-si"), tmp_path / "shorter.pt", document=document, resign=resign)
    pair = f"pair_style mlip device cpu\npair_coeff * * {path} Si"
    fails(parallel, silicon(models, pair), tmp_path, cause, ranks)


@pytest.mark.parametrize("kernel", ["native", "torch"])
def test_species_without_weights_are_refused(parallel, tmp_path, kernel):
    """Type -1 would read beside the tables."""
    path = rewrite(find_model("snnp-si"), tmp_path / "iron.pt", document={"species": [14, 26]})
    pair = f"pair_style mlip device cpu kernel {kernel}\npair_coeff * * {path} Fe"
    cause = "iron.pt`: `species` lists Fe, which the weights do not have; fetch the file again"
    for ranks in (1, 2):
        fails(parallel, Case(diamond(1, 0.05), pair=pair), tmp_path, cause, ranks)


def test_a_truncated_library_is_an_error(lammps, models, tmp_path):
    """Not a bus error. That of the plugin itself is found before LAMMPS is told where it is."""
    folder = tmp_path / "plugin"
    shutil.copytree(lammps.environment["LAMMPS_PLUGIN_PATH"], folder)
    with (folder / "libmlip_torch.so").open("r+b") as file:
        file.truncate(100_000)
    cause = "libmlip_torch.so`: .*cut short or altered since; build it again with `ase-mlip build --force`"
    fails(lammps, silicon(models), tmp_path, cause, environment={"LAMMPS_PLUGIN_PATH": str(folder)})


@RANKS
def test_folder_instead_of_a_file(parallel, models, tmp_path, ranks):
    pair = f"pair_style mlip\npair_coeff * * {tmp_path} Si"
    fails(parallel, silicon(models, pair), tmp_path, re.escape(str(tmp_path)), ranks)


# ---- commands ------------------------------------------------------------------------------------

WRONG_LINES = {
    "too few elements": ("pair_style mlip\npair_coeff * * {one}", "1 element symbol"),
    "too many elements": ("pair_style mlip\npair_coeff * * {one} Si O", "1 element symbol"),
    "types instead of stars": ("pair_style mlip\npair_coeff 1 1 {one} Si", r"must start with \* \*"),
    "no element": ("pair_style mlip\npair_coeff * * {one} Sillicon", "`Sillicon`.*no chemical element"),
    "unknown element": ("pair_style mlip\npair_coeff * * {one} Ge", "knows O, Si, not the element Ge"),
    "only NULL": ("pair_style mlip\npair_coeff * * {one} NULL", "every atom type is NULL"),
    "no pair_coeff": ("pair_style mlip", "pair_coeff|coeffs"),
    "another program's file": ("pair_style mlip mlip.ini", "MLIP-2/MLIP-3"),
    "another program's argument": ("pair_style mlip load_from=p.mtp", "MLIP-2/MLIP-3"),
    "unknown keyword": ("pair_style mlip precision float32", "unexpected `precision float32`"),
    "missing value": ("pair_style mlip dtype", "`dtype` has no value"),
    "wrong dtype": ("pair_style mlip dtype float16", "unexpected `dtype float16`"),
    "wrong device": ("pair_style mlip device tpu", "unexpected `device tpu`"),
    "no direct head": (
        "pair_style mlip forces direct\npair_coeff * * {one} Si",
        "has no direct forces; use `forces conservative`",
    ),
}


@RANKS
@pytest.mark.parametrize(
    "what", [w if w == "another program's file" else pytest.param(w, marks=slow) for w in WRONG_LINES]
)
def test_wrong_lines(parallel, models, tmp_path, what, ranks):
    pair, cause = WRONG_LINES[what]
    fails(parallel, silicon(models, pair.format(one=models.path("one"))), tmp_path, cause, ranks)


def test_all_wrong_lines_on_one_rank(parallel, models, tmp_path):
    """Quick: parsing only."""
    for what, (pair, cause) in WRONG_LINES.items():
        if "{one}" not in pair:
            folder = tmp_path / what.replace(" ", "-")
            folder.mkdir()
            fails(parallel, silicon(models, pair), folder, cause)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
@RANKS
@pytest.mark.parametrize("device", ["cuda", pytest.param("cuda:3", marks=slow)])
def test_cuda_without_cuda(parallel, models, tmp_path, device, ranks):
    pair = f"pair_style mlip device {device}\npair_coeff * * {models.path('one')} Si"
    fails(parallel, silicon(models, pair), tmp_path, "(?i)cuda", ranks)


# ---- systems -------------------------------------------------------------------------------------


@RANKS
@pytest.mark.parametrize(
    "units", ["lj", pytest.param("si", marks=slow), pytest.param("electron", marks=slow)]
)
def test_units(parallel, models, tmp_path, units, ranks):
    case = silicon(models)
    case.write(tmp_path)
    script = case.script().replace("units metal", f"units {units}")
    fails(parallel, script, tmp_path, f"units metal.*units real.*got `units {units}`", ranks)


@RANKS
def test_two_dimensions(parallel, models, tmp_path, ranks):
    script = (
        "units metal\ndimension 2\nboundary p p p\nregion box block 0 9 0 9 -0.5 0.5\ncreate_box 1 box\n"
        f"create_atoms 1 single 3 3 0\nmass 1 28\n{models.pair('one')}\nrun 0\n"
    )
    fails(parallel, script, tmp_path, "dimension 3", ranks)


@RANKS
def test_missing_masses(parallel, models, tmp_path, ranks):
    case = silicon(models)
    case.write(tmp_path)
    fails(parallel, case.script().replace("mass 1", "# mass 1"), tmp_path, "(?i)masses", ranks)


@RANKS
def test_coordinates_that_are_not_numbers(parallel, models, tmp_path, ranks):
    case = silicon(models, fixes="variable nothing atom 0.0/0.0", commands="run 0")
    case.fixes = "set atom 3 x NULL y 1e300"
    case.fixes = "fix move all nve\nvelocity all set 1e300 0 0\nthermo_modify lost ignore"
    case.commands = "run 3"
    fails(parallel, case, tmp_path, "(?i)non-numeric|not a finite number|lost|NaN", ranks)


@RANKS
def test_atoms_on_top_of_each_other(parallel, models, tmp_path, ranks):
    case = silicon(models)
    case.atoms.positions[5] = case.atoms.positions[2]
    fails(parallel, case, tmp_path, "at one place.*delete_atoms overlap", ranks)


@RANKS
def test_atom_on_the_image_of_another_one(parallel, models, tmp_path, ranks):
    case = silicon(models)
    case.atoms.positions[5] = [1e-9, 2.0, 2.0]
    case.atoms.positions[2] = [case.atoms.cell[0, 0] - 1e-9, 2.0, 2.0]
    fails(parallel, case, tmp_path, "at one place", ranks)


@RANKS
def test_atoms_that_run_into_each_other_between_rebuilds(parallel, models, tmp_path, ranks):
    """Too near for any model, but not at one place: forces are large or the run stops; never a hang."""
    case = Case(cluster(), pair=models.pair("one"), commands="run 20")
    case.fixes = "velocity all create 9000000 1\nfix move all nve\nthermo_modify lost ignore"
    case.commands = "thermo_modify lost ignore\nrun 20"
    case.write(tmp_path)
    output = parallel.start(case.script(), tmp_path, ranks=ranks, timeout=120)
    assert output.status == 0 or output.errors
    assert output.status not in (-6, -11, 134, 139), output.text[-2000:]


def test_exception_on_one_rank_only(parallel, models, tmp_path):
    """Two overlapping atoms in one corner; the other rank sees nothing wrong, and must not wait for ever."""
    case = Case(diamond(4), pair=models.pair("one"), before="processors 2 1 1")
    case.atoms.positions[0] = [2.5, 2.0, 2.0]
    case.atoms.positions[1] = [2.5, 2.0, 2.00001]
    fails(parallel, case, tmp_path, "at one place", ranks=2)


@slow
def test_a_file_that_one_rank_cannot_read(parallel, models, tmp_path):
    """As on a node whose disk lacks it: ranks are given different files."""
    case = silicon(models)
    case.pair = f"pair_style mlip device cpu\npair_coeff * * {tmp_path}/rank.pt Si"
    case.write(tmp_path)
    (tmp_path / "rank.pt").symlink_to("/proc/self/fd/nothing")
    fails(parallel, case.script(), tmp_path, "rank.pt", ranks=2)


@RANKS
def test_box_that_lammps_finds_too_skewed(parallel, models, tmp_path, ranks):
    """LAMMPS stops, or warns and computes; then the numbers are those of ASE (test_parity)."""
    atoms = bulk("Si", a=5.43, cubic=True)
    atoms.set_cell([[5.43, 0, 0], [4.9, 5.43, 0], [0, 0, 5.43]], scale_atoms=True)
    case = Case(atoms, pair=models.pair("two"))
    case.write(tmp_path)
    output = parallel.start(case.script(), tmp_path, ranks=ranks, timeout=120)
    if output.status != 0:
        assert re.search("(?i)skew", output.text)
        return
    from harness import assert_same, expected_frame, read_frames

    (frame,) = read_frames(case, output)
    assert_same(frame, expected_frame(frame, models.calculator("two")))


@slow
def test_stress_through_a_plane(parallel, models, tmp_path):
    """LAMMPS sums it over single pairs, which a many-body potential does not have."""
    fixes = "compute plane all stress/mop z center total\nfix out all ave/time 1 1 1 c_plane[*] file mop.txt"
    fails(parallel, silicon(models, fixes=fixes), tmp_path, "stress/mop")


def test_comm_mode_multi(parallel, models, tmp_path):
    case = silicon(models, middle="neighbor 2.0 multi\ncomm_modify mode multi")
    fails(parallel, case, tmp_path, "mode single", ranks=2)


# ---- what consumes a virial ----------------------------------------------------------------------

CONSUMERS = {
    "npt": "fix f all npt temp 300 300 0.1 iso 0 0 1",
    "nph": "fix f all nph iso 0 0 1",
    "berendsen": "fix f all press/berendsen iso 0 0 1\nfix g all nve",
    "box/relax": "fix f all box/relax iso 0.0",
    "stress/atom": "compute s all stress/atom NULL",
}


@RANKS
@pytest.mark.parametrize("what", [c if c == "npt" else pytest.param(c, marks=slow) for c in CONSUMERS])
def test_direct_forces_without_a_virial(parallel, models, tmp_path, what, ranks):
    case = silicon(models, pair=models.pair("direct", options="forces direct"), fixes=CONSUMERS[what])
    fails(parallel, case, tmp_path, "virial.*no direct virial.*use `forces conservative`", ranks)


@RANKS
def test_pressure_of_direct_forces_without_a_virial_is_a_warning(parallel, models, tmp_path, ranks):
    case = silicon(models, pair=models.pair("direct", options="forces direct"))
    case.write(tmp_path)
    output = parallel.run(case.script(), tmp_path, ranks=ranks)
    assert output.text.count("pressures lack its part") >= 1


# ---- respa ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "cause"),
    [
        ("one", "", r"innermost level takes direct forces, and `.*one.pt` has none; expected a model with"),
        ("direct", "forces direct", "`forces direct` leaves none.*expected `forces conservative`"),
    ],
)
def test_respa_without_direct_forces(parallel, models, tmp_path, model, options, cause):
    case = silicon(models, pair=models.pair(model, options=options))
    case.fixes = "run_style respa 2 2 inner 1 3.0 4.0 outer 2\nfix move all nve"
    fails(parallel, case, tmp_path, cause)


def test_respa_with_all_forces_on_one_level(parallel, models, tmp_path):
    """Without an inner level there is nothing to miss."""
    case = silicon(models, fixes="run_style respa 2 2\nfix move all nve", commands="run 1")
    case.write(tmp_path)
    parallel.run(case.script(), tmp_path)
