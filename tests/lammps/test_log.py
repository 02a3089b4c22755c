"""What the style says about itself in the log."""

import re

import pytest
from harness import Case
from structures import triclinic

slow = pytest.mark.slow


def log_of(lammps, case: Case, folder, **options) -> str:
    case.write(folder)
    lammps.run(case.script(), folder, **options)
    return (folder / "log.lammps").read_text()


@pytest.mark.parametrize("ranks", [1, 2])
def test_one_line_says_what_runs_where(parallel, models, tmp_path, ranks):
    text = log_of(parallel, Case(triclinic(), pair=models.pair("two")), tmp_path, ranks=ranks)
    (line,) = re.findall(r"^pair mlip: two .*$", text, re.MULTILINE)
    path = re.escape(str(models.path("two")))
    assert re.search(rf"\({path}\), conservative forces, float64, rank 0: cpu", line)
    assert line.isascii()  # ASE's LAMMPS calculator reads nothing else
    assert "1 thread(s) per rank" in line
    assert ("on 2 ranks" in line) == (ranks == 2)
    assert f"halo {7 if ranks == 2 else 0} Angstrom" in line


def test_a_raised_communication_cutoff_is_announced_once(parallel, models, tmp_path):
    case = Case(triclinic(), pair=models.pair("two"), commands="run 1\nrun 1\nrun 1")
    text = log_of(parallel, case, tmp_path, ranks=2)
    assert len(re.findall(r"^pair mlip: communication cutoff raised to 11 ", text, re.MULTILINE)) == 1


def test_time_in_the_model_is_told_at_the_end(lammps, models, tmp_path):
    case = Case(triclinic(), pair=models.pair("two"), fixes="fix move all nve", commands="run 5")
    case.write(tmp_path)
    text = lammps.run(case.script(), tmp_path).text
    total, model = re.search(
        r"pair mlip: (\S+) s in the pair style, of which (\S+) s in the model", text
    ).groups()
    assert 0 < float(model) <= float(total)


@pytest.mark.parametrize(
    ("arguments", "variables", "threads"),
    [
        ([], {"OMP_NUM_THREADS": "1"}, 1),
        pytest.param([], {"OMP_NUM_THREADS": "2"}, 2, marks=slow),
        pytest.param(["-pk", "omp", "3"], {"OMP_NUM_THREADS": "1"}, 3, marks=slow),
    ],
)
def test_threads_are_those_asked_for(lammps, models, tmp_path, arguments, variables, threads):
    case = Case(triclinic(), pair=models.pair("one"))
    text = log_of(lammps, case, tmp_path, arguments=arguments, environment=variables)
    assert f"{threads} thread(s) per rank" in text


@slow
def test_threads_are_the_cores_of_the_process_by_default(lammps, models, tmp_path):
    import os
    from dataclasses import replace

    free = {k: v for k, v in lammps.environment.items() if k != "OMP_NUM_THREADS"}
    text = log_of(replace(lammps, environment=free), Case(triclinic(), pair=models.pair("one")), tmp_path)
    assert f"{len(os.sched_getaffinity(0))} thread(s) per rank" in text


def test_dtype_is_that_of_the_weights_unless_asked(lammps, models, tmp_path):
    pair = f"pair_style mlip\npair_coeff * * {models.path('two')} Si"
    assert "float64, rank 0" in log_of(lammps, Case(triclinic(), pair=pair), tmp_path)


@slow
def test_shipped_potentials_have_names(lammps, tmp_path):
    pair = "pair_style mlip\npair_coeff * * pet-si Si"
    text = log_of(lammps, Case(triclinic(), pair=pair), tmp_path)
    assert re.search(r"pair mlip: pet-si \(\S+pet-si.pt\), conservative forces, float32", text)
