"""Tables of docs/validation.md, docs/relaxation.md and docs/symmetry.md are what benchmarks/results holds.

The commands that measure it stand above each table. A measurement that is made anew has to change the page.
"""

import re

import pytest
from doc_tables import agree, filled, medians, numbers, parsed, sentences, shows, stored, table, tables

ROTATIONS = {"none": 1, "octahedral": 24, "icosahedral": 60, "crystal": 48}
MODELS = ("pet-si", "pet-ge", "pet-mo")


def rows_of(model: str) -> dict[str, dict]:
    return stored(f"validation-{model}")["rows"]


def group(name: str) -> str:
    """`I4_1/amd (141)` as the pages write it."""
    return name.split(" ")[0].replace("_1", "₁")


# ---- relaxation ----------------------------------------------------------------------------------


def check_relaxed(cells: list[str], found: dict) -> None:
    steps, energy, lengths, *groups = cells
    assert found["converged"]
    agree([steps, energy], [found["steps"], found["energy_eV_atom"]])
    shown = lengths.split(", ")
    agree(shown * 3 if len(shown) == 1 else shown, found["cell_A"])
    assert groups == [group(found["space_groups"][symprec]) for symprec in ("0.01", "0.0001", "1e-06")]


@pytest.mark.parametrize("page", ["validation.md", "relaxation.md"])
def test_relaxations_of_silicon(page):
    rows = table(page, "evaluations", "steps", "10⁻⁶")
    for averaging, evaluations, *cells in rows:
        name = re.sub(r'`symmetrize="(\w+)"`', r"\1", averaging)
        assert int(evaluations) == ROTATIONS[name]
        check_relaxed(cells, rows_of("pet-si")[f"relaxation: {name}"])
    assert len(rows) == 4


def test_relaxations_of_germanium_and_molybdenum():
    rows = filled(table("validation.md", "| averaging | steps", "10⁻⁶"), 1)
    for model, averaging, *cells in rows:
        check_relaxed(cells, rows_of(model.split(",")[0])[f"relaxation: {averaging}"])
    assert len(rows) == 8


def test_saddles():
    rows = filled(table("relaxation.md", "start", "energy before"), 1)
    for start, way, before, after, space_group, steps in rows:
        name = {"`keep_space_group=True`": "fix", '`symmetrize="crystal"`': "average"}.get(way, way)
        name = name.replace("`keep_space_group=True`, rattled", "fix, rattled").removesuffix(" by 0.01 Å")
        found = rows_of("pet-si")[f"saddles: {start.replace('β', 'beta')}, {name}"]
        agree(
            [before, after, steps],
            [found["energy_before_eV_atom"], found["energy_eV_atom"], found["steps"]],
        )
        assert space_group == group(found["space_groups"]["0.01"])
    assert len(rows) == 12


# ---- phonons -------------------------------------------------------------------------------------


def check_audit(cells: list[str], found: dict) -> None:
    splitting, of_optical, acoustic, optical, evaluations, seconds = cells
    agree([splitting, acoustic], [found["splitting_THz"], found["acoustic_THz"]])
    if found["optical_THz"] is None:
        assert of_optical == optical == ""
    else:
        agree([of_optical, optical], [found["optical_splitting_THz"], found["optical_THz"]])
    for texts, what in ((evaluations, "evaluations"), (seconds, "seconds")):
        agree(texts.split(", "), [found[f"audit_{what}"], found[f"production_{what}"]])


def audits(model: str) -> list[tuple[str, list[str]]]:
    """Names of rows in the results and cells of the page."""
    silicon, others = tables("validation.md", "supercell, u")
    if model == "pet-si":
        return [(f"{row[1]}, {row[0]}".replace("×", "x"), row[2:]) for row in silicon]
    rows = [row for row in filled(others, 1) if row[0].startswith(model)]
    return [(f"{row[1]}, {row[0].partition(', ')[2]}".replace("×", "x"), row[2:]) for row in rows]


@pytest.mark.parametrize(("model", "count"), [("pet-si", 16), ("pet-ge", 8), ("pet-mo", 8)])
def test_audits(model, count):
    found = audits(model)
    for name, cells in found:
        check_audit(cells, rows_of(model)[f"phonons: {name}"])
    assert len(found) == count


def test_what_is_said_of_silicons_audits():
    found = {name: row for name, row in rows_of("pet-si").items() if name.startswith("phonons: ")}
    for name, row in found.items():
        plain = found["phonons: none, " + name.split(", ", 1)[1]]
        assert abs(row["optical_THz"] - plain["optical_THz"]) < 0.01
        scheme = name.split(" ")[1].strip(",")
        assert row["splitting_THz"] < {"none": 1.0, "crystal": 1e-12}.get(scheme, 5e-3)
        assert row["acoustic_THz"] < 1e-3
        if scheme == "crystal":
            assert row["production_evaluations"] == 13
    assert "by less than 0.01 THz; where the plain model splits a mode by 0.14 THz" in sentences(
        "validation.md"
    )


def test_optical_modes_beside_dft():
    (silicon, data, *_, germanium) = [
        row for row in table("validation.md", "C11, GPa", "C44, relaxed") if row[7]
    ]
    for row, model in ((silicon, "pet-si"), (germanium, "pet-ge")):
        assert row[0].endswith(model)
        assert shows(row[7], rows_of(model)["phonons: none, 2x2x2, 0.01 Å"]["optical_THz"])
    assert shows(data[7].removesuffix(" [5]"), rows_of("pet-si")["reference: none"]["optical_THz"][1])


def test_beside_the_forces_of_dft():
    rows = table("validation.md", "mean absolute error", "DFT 15.111")
    for averaging, mean, largest, optical, evaluations in rows:
        found = rows_of("pet-si")[f"reference: {averaging}"]
        expected = [found["mean_absolute_error_THz"], found["max_error_THz"], found["optical_THz"][0]]
        agree([mean, largest, optical, evaluations], [*expected, found["evaluations"]])
        assert shows("15.111", found["optical_THz"][1])
    assert len(rows) == 4


# ---- dynamics ------------------------------------------------------------------------------------


def check_dynamics(model: str, rows: list[list[str]]) -> None:
    for averaging, forces, temperature, *cells in rows:
        kind = {"conservative": "dynamics"}.get(forces, forces)
        found = rows_of(model)[f"{kind}: {averaging}, {temperature} K, 1 ps"]
        names = ("drift_meV_atom_ps", "fluctuation_meV_atom", "mean_temperature_K")
        agree(cells, [found[name] for name in names])
        assert found.get("completed", True)


def forces_filled(rows: list[list[str]], column: int) -> list[list[str]]:
    """The forces are those of the row above where the cell is empty."""
    above, found = "", []
    for row in rows:
        above = row[column] or above
        found.append([*row[:column], above, *row[column + 1 :]])
    return found


def test_dynamics_at_constant_energy():
    first, second = tables("validation.md", "drift, meV/atom/ps", "scatter")
    check_dynamics("pet-si", forces_filled(first, 1))
    others = forces_filled(filled(second, 1), 2)
    for model in MODELS[1:]:
        check_dynamics(model, [row[1:] for row in others if row[0] == model])
    assert (len(first), len(second)) == (15, 28)


def test_what_is_said_of_direct_forces():
    rows, text = rows_of("pet-si"), sentences("validation.md")
    audit = [rows[f"direct: {scheme}, audit 2x2x2, 0.01 Å"] for scheme in ("none", "octahedral")]
    (asymmetry,) = re.findall(r"is up to (\S+) eV/Å² plain and (\S+) eV/Å² with the octahedral group, where "
                              r"conservative forces give (\S+) eV/Å²", text)  # fmt: skip
    conservative = rows["phonons: none, 2x2x2, 0.01 Å"]["permutation_eV_A2"]
    agree(asymmetry, [*(row["permutation_eV_A2"] for row in audit), conservative])
    (split,) = re.findall(r"splitting of modes, (\S+) THz plain and (\S+) THz octahedral", text)
    agree(split, [row["splitting_THz"] for row in audit])
    (energy,) = re.findall(r"64 atoms rises by (\S+) meV/atom/ps, and it scatters (\d+) to (\d+) times", text)
    cases = ("none, 64 atoms", "none, 8 atoms", "octahedral, 8 atoms")
    scatter = [
        rows[f"direct: {case}, 300 K, 1 ps"]["fluctuation_meV_atom"]
        / rows[f"dynamics: {case}, 300 K, 1 ps"]["fluctuation_meV_atom"]
        for case in cases
    ]
    drift = rows["direct: none, 64 atoms, 300 K, 1 ps"]["drift_meV_atom_ps"]
    agree(energy, [drift, min(scatter), max(scatter)])
    (others,) = re.findall(r"modes of germanium by (\S+) THz plain and (\S+) THz with the octahedral group, "
                           r"those of molybdenum by (\S+) THz and (\S+) THz\.", text)  # fmt: skip
    expected = [
        rows_of(model)[f"direct: {scheme}, audit 2x2x2, 0.01 Å"]["splitting_THz"]
        for model in MODELS[1:]
        for scheme in ("none", "octahedral")
    ]
    agree(others, expected)


# ---- docs/symmetry.md ----------------------------------------------------------------------------


def test_memory():
    rows = {name: row for name, row in rows_of("pet-si").items() if name.startswith("memory: ")}
    (before,) = re.findall(r"in MB; (\d+) of it is there before", sentences("symmetry.md"))
    for atoms, once, four, *groups in table("symmetry.md", "none, once", "icosahedral"):
        size = "5x5x5" if atoms == "1000" else "8x8x8"
        plain = rows[f"memory: none, {size}"]
        agree([atoms, once, four], [plain["atoms"], plain["once_MB"], plain["peak_MB"]])
        for text, scheme in zip(groups, ("octahedral", "icosahedral"), strict=True):
            found = rows[f"memory: {scheme}, {size}"]
            share = found["peak_MB"] / plain["peak_MB"]
            own = (found["peak_MB"] - found["before_MB"]) / (plain["peak_MB"] - plain["before_MB"])
            agree(numbers(text), [found["peak_MB"], share, own])
            assert shows(before, found["before_MB"])


def test_beside_metatomic():
    found = medians("metatomic-symmetry")
    names = {
        "plain": "none",
        "octahedral": "octahedral",
        "icosahedral": "icosahedral",
        "lebedev 5": "lebedev 5",
    }
    rows = table("symmetry.md", "anisotropy, meV/Å", "| s")
    for label, _, anisotropy, seconds in rows:
        if label in names:
            expected = [f"anisotropy, ours, {names[label]}", f"seconds per structure, ours, {names[label]}"]
        else:
            one = ", one at a time" if "one at a time" in label else ""
            expected = ["anisotropy, metatomic, l_max=3", f"seconds per structure, metatomic, l_max=3{one}"]
        agree([anisotropy, numbers(seconds)[0]], [found[name] for name in expected])
    assert len(rows) == 6
    shown = numbers(rows[0][3])
    assert shows(shown[1], found["seconds per structure, metatomic, plain"])


def test_what_is_said_beside_metatomic():
    found, text = medians("metatomic-symmetry"), sentences("symmetry.md")
    spread = {row["what"]: row["spread"] for row in stored("metatomic-symmetry")["results"]}
    pattern = (
        r"At 60 evaluations (\d+) times less anisotropy is left than with its default, in (\S+) of its time "
        r"\((\S+) to (\S+) in five rounds\); with octahedral's 24 it is (\S+) times as much in (\S+) of its "
        r"time\. Plain forces of both agree to 1e-7 eV/Å"
    )
    (first,) = re.findall(pattern, text)
    time = spread["time, icosahedral over metatomic, l_max=3"]
    octahedral = found["anisotropy, ours, octahedral"] / found["anisotropy, metatomic, l_max=3"]
    share = (
        found["seconds per structure, ours, octahedral"] / found["seconds per structure, metatomic, l_max=3"]
    )
    expected = [found["anisotropy, metatomic over icosahedral"], time["median"], time["low"], time["high"]]
    agree(first, [*expected, octahedral, share])
    assert shows("1e-7", found["largest difference of plain forces"])
    pattern = (
        r"take (\S+) s with the crystal's group by cosets \((\d+) evaluations\), and (\S+) s through "
        r"metatomic's .*?: (\S+) of the time"
    )
    (second,) = re.findall(pattern, text)
    names = ("phonons of Si, 64 atoms: crystal by cosets, 13 evaluations", "the same, metatomic, l_max=3")
    ours, theirs = (found[name] for name in names)
    agree(second, [ours, 13, theirs, found["phonons, ours over metatomic"]])
    (third,) = re.findall(
        r"split by (\S+) THz with the crystal's group and by (\S+) THz with metatomic", text
    )
    names = ("splitting of degenerate modes, crystal", "splitting of degenerate modes, metatomic, l_max=3")
    agree(third, [found[name] for name in names])
    assert parsed(third[0])[0] < 1e-12
