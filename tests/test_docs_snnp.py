"""Tables and figures of docs/snnp.md and docs/snnp_results.md are what benchmarks/results holds.

Errors of SNAP and quadratic SNAP were measured before this project began (docs/snnp.md says so); what is held
here is that all pages say the same of them and that the comparisons with them are true.
"""

import json
import re

import numpy as np
import pytest
from ase import Atoms
from doc_tables import ROOT, agree, filled, medians, numbers, parsed, sentences, shows, stored, table

from ase_mlip import MLIPCalculator
from ase_mlip.model_file.info import find_model, read_info

ELEMENTS = ("Si", "Ge", "Mo")
STUDIES = "snnp_results.md"
PAGE = "snnp.md"


def results(name: str) -> dict:
    return stored(name)["results"]


def stated(page: str, pattern: str) -> list[str]:
    """The numbers of the only sentence that the pattern matches."""
    (found,) = re.findall(pattern, sentences(page))
    return [found] if isinstance(found, str) else list(found)


def errors(row: dict) -> list[float]:
    return [row["energy"], row["forces"]]


def shipped(element: str) -> dict:
    """The training of the shipped s-NNP of an element."""
    return read_info(find_model(f"snnp-{element.lower()}")).training


# ---- docs/snnp_results.md: the ladder ------------------------------------------------------------


def test_accuracy_cost_and_complexity():
    rows, found = table(STUDIES, "parameters", "µs/atom"), results("snnp-ladder")
    for number, row, values in zip(range(1, 15), rows, found.values(), strict=True):
        assert int(row[0]) == number
        agree(row[2:], [values["parameters"], *errors(values), values["microseconds_per_atom"]])


def test_rows_of_the_ladder_are_described_as_the_script_names_them():
    rows, found = table(STUDIES, "parameters", "µs/atom"), list(results("snnp-ladder"))
    for row, name in zip(rows, found, strict=True):
        assert ("random start" in row[1]) == ("random start" in name), row[1]
        assert ("without skip" in row[1]) == ("no skip" in name), row[1]
        count = re.search(r"φ, (\d) angular", name)
        if count:
            assert f"φ, {count[1]} angular" in row[1]


def test_what_is_said_of_the_ladder():
    rows = list(results("snnp-ladder").values())
    energies, forces = ([row[key] for row in rows] for key in ("energy", "forces"))
    assert 0.6 < forces[2] / forces[1] < 0.7 and 0.45 < forces[3] / forces[1] < 0.55
    (snap,) = [row[1:] for row in table(PAGE, "potential", "Mo") if row[0] == "SNAP"]
    assert all(value < float(text) for value, text in zip(errors(rows[5]), snap[0].split(","), strict=True))
    assert energies[11] > 1.5 * energies[7] and forces[11] > 1.5 * forces[7]  # both starts
    assert energies[12] < energies[11] and forces[12] < forces[11]  # without skip
    assert max(abs(value - forces[6]) for value in forces[6:9]) < 1e-3  # a network adds little
    assert forces[9] < 0.95 * forces[3]
    own = shipped("Si")["errors"]["test"]
    assert energies[7] == pytest.approx(1e3 * own["energy_rmse"], rel=0.05)
    assert forces[7] == pytest.approx(own["forces_rmse"], rel=0.05)


def test_the_fits_alone():
    rows = table(STUDIES, "Ge", "| Mo")
    fits = [results(f"snnp-fits-{element}") for element in ELEMENTS[1:]]
    for row, names in zip(rows, zip(*fits, strict=True), strict=True):
        for cell, name, fit in zip(row[1:], names, fits, strict=True):
            assert name in row[0]
            agree(cell.split(", "), errors(fit[name]))


# ---- docs/snnp_results.md: filters shared by elements --------------------------------------------

LOSSES = {"squares": "snnp-shared", "Huber": "snnp-shared-huber-100"}


def test_filters_shared_by_elements():
    rows = filled(table(STUDIES, "shared: energy", "loss"), 1)
    for element, loss, *cells in rows:
        found = results(LOSSES[loss])
        agree(
            cells, [value for kind in ("shared", "separate") for value in errors(found[f"{element}, {kind}"])]
        )
    assert len(rows) == 6


def lost(loss: str, key: str) -> list[float]:
    found = results(LOSSES[loss])
    return [found[f"{element}, shared"][key] / found[f"{element}, separate"][key] for element in ELEMENTS]


def test_what_is_said_of_shared_filters():
    squares, huber = ([100.0 * (ratio - 1.0) for ratio in lost(loss, "forces")] for loss in LOSSES)
    ranges = stated(STUDIES, r"Forces lose (\d+) to (\d+) %.*? \(Huber: (\d+) to (\d+) %\)")
    agree(ranges, [min(squares), max(squares), min(huber), max(huber)])
    pattern = r"up to a factor of (\S+)\*\* \(Huber: (\S+) to (\S+), most for Mo\)"
    squares, huber = lost("squares", "energy"), lost("Huber", "energy")
    agree(stated(STUDIES, pattern), [max(squares), min(huber), max(huber)])
    assert max(huber) == huber[2] and squares[1] < 1.0
    found = results("snnp-shared")
    names = ("Mo, shared", "Mo, shared, constant fitted")
    agree(stated(STUDIES, r"changes (\S+) to (\S+)\. "), [found[name]["energy"] for name in names])
    quadratic = stated(STUDIES, r"quadratic SNAP for each \((\S+), (\S+), (\S+)\)")
    for element, limit in zip(ELEMENTS, quadratic, strict=True):
        assert found[f"{element}, shared"]["forces"] < float(limit)
    for element in ELEMENTS[:2]:
        assert found[f"{element}, separate"]["forces"] < shipped(element)["errors"]["test"]["forces_rmse"]


KINDS = ("weights on shared filters", "weights on random filters", "network on shared filters")
KINDS += ("φ and 8 angular filters by least squares",)


def test_transfer():
    rows, found = table(STUDIES, "Cu: energy", "Ni"), results("snnp-shared")
    for row, kind in zip(rows, KINDS, strict=True):
        agree(row[1:], [value for element in ("Cu", "Ni") for value in errors(found[f"{element}, {kind}"])])


def test_what_is_said_of_transfer():
    def of(kind: int, key: str) -> np.ndarray:
        found = results("snnp-shared")
        return np.array([found[f"{element}, {KINDS[kind]}"][key] for element in ("Cu", "Ni")])

    agree(stated(STUDIES, r"the errors are (\S+) and (\S+) times smaller"), of(1, "forces") / of(0, "forces"))
    agree(stated(STUDIES, r"frames is (\S+) and (\S+) times better"), of(0, "forces") / of(3, "forces"))
    lowered = 100.0 * (1.0 - of(2, "energy") / of(0, "energy"))
    agree(stated(STUDIES, r"lowers the errors of energies by (\d+) and (\d+) %"), lowered)
    assert np.abs(of(2, "forces") / of(0, "forces") - 1.0).max() < 0.025  # hardly changes the forces


# ---- docs/snnp_results.md: two atoms alone -------------------------------------------------------


def test_dimers_beside_pbe():
    rows, found = table(STUDIES, "repels below", "minimum"), results("snnp-dimers")
    assert [row[0] for row in rows] == list(found)
    for name, below, short, short_dft, long, long_dft, least, least_dft in rows:
        row = found[name]
        agree([below.removesuffix(" Å")], [row["repels_below"]])
        at = [row["at"][f"{distance} Å"] for distance in ("1.3", "1.6")]
        cells = [short, short_dft, long, long_dft]
        agree([cell.removesuffix(" eV") for cell in cells], [e[k] for e in at for k in ("energy", "PBE")])
        agree(re.fullmatch(r"(\S+) eV at (\S+) Å", least).groups(), row["minimum"])
        agree(least_dft.split(" at "), row["minimum_PBE"])


def test_what_is_said_of_dimers():
    found = results("snnp-dimers").values()
    bound = [100.0 * row["minimum"][0] / row["minimum_PBE"][0] for row in found]
    pattern = r"binds Si₂ with (\d+) % of PBE's energy, Ge₂ with (\d+) %, Mo₂ with (\d+) %"
    agree(stated(STUDIES, pattern), bound)
    close = [row["at"]["1.3 Å"] for row in found]
    silicon, *others = [row["energy"] / row["PBE"] for row in close]
    assert 0.8 < silicon < 1.2 and all(1.8 < ratio < 2.3 for ratio in others)
    pattern = r"(\S+) \(Si\), (\S+) \(Ge\) and (\S+) eV \(Mo\) below"  # tested for the page of s-NNPs
    assert stated(STUDIES, pattern) == stated(PAGE, pattern)


def test_the_barrier_of_two_germanium_atoms():
    height, start, end = stated(STUDIES, r"a barrier of (\S+) eV between (\S+) and (\S+) Å")
    calculator = MLIPCalculator("snnp-ge", device="cpu", dtype="float64")
    r = np.arange(2.5, 6.0, 0.02)
    structures = [Atoms("Ge"), *(Atoms("Ge2", positions=[[0, 0, 0], [0, 0, x]]) for x in r)]
    alone, *energies = (row["energy"] for row in calculator.evaluate(structures, ["energy"]))
    above = np.array(energies) - 2.0 * alone
    inside = r[above > 1e-9]
    agree([height, start, end], [above.max(), inside.min(), inside.max()])


# ---- docs/snnp.md --------------------------------------------------------------------------------


def test_the_first_knots_of_the_shipped_files():
    pattern = r"what their recipes say: (\S+) Å for Si, (\S+) for Ge and (\S+) for Mo"
    agree(stated(PAGE, pattern), [row["data_from"] for row in results("snnp-dimers").values()])


def test_the_cost_of_the_operator():
    rows, found = table(PAGE, "angular filters", "float64 (µs/atom)"), results("snnp-operator")
    for (filters, cutoff, double, single), row in zip(rows, found, strict=True):
        assert int(filters) == row["angular_filters"]
        assert cutoff == "–" if filters == "0" else shows(cutoff, row["angular_cutoff"])
        agree([double, single], [row["float64"], row["float32"]])
    assert "AMD EPYC" in stored("snnp-operator")["environment"]["cpu"]


def test_the_cost_in_lammps():
    names = {
        "native, float32 (the file's precision)": "snnp",
        "general path, float32": "snnp, kernel torch",
        "native, float64": "snnp, float64",
        "`meam/spline`": "meam/spline",
        "`snap`": "snap",
    }
    found, rows = medians("snnp"), table(PAGE, "4096 atoms", "over `meam/spline`")
    assert [row[0] for row in rows] == list(names)
    for label, cost, ratio in rows:
        agree([cost], [found[f"{names[label]}, 4096 atoms"]])
        if ratio:
            agree([ratio], [found[f"{names[label]} over meam/spline".replace("64 over", "64, over")]])
    (step,) = stated(PAGE, r"whole step of `pair_style meam/spline` takes (\S+) µs/atom")
    agree([step], [found["meam/spline, 4096 atoms"]])
    agree(stated(PAGE, r"It takes a (\d+)nd of SNAP's time"), [found["snap over snnp"]])


def test_a_second_rank_and_a_second_thread():
    found = {row["what"]: row["spread"] for row in results("snnp")}
    pattern = (
        r"A second rank makes it (\S+) times as fast with 13 824 atoms, and `meam/spline` (\S+) times "
        r"\(median of (\d+) rounds' ratios (\S+); single rounds scatter from (\S+) to (\S+)\)"
    )
    ours, theirs = (
        found[f"speed-up by a second rank, {name}, 13824 atoms"]["median"] for name in ("snnp", "meam/spline")
    )
    rounds = found["snnp's speed-up over meam/spline's, round by round"]
    spread = [rounds[key] for key in ("repeats", "median", "low", "high")]
    agree(stated(PAGE, pattern), [ours, theirs, *spread])
    step = medians("lammps-threads")
    name = "s-NNP, native, 13824 atoms: step, OMP_NUM_THREADS"
    (gain,) = stated(PAGE, r"a second thread (\S+) times \(on two cores of an Intel Xeon")
    agree([gain], [step[f"{name} 1"] / step[f"{name} unset"]])
    assert "Xeon" in stored("lammps-threads")["environment"]["cpu"]


def test_a_step_in_ase_and_a_million_atoms():
    found = medians("snnp")
    pattern = r"1000 atoms takes (\S+) ms, (\S+) ms more than the pair style"
    agree(stated(PAGE, pattern), [found["step in ASE, 1000 atoms"], found["the one without the other"]])
    pattern = (
        r"1 000 000 atoms take (\S+) GB on one core and (\S+) s per step\. From .*? grows by (\S+) kB per "
        r"atom, of which (\S+) kB are beyond"
    )
    own = found["memory per atom beyond LAMMPS' own"]
    expected = [found["peak memory, 1000000 atoms"], found["snnp, 1000000 atoms"]]
    expected += [found["memory per atom, LAMMPS with the same list"] + own, own]
    agree(stated(PAGE, pattern), expected)


def test_minutes_of_the_trainings():
    pattern = r"The trainings took (\d+), (\d+) and (\d+) minutes"
    agree(stated(PAGE, pattern), [60.0 * shipped(element)["hours"] for element in ELEMENTS])


def test_snap_is_the_same_on_all_pages_and_what_is_said_beside_it():
    rows = {row[0]: row[1:] for row in table(PAGE, "potential", "Mo")}
    linear, quadratic = ([[float(x) for x in numbers(cell)] for cell in rows[name]] for name in
                         ("SNAP", "quadratic SNAP"))  # fmt: skip
    models = sentences("models.md")
    for first, second in zip(linear, quadratic, strict=True):
        pattern = r"SNAP has {} and {} on the test file, quadratic SNAP {} and {}"
        assert re.search(pattern.format(*(re.escape(str(x)) for x in first + second)), models)
    forces = stated(STUDIES, r"quadratic SNAP for each \((\S+), (\S+), (\S+)\)")
    assert [float(text) for text in forces] == [row[1] for row in quadratic]
    for element, first, second in zip(ELEMENTS, linear, quadratic, strict=True):
        own = json.loads((ROOT / "docs" / "models" / f"snnp-{element.lower()}" / "errors.json").read_text())
        energy, force = (own["test"][key] for key in ("energy_rmse", "forces_rmse"))
        assert force < min(first[1], second[1]) and (1e3 * energy < first[0])
        assert (1e3 * energy > second[0]) == (element in ("Si", "Mo"))
    meam = rows["spline MEAM, Si_1"][0]
    assert shows(meam, results("snnp-ladder")["spline MEAM file"]["forces"]) and parsed(meam)[0] > 0.0


@pytest.mark.parametrize("name", ["snnp", "snnp-ladder", "snnp-operator", "snnp-dimers", *LOSSES.values()])
def test_what_is_quoted_says_when_and_on_what_it_was_measured(name):
    assert {"date", "commit", "cpu", "cores", "python", "torch"} <= stored(name)["environment"].keys()
