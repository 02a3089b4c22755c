"""Costs and errors that README.md and docs/adapters.md quote are those in benchmarks/results."""

import re

import numpy as np
import pytest
from doc_tables import RESULTS, ROOT, agree, filled, medians, numbers, sentences, shows, stored, table

from ase_mlip.converters import common

FAMILIES = {  # of docs/adapters.md, as the benchmark names them
    "MACE 64x0e+64x1o, 2 layers": "MACE 64x0e+64x1o, 2 layers, random weights",
    "SevenNet-0": "SevenNet-0",
    "PET, 3.07 M parameters": "PET, 3.07 M parameters, random weights",
    "the same, direct forces": "the same, direct forces",
    "NequIP, l = 1, 32 features": "NequIP l=1 f=32, random weights",
}


# ---- README.md -----------------------------------------------------------------------------------


def test_the_cost_of_pet_si():
    pattern = (
        r"`pet-si` takes (\S+) times as long per atom and step as quadratic SNAP on one core of an (\w+) "
        r"Xeon, from 512 to 110 592 atoms alike within (\d+) %, and (\d+) kB of memory per atom in large"
    )
    ((ratio, cpu, alike, memory),) = re.findall(pattern, sentences("README.md"))
    assert all(cpu in stored(name)["environment"]["cpu"] for name in ("lammps", "inference"))
    lammps, inference = medians("lammps"), medians("inference")
    agree([ratio] * 2, [lammps["mlip over qsnap"], inference["cost per atom and step over quadratic SNAP's"]])
    assert 1.0 <= lammps["dearest over cheapest of these sizes"] <= 1.0 + float(alike) / 100.0
    bytes_per_atom = lammps["peak memory, 110592 atoms"] * 1e9 / 110592
    assert shows(memory, bytes_per_atom / 1e3)


def test_the_cost_on_the_other_processor():
    pattern = (
        r"On an \[AMD EPYC\]\S+ it is (\S+) times as long, and the dearest size costs (\d+) % more per atom "
        r"than the cheapest"
    )
    ((ratio, more),) = re.findall(pattern, sentences("README.md"))
    assert "AMD EPYC" in stored("lammps-amd")["environment"]["cpu"]
    found = medians("lammps-amd")
    assert shows(ratio, found["mlip over qsnap"])
    assert shows(more, 100.0 * (found["dearest over cheapest of these sizes"] - 1.0))


# ---- docs/lammps.md: threads ---------------------------------------------------------------------

THREADED = {
    "PET (`pet-si`), 1728 atoms": "PET, 1728 atoms",
    "s-NNP, native kernel, 13 824 atoms": "s-NNP, native, 13824 atoms",
    "s-NNP, `kernel torch`, 13 824 atoms": "s-NNP, torch, 13824 atoms",
    "NequIP, random weights, 1000 atoms": "NequIP, random weights, 1000 atoms",
}
WAYS = ("unset", "2", "package omp 2")


def test_what_a_second_thread_gains():
    found, other = medians("lammps-threads"), medians("lammps-threads-amd")
    rows = table("lammps.md", "gain in ASE", "OMP_NUM_THREADS=2")
    assert [row[0] for row in rows] == list(THREADED)
    for label, in_ase, *beside in rows:
        name = THREADED[label]
        agree([in_ase], [found[f"{name}: gain of a second thread in ASE"]])
        agree(beside, [found[f"{name}: gain with {way}, over that in ASE"] for way in WAYS])
    pattern = r"the gains in ASE are (\S+), (\S+), (\S+) and (\S+), and those in `lmp` (\S+) to (\S+) of them"
    ((*gains, low, high),) = re.findall(pattern, sentences("lammps.md"))
    agree(gains, [other[f"{name}: gain of a second thread in ASE"] for name in THREADED.values()])
    shares = [
        other[f"{name}: gain with {way}, over that in ASE"] for name in THREADED.values() for way in WAYS
    ]
    agree([low, high], [min(shares), max(shares)])
    (sums,) = re.findall(
        r"those of forces gain (\S+) and those of virials per atom (\S+) from", sentences("lammps.md")
    )
    names = ("forces_from_gradients", "virials_from_gradients")
    agree(sums, [found[f"{name}, 32768 atoms: gain of a second thread"] for name in names])


@pytest.mark.parametrize("name", ["lammps-threads", "lammps-threads-amd"])
def test_a_second_thread_gains_in_lammps_what_is_required(name):
    required = [row for row in stored(name)["results"] if row["limit"] is not None]
    assert len(required) == 12 and all(row["limit"] == 0.9 and row["sense"] == "≥" for row in required)
    assert [row["what"] for row in required if row["verdict"] != "pass"] == []
    assert all(row["spread"]["repeats"] >= 7 for row in required)


# ---- docs/adapters.md: what the proof and its tests allow ----------------------------------------


def test_limits_of_the_proof():
    pattern = (
        r"The energy has to agree to (\S+) of its size or, if that is below 1 eV, to (\S+) eV; forces to "
        r"(\S+) eV/Å, the stress to (\S+) eV/Å³; otherwise nothing is written. In float32, (\d+) roundings"
    )
    (stated,) = re.findall(pattern, sentences("adapters.md"))
    expected = (common.ENERGY, common.ENERGY, common.FORCES, common.STRESS, common.SINGLE)
    assert tuple(map(float, stated)) == pytest.approx(expected)


def test_what_the_adapters_tests_allow():
    """Those tests need the families' packages; their limits stand in their text."""

    def limits(family: str, what: str) -> list[float]:
        text = (ROOT / "tests" / "adapters" / f"test_{family}.py").read_text(encoding="utf-8")
        pattern = rf"{what}.energy < (\S+?),? .*?{what}.forces < (\S+?),? .*?{what}.stress < (\S+)"
        return list(map(float, re.search(pattern, text, re.DOTALL).groups()))

    rows = {
        row[0]: [cell.split(" / ") for cell in row[1:]] for row in table("adapters.md", "energy, relative")
    }
    for label, family, what in (("MACE", "mace", "parity"), ("NequIP, Allegro", "nequip", "found")):
        double = limits(family, what)
        assert [[float(part) for part in cell] for cell in rows[label]] == [[x, x * 1e9] for x in double]
    proof = [common.ENERGY, common.FORCES, common.STRESS]
    single = limits("sevennet", r"found\[1\]")
    found = rows["SevenNet, also its installed models"]
    assert [[float(part) for part in cell] for cell in found] == [
        list(pair) for pair in zip(proof, single, strict=True)
    ]
    text = (ROOT / "tests" / "adapters" / "test_pet.py").read_text(encoding="utf-8")
    allowed = re.search(
        r'dict.fromkeys\(VARIANTS, (\d+)\) \| {"the layout of PET-MAD 1.0": (\d+)}', text
    ).groups()
    for label, roundings in zip(("PET", "PET, the layout of PET-MAD 1.0"), allowed, strict=True):
        assert [float(cell[0]) for cell in rows[label]] == proof
        assert [cell[1].split()[0] for cell in rows[label]] == [roundings, roundings, str(common.SINGLE)]


# ---- docs/adapters.md: speed ---------------------------------------------------------------------


def test_speed_beside_the_families_own_calculators():
    notes = {row["what"]: row["note"] for row in stored("adapters")["results"]}
    found = medians("adapters")
    rows = filled(table("adapters.md", "threads", "Cu 256"), 1)
    for family, threads, *cells in rows:
        for size, text in zip(("Si64", "Si216", "Si1000", "Cu256"), cells, strict=False):
            name = f"{FAMILIES[family]}: ours over its own, {size}, {threads} thread(s)"
            assert shows(text, found[name]), name
        assert notes[f"{FAMILIES[family]}: ours over its own, Si1000, {threads} thread(s)"].endswith(cells[4])
    assert len(rows) == 10


def test_steps_of_lammps_and_what_misses_the_aim():
    results = {row["what"]: row for row in stored("adapters")["results"]}
    text = sentences("adapters.md")
    steps = {
        name: results[f"{full}: a step of LAMMPS over ours in ASE, Si1000"] for name, full in FAMILIES.items()
    }
    sevennet = steps.pop("SevenNet-0")["spread"]
    pattern = r"1000 atoms takes (\S+) to (\S+) of a step in ASE; with SevenNet-0 (\S+) \((\S+) to (\S+)\)"
    (stated,) = re.findall(pattern, text)
    medians_ = [row["spread"]["median"] for row in steps.values()]
    agree(stated, [min(medians_), max(medians_), sevennet["median"], sevennet["low"], sevennet["high"]])
    missed = [what for what, row in results.items() if row["verdict"] == "FAIL" and "LAMMPS" not in what]
    pet = results["PET, 3.07 M parameters, random weights: ours over its own, Si64, 2 thread(s)"]
    assert missed == [pet["what"]]
    (stated,) = re.findall(r"64 atoms on two threads, (\S+) \((\S+) to (\S+)\)\.", text)
    agree(stated, [pet["spread"][key] for key in ("median", "low", "high")])


def parts(name: str, heading: str) -> tuple[float, float]:
    """Percent of the time in compiled layers with their derivatives, and in matrix products."""
    text = (
        (RESULTS / f"{name}.md").read_text(encoding="utf-8").split(f"## {heading} forces")[1].split("##")[0]
    )
    rows = re.findall(r"^\| `(.*?)` \| [\d.]+ \| [\d.]+ \| (\d+) %", text, re.MULTILINE)
    compiled = ("FeedforwardBlock>", "AttentionBlock>", "feedforward_block", "attention_block")
    blocks = sum(float(part) for operator, part in rows if operator.endswith(compiled))
    products = sum(float(part) for operator, part in rows if operator in ("aten::mm", "aten::addmm"))
    return blocks, products


def test_where_the_time_goes():
    text = sentences("adapters.md")
    (both,) = re.findall(
        r"(\d+) % of the time that these take are in the compiled .*? and (\d+) % in torch's", text
    )
    assert parts("adapters-profile-2", "Conservative") == tuple(map(float, both))
    (one,) = re.findall(
        r"of their time (\d+) % are in the compiled layers and (\d+) % in matrix products", text
    )
    assert parts("adapters-profile", "Direct") == tuple(map(float, one))


# ---- docs/adapters.md: SevenNet-0 beside DFT -----------------------------------------------------


def test_phonons_beside_the_forces_of_dft():
    found = stored("sevennet-phonons")["rows"]
    rows = table("adapters.md", "a (DFT), Å", "mean error, THz")
    for name, a, c, mean, largest, highest in rows:
        row = found[f"{name.replace(' ', '-')}, forces"]
        agree(numbers(a), [row["a"], row["a_dft"]])
        if c:
            agree(numbers(c), [row["c"], row["c_dft"]])
        agree([mean, largest, *numbers(highest)], [row["mae_THz"], row["max_THz"], *row["optical_THz"]])
    assert len(rows) == 5


def of_the_data_base() -> dict[str, dict]:
    return {name: row for name, row in stored("sevennet-phonons")["rows"].items() if "mean_THz" in row}


def test_the_first_crystals_of_the_data_base():
    found = of_the_data_base()
    rows = table("adapters.md", "a deviates, %", "lowest, THz")
    for name, a, mean, bias, absolute, lowest in rows:
        row = found[name]
        deviation = 100.0 * (row["a"] / row["a_dft"] - 1.0)
        agree([a, mean, bias, absolute], [deviation, row["mean_THz"], row["bias_THz"], row["mae_THz"]])
        assert lowest == "–" if row["lowest_THz"] > -0.05 else shows(lowest, row["lowest_THz"])
    assert [row[0] for row in rows] == list(found)[: len(rows)] and len(rows) == 12


def test_what_is_said_of_all_crystals():
    found = of_the_data_base()
    pattern = (
        r"Of (\d+) of them, a deviates by (\S+) % on average, and frequencies on the q-mesh by (\S+) THz "
        r"\(median (\S+)\); they are "
        r"(\S+) % too low on average\. (\w+) of them have imaginary modes, BN most \((\S+) THz\); CuH is "
        r"furthest off \((\S+) THz as zincblende\)"
    )
    ((count, a, mean, median, low, imaginary, least, most),) = re.findall(pattern, sentences("adapters.md"))
    errors = {name: row["mae_THz"] for name, row in found.items()}
    lowest = {name: row["lowest_THz"] for name, row in found.items()}
    strains = [abs(row["a"] / row["a_dft"] - 1.0) for row in found.values()]
    too_low = [-row["bias_THz"] / row["mean_THz"] for row in found.values()]
    expected = [
        len(found),
        100 * np.mean(strains),
        np.mean(list(errors.values())),
        np.median(list(errors.values())),
    ]
    agree([count, a, mean, median, low], [*expected, 100 * np.mean(too_low)])
    assert (imaginary, sum(value < -0.05 for value in lowest.values())) == ("Nine", 9)
    assert min(lowest, key=lowest.get).startswith("BN") and shows(least, min(lowest.values()))
    assert max(errors, key=errors.get) == "CuH-216" and shows(most, max(errors.values()))


# ---- docs/md_stability.md ------------------------------------------------------------------------


def test_the_cost_of_replicas_in_batches():
    found = medians("replicas")
    rows = table("md_stability.md", "one after another with the calculator", "gain")
    assert [row[0] for row in rows] == ["`snnp-si`", "`pet-si`"]
    for label, *cells, gain in rows:
        name = label.strip("`")
        ways = ("the calculator, one after another", "batches, as many as are fastest")
        agree(cells, [found[f"{name}, {way}"] for way in ways])
        agree([gain.removesuffix(" ×")], [found[f"{name}: gain of batches"]])
    environment = stored("replicas")["environment"]
    assert (environment["cpu"], environment["threads"]) == ("AMD EPYC", 1)
    pattern = r"one thread of an AMD EPYC, torch (\S+), ase (\S+), 32 replicas"
    (stated,) = re.findall(pattern, sentences("md_stability.md"))
    assert stated == (environment["torch"].partition("+")[0], environment["ase"])


def test_the_cost_of_a_step_beside_the_model():
    pattern = (
        r"for 32 replicas of ethanol: (\S+) µs with Langevin and (\S+) µs with Nosé–Hoover, and with a "
        r"record every 10 steps, which is judged and kept, (\S+) and (\S+) µs\. For a single replica it is "
        r"(\S+) and (\S+) µs"
    )
    (stated,) = re.findall(pattern, sentences("md_stability.md"))
    found = medians("replicas")
    cases = ("32, records at both ends", "32, a record every 10 steps", "1, records at both ends")
    kinds = ("langevin", "nose-hoover")
    agree(stated, [found[f"ethanol, {kind}, replicas: {case}"] for case in cases for kind in kinds])


# ---- docs/landscapes.md --------------------------------------------------------------------------


def test_the_cost_of_a_landscape():
    rows = {row["what"]: row for row in stored("landscape-cost")["results"]}
    (snnp, pet) = table("landscapes.md", "outside the network")
    for name, (label, minutes, outside, scaled) in (("s-NNP", snnp), ("PET", pet)):
        assert name in label
        whole = rows[f"{name}: processor time"]
        assert shows(minutes.removesuffix(" min"), whole["spread"]["median"])
        assert (whole["sense"], whole["limit"]) == ("≤", 5.0 if name == "s-NNP" else 90.0)
        assert whole["spread"]["median"] <= whole["limit"]
        assert whole["note"] == f"{scaled}, scaled"
        rest = rows[f"{name}: processor time outside the network"]["spread"]["median"]
        assert shows(outside.removesuffix(" %"), rest)
    assert stored("landscape-cost")["environment"]["threads"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "lammps",
        "inference",
        "adapters",
        "metatomic-symmetry",
        "sevennet-phonons",
        "landscape-cost",
        "replicas",
    ],
)
def test_what_is_quoted_says_when_and_on_what_it_was_measured(name):
    environment = stored(name)["environment"]
    assert {"date", "commit", "cpu", "cores", "python", "torch"} <= environment.keys()
