"""The page and the table of a validation."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..pictures.page import Picture, Section, Table, write_report
from ..provenance import write_atomically

# column of the table: header, step, how to get it from that step's numbers, format
COLUMNS = (
    ("space group (0.01 Å)", "relaxation", lambda n: n["spacegroup_after"]["0.01"] or "–", "{}"),
    ("volume (Å³/atom)", "relaxation", lambda n: n["volume_per_atom"], "{:.3f}"),
    ("energy (eV/atom)", "relaxation", lambda n: n["energy_per_atom"], "{:.4f}"),
    ("relaxed", "relaxation", lambda n: n["converged"] and n.get("relaxed_within_symmetry", True), "{}"),
    ("highest at Γ (THz)", "phonons", lambda n: max(n["gamma"]), "{:.2f}"),
    ("lowest mode (THz)", "phonons", lambda n: n["lowest_frequency"], "{:.2f}"),
    ("splitting (THz)", "phonons", lambda n: n["audit"]["splitting"], "{:.1e}"),
    ("band error (THz)", "phonons", lambda n: n["comparison"]["mean_absolute_error"], "{:.3f}"),
    ("bulk modulus (GPa)", "elasticity", lambda n: n["moduli"]["bulk"], "{:.1f}"),
    ("shear modulus (GPa)", "elasticity", lambda n: n["moduli"]["shear"], "{:.1f}"),
    ("anisotropy of forces (meV/Å)", "symmetry", lambda n: 1000.0 * n["rows"][0]["forces"], "{:.2f}"),
    ("dynamics stable", "dynamics", lambda n: n["stable"], "{}"),
    ("drift (meV/atom/ps)", "dynamics", lambda n: n["drift"], "{:+.3f}"),
)
TITLES = {
    "relaxation": "Relaxation",
    "phonons": "Phonons",
    "elasticity": "Elasticity",
    "symmetry": "Symmetry",
    "dynamics": "Dynamics",
    "process": "Process",
}
ALT = {
    "relaxation.png": "Energy and largest gradient against the optimiser's step",
    "bands.png": "Phonon bands and density of states",
    "comparison.png": "Phonon bands beside the reference's",
    "elasticity.png": "Stress against strain and Young's modulus by direction",
    "symmetry.png": "Anisotropy of the forces against the number of evaluations",
    "dynamics.png": "Energies, temperatures, distances and survival",
}


def overview(document: dict) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: a row for each structure, "–" for what it has not."""
    header = ["structure", "formula", *(name for name, *_ in COLUMNS), "failed"]
    rows = []
    for name, record in document["structures"].items():
        cells = [_cell(record["steps"], step, get, form) for _, step, get, form in COLUMNS]
        failed = [step for step, found in record["steps"].items() if _failed(found)]
        rows.append([name, record.get("formula", "–"), *cells, ", ".join(failed) or "–"])
    return header, rows


def _failed(found: dict) -> bool:
    """An error, or a relaxation without the crystal that all else needs."""
    return "error" in found or not found.get("numbers", {}).get("relaxed_within_symmetry", True)


def _cell(steps: dict, step: str, get, form: str) -> str:
    numbers = steps.get(step, {}).get("numbers")
    try:
        value = None if numbers is None else get(numbers)
    except (KeyError, TypeError):  # a part that this structure has not, such as a comparison
        value = None
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return value if isinstance(value, str) else _unsigned_zero(form.format(value))


def write_csv(path: Path, document: dict) -> None:
    """The table as comma-separated values, empty where a structure has none. Raises OSError."""
    header, rows = overview(document)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([header, *[["" if cell == "–" else cell for cell in row] for row in rows]])
    write_atomically(path, stream.getvalue().encode("utf-8"))


def write_page(path: Path, document: dict, folder: Path) -> None:
    """The self-contained page; pictures are those in ``folder/NAME/``. Raises OSError."""
    model = document["model"]
    structures = document["structures"]
    header, rows = overview(document)
    failures = [f"{row[0]}: {row[-1]} failed" for row in rows if row[-1] != "–"]
    count = f"{len(structures)} structure{'s' if len(structures) != 1 else ''}"
    glance = Section("At a glance", tables=[Table(header, rows)], warnings=failures)
    sections = [glance, *(_structure(name, record, folder / name) for name, record in structures.items())]
    sections.append(_provenance(document))
    introduction = [
        f"{count} with the potential {model['name']}: relaxation, phonons, elastic constants, dependence on "
        "orientation, dynamics at constant energy.",
        _what_a_click_does(sections),
        model["description"],
    ]
    texts = [text for text in introduction if text]
    write_report(path, f"Validation of {model['name']}", texts, sections, f"ase_mlip {_version(document)}")


def _what_a_click_does(sections: list[Section]) -> str:
    sorts = any(table.sortable for section in sections for table in section.tables)
    enlarges = any(section.pictures for section in sections)
    parts = ["a column's head to sort by it"] * sorts + ["a picture to see it in full size"] * enlarges
    return f"Click {', '.join(parts)}." if parts else ""


def _structure(name: str, record: dict, folder: Path) -> Section:
    warnings, tables, pictures = [record["anew"]] if "anew" in record else [], [], []
    for step, found in record["steps"].items():
        title = TITLES[step]
        if "error" in found:
            warnings.append(f"{title} failed: {found['error']}")
        elif "skipped" in found:
            warnings.append(f"{title}: left out, {found['skipped']}")
        else:
            warnings += [f"{title}: {text}" for text in found["warnings"]]
            header, rows = _rows(step, found["numbers"])
            tables.append(Table((title, *header), rows, caption=f"{found['seconds']:.1f} s"))
            for picture in found["pictures"]:
                file = folder / picture
                if file.is_file():
                    pictures.append(Picture(file.read_bytes(), f"{name}: {ALT[picture]}", ALT[picture]))
                else:
                    warnings.append(f"{title}: the picture {picture} is missing in {folder.name}/")
    return Section(f"{name}: {record.get('formula', '')}", (), tables, pictures, warnings)


def _rows(step: str, numbers: dict) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header after the first column, and rows."""
    if step == "symmetry":
        return ("evaluations", "forces, meV/Å", "energy, meV/atom"), _symmetry_rows(numbers)
    rows = {
        "relaxation": _relaxation_rows,
        "phonons": _phonon_rows,
        "elasticity": _elastic_rows,
        "dynamics": _dynamics_rows,
    }
    return ("",), rows[step](numbers)


def _relaxation_rows(n: dict) -> list[tuple[str, str]]:
    state = "converged" if n["converged"] else "NOT converged"
    rows = [
        ("optimiser", f"{state} in {n['steps']} steps, largest force {n['fmax']:.1e} eV/Å"),
        ("cell", f"{_list(n['cell_lengths'], '.4f')} Å, {_list(n['cell_angles'], '.2f')}°"),
        ("moved", f"{n['rmsd']:.2e} Å (root mean square)"),
    ]
    rows += [
        (f"space group within {symprec} Å", f"{n['spacegroup_before'][symprec] or '–'} → {group or '–'}")
        for symprec, group in n["spacegroup_after"].items()
    ]
    for name, value in (n["noise"] or {}).items():
        if value is not None:
            rows.append((f"noise of forces, {name}", f"{value:.1e} eV/Å"))
    return rows


def _phonon_rows(n: dict) -> list[tuple[str, str]]:
    audit, lowest = n["audit"], _unsigned_zero(f"{n['lowest_frequency']:.3f}")
    rows = [
        ("supercell", f"{n['n_atoms_supercell']} atoms, displacements: {n['n_displacements']}"),
        ("frequencies at Γ", f"{_list(n['gamma'], '.3f')} THz"),
        ("lowest frequency", f"{lowest} THz: {'stable' if n['stable'] else 'UNSTABLE'}"),
        ("modes equal by symmetry differ by", f"{audit['splitting']:.1e} THz, at {audit['splitting_at']}"),
        ("acoustic modes at Γ, uncorrected", f"{_list(audit['acoustic'], '.1e')} THz"),
        ("sum rule, permutation", f"{audit['sum_rule_error']:.1e}, {audit['permutation_error']:.1e} eV/Å²"),
    ]
    for q in n["imaginary"][:3]:
        rows.append(("imaginary", f"{q[3]:.3f} THz at q = ({_list(q[:3], '.3f')})"))
    if "comparison" in n:
        compared = n["comparison"]
        rows.append((
            f"against {compared['source']}",
            f"mean absolute error {compared['mean_absolute_error']:.3f} THz, largest "
            f"{compared['max_error']:.3f} THz; cell {compared['lattice_strain']:+.2%}",
        ))  # fmt: skip
    return rows


def _elastic_rows(n: dict) -> list[tuple[str, str]]:
    rows = [(f"stiffness, row {i + 1}", f"{_list(row, '.1f')} GPa") for i, row in enumerate(n["stiffness"])]
    state = "stable" if n["stable"] else "NOT stable"
    rows.append(("mechanically", f"{state}, smallest eigenvalue {n['eigenvalues'][0]:.1f} GPa"))
    if n["moduli"]:
        m = n["moduli"]
        rows.append(
            ("bulk, shear, Young's modulus", f"{_list((m['bulk'], m['shear'], m['young']), '.1f')} GPa")
        )
        rows.append(("Poisson's ratio", f"{m['poisson_ratio']:.3f}"))
    return rows


def _symmetry_rows(n: dict) -> list[tuple[str, ...]]:
    return [
        (row["scheme"], f"{row['evaluations']}", *(f"{1000.0 * row[of]:.3g}" for of in ("forces", "energy")))
        for row in n["rows"]
    ]


def _dynamics_rows(n: dict) -> list[tuple[str, str]]:
    count = len(n["failures"])
    rows = [
        ("runs", f"{count} of {n['time']:g} ps from {n['temperature_K']:g} K, {n['n_atoms']} atoms"),
        ("verdict", "stable" if n["stable"] else "UNSTABLE"),
        ("shortest distance", f"{n['min_distance']:.2f} Å"),
    ]
    drift = f"left out, {n['time']:g} ps are too short for one"
    if n["drift"] is not None:
        drift = f"{n['drift']:+.2g} meV/atom/ps"
    rows.append(("drift of the energy", drift))
    rows += [("failure", f"{f['kind']}: {f['detail']}") for f in n["failures"] if f]
    return rows


def _provenance(document: dict) -> Section:
    rows = [("model document", f"SHA-256 {document['model']['file_sha256'][:16]}…")]
    for part in ("settings", "versions", "hardware"):
        rows += [(f"{name}", f"{value}") for name, value in document[part].items()]
    rows.append(("time of the last run", f"{document['seconds']:.0f} s"))
    return Section("Where these numbers come from", tables=[Table((), rows)])


def _version(document: dict) -> str:
    return document["versions"]["ase_mlip"]


def _list(values, form: str) -> str:
    return ", ".join(_unsigned_zero(format(value, form)) for value in values)


def _unsigned_zero(text: str) -> str:
    return text.removeprefix("-") if float(text) == 0.0 else text
