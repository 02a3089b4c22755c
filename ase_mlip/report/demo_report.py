"""What the demonstration found, as JSON, as a table of text and as a page."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import torch

from .. import __version__
from ..pictures.page import Picture, Section, Table, write_report
from ..provenance import hardware, versions
from . import silicon

if TYPE_CHECKING:
    from .demo_steps import Demo


def collect(demo: Demo, seconds: float) -> dict:
    """Everything that ``results.json`` holds."""
    info = demo.precise.model.info
    return {
        "schema_version": 1,
        "model": {
            "name": info.name,
            "description": info.description,
            "file_sha256": info.document_sha256,
            "species": info.symbols,
            "cutoff": info.cutoff,
            "license": info.license,
            "training_errors": info.training.get("errors", {}),
        },
        **demo.numbers,
        "comparison": _comparison(demo.numbers),
        "warnings": [f"{step}: {text}" for step, texts in demo.warnings.items() for text in texts],
        "seconds": {**demo.seconds, "total": seconds},
        "versions": versions(),
        "hardware": hardware(str(demo.fast.model.device), torch.get_num_threads()),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def comparison_text(results: dict) -> str:
    """The comparison as aligned text."""
    rows = [_comparison_header(results), *_comparison_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    aligned = [
        (row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)))
        for row in rows
    ]
    return "\n".join("  ".join(row) for row in aligned)


def write(demo: Demo, results: dict) -> None:
    """Write ``report.html`` beside the pictures."""
    model = results["model"]
    introduction = [
        f"Silicon with the potential {model['name']}, from one model file: its checks, a relaxation, the "
        "equation of state, phonons and molecular dynamics.",
        model["description"],
    ]
    if not results["warnings"]:
        introduction.append("No step raised a warning.")
    sections = [_glance(demo, results)]
    builders = (_relaxation, _equation_of_state, _phonons, _dynamics, _lammps, _check)
    sections += [builder(demo, results) for builder in builders if _key(builder) in demo.seconds]
    sections.append(_provenance(results))
    footer = f"ase_mlip {__version__}, {results['created']}"
    paragraphs = [text for text in introduction if text]
    title = f"{model['name']}: silicon"
    write_report(demo.output / "report.html", title, paragraphs, sections, footer)


# ---- sections ----------------------------------------------------------------------------------------------


def _key(builder) -> str:
    return builder.__name__.removeprefix("_")


def _glance(demo: Demo, results: dict) -> Section:
    count = len(results["warnings"])
    warnings = (
        [f"{count} warning{'s' if count > 1 else ''}, shown with the step it belongs to."] if count else []
    )
    table = Table(_comparison_header(results), _comparison_rows(results), caption=" ".join(silicon.SOURCES))
    return Section("At a glance", tables=[table], warnings=warnings)


def _relaxation(demo: Demo, results: dict) -> Section:
    text = (
        "The conventional cell of 8 atoms starts with every atom moved (0.1 Å root mean square) and the cell "
        "sheared and stretched by up to 3 %. Atoms and cell are relaxed together, in float64."
    )
    tables = []
    numbers = results.get("relaxation")
    if numbers:
        rows = [
            ("steps", f"{numbers['steps']} ({numbers['optimizer']})"),
            ("energy before", f"{numbers['energy_before'] / 8:.4f} eV/atom"),
            ("energy after", f"{numbers['energy_after'] / 8:.4f} eV/atom"),
            ("largest force left", f"{numbers['fmax']:.1e} eV/Å"),
            ("largest stress left", f"{numbers['stress_max'] * 160.21766:.1e} GPa"),
            ("cell lengths", ", ".join(f"{x:.4f}" for x in numbers["cell_lengths"]) + " Å"),
            ("cell angles", ", ".join(f"{x:.3f}" for x in numbers["cell_angles"]) + "°"),
            ("atoms from diamond's sites", f"{numbers['distance_from_diamond']:.1e} Å (root mean square)"),
        ]
        rows += [
            (f"space group within {symprec} Å", f"{numbers['spacegroup_before'][symprec]} → {group}")
            for symprec, group in numbers["spacegroup_after"].items()
        ]
        caption = ""
        if not demo.precise.model.info.equivariant:
            caption = (
                "The network is not symmetric by construction: how tight a tolerance the space group "
                "survives shows how well it has learned the symmetry."
            )
        tables = [Table((), rows, caption)]
    alt = "Energy above the final one and the largest gradient, falling with the optimiser's step"
    return _section(demo, "Relaxation", "relaxation", [text], tables, alt)


def _equation_of_state(demo: Demo, results: dict) -> Section:
    text = "Energy of the ideal diamond structure against volume, and the Birch–Murnaghan curve through it."
    tables = []
    numbers = results.get("equation_of_state")
    if numbers:
        rows = [
            ("lattice constant", f"{numbers['lattice_constant']:.4f} Å"),
            ("energy", f"{numbers['energy_per_atom']:.4f} eV/atom"),
            ("bulk modulus", f"{numbers['bulk_modulus']:.2f} GPa"),
            ("its pressure derivative", f"{numbers['bulk_modulus_derivative']:.2f}"),
            ("deviation of the fit", f"{1000 * numbers['fit_error']:.4f} meV/atom"),
        ]
        tables = [Table((), rows)]
    alt = "Computed energies per atom against volume with the fitted curve"
    return _section(demo, "Equation of state", "equation_of_state", [text], tables, alt)


def _phonons(demo: Demo, results: dict) -> Section:
    numbers = results.get("phonons")
    tables, paragraphs = [], []
    if numbers:
        paragraphs.append(
            f"Displacements of {numbers['distance']} Å in a supercell of "
            f"{numbers['n_atoms_supercell']} atoms, as many as symmetry makes distinct "
            f"({numbers['n_displacements']}), in float64. Points are calculations with the PBE functional "
            "and measurements, as above."
        )
        audit = numbers["audit"]
        rows = [
            ("optical mode at Γ", f"{numbers['gamma'][-1]:.3f} THz"),
            ("lowest frequency on mesh and path", f"{numbers['lowest_frequency']:.4f} THz"),
            ("forces in the perfect crystal", f"{numbers['residual_force']:.1e} eV/Å (subtracted)"),
            ("acoustic modes at Γ, uncorrected", f"{numbers['gamma_acoustic_raw']:.1e} THz"),
            ("sum rule error of the force constants", f"{numbers['sum_rule_error']:.1e} eV/Å²"),
            ("audit: splitting of the optical mode at Γ", f"{audit['optical_splitting']:.1e} THz"),
            ("audit: acoustic modes at Γ", f"{audit['acoustic_max']:.1e} THz"),
        ]
        if numbers["heat_capacity_300K"] is not None:
            rows.insert(
                2, ("heat capacity at 300 K", f"{numbers['heat_capacity_300K']:.2f} J/K per mol of atoms")
            )
        tables = [
            Table(
                (),
                rows,
                f"The audit moves both atoms of the primitive cell both ways along x, y and z "
                f"({audit['n_displacements']} supercells) and imposes nothing: what it shows is the model's "
                "own symmetry, not that of the method.",
            )
        ]
    alt = "Phonon band structure along Γ, X, U or K, Γ, L beside the density of states, with reference points"
    return _section(demo, "Phonons", "phonons", paragraphs, tables, alt)


def _dynamics(demo: Demo, results: dict) -> Section:
    numbers = results.get("dynamics")
    tables, paragraphs = [], []
    if numbers:
        paragraphs.append(
            f"{numbers['n_atoms']} atoms, velocity Verlet with {numbers['timestep_fs']:g} fs, in "
            f"{numbers['dtype']}. The atoms start on their sites at 600 K; half of that becomes potential "
            f"energy at once. The first {demo.settings.equilibration:g} fs do not count."
        )
        rows = [
            ("steps", f"{numbers['steps']}"),
            ("energy drift", f"{numbers['drift']:+.2g} meV/atom/ps"),
            ("energy fluctuation", f"{numbers['fluctuation']:.4f} meV/atom"),
            ("mean temperature", f"{numbers['mean_temperature']:.0f} K"),
            ("farthest atom from its site at the end", f"{numbers['max_displacement']:.3f} Å"),
            ("time per step", f"{numbers['milliseconds_per_step']:.1f} ms"),
            ("time per atom and step", f"{numbers['microseconds_per_atom_and_step']:.0f} µs"),
        ]
        tables = [Table((), rows)]
    alt = "Change of the total energy with its straight-line drift, and temperature, against time"
    return _section(demo, "Molecular dynamics", "dynamics", paragraphs, tables, alt)


def _lammps(demo: Demo, results: dict) -> Section:
    numbers = results.get("lammps")
    tables, paragraphs = [], []
    if numbers:
        paragraphs.append(
            "The same start in LAMMPS, with pair_style mlip and the same model file. The last structure is "
            "given to the ASE calculator: differences are those of rounding."
        )
        rows = [("steps", f"{numbers['steps']}"), ("energy drift", f"{numbers['drift']:+.2g} meV/atom/ps")]
        for key, name in (("difference", "stored precision"), ("difference_float64", "float64")):
            difference = numbers[key]
            rows.append((f"energy, LAMMPS against ASE ({name})", f"{difference['energy']:.1e} eV/atom"))
            rows.append((f"forces, LAMMPS against ASE ({name})", f"{difference['forces']:.1e} eV/Å"))
        rows.append(("time per step", f"{numbers['milliseconds_per_step']:.1f} ms"))
        tables = [Table((), rows)]
    return _section(demo, "Molecular dynamics in LAMMPS", "lammps", paragraphs, tables, "")


def _check(demo: Demo, results: dict) -> Section:
    numbers = results.get("check", {"results": []})
    verdicts = {True: "pass", False: "FAIL", None: "reported"}
    rows = [
        (
            result["name"],
            f"{result['value']:.1e} {result['unit']}",
            "" if result["tolerance"] is None else f"{result['tolerance']:.0e}",
            verdicts[result["passed"]],
        )
        for result in numbers["results"]
    ]
    text = "What the file promises, measured. Values without a bound are reported, not judged."
    return _section(
        demo,
        "Checks of the model file",
        "check",
        [text],
        [Table(("check", "measured", "at most", ""), rows)],
        "",
    )


def _provenance(results: dict) -> Section:
    rows = [("model document", f"SHA-256 {results['model']['file_sha256'][:16]}…")]
    if results["model"]["license"]:
        rows.append(("licence of the model", results["model"]["license"]))
    for part, errors in results["model"]["training_errors"].items():
        energy, forces = errors.get("energy_rmse"), errors.get("forces_rmse")
        if isinstance(energy, float) and isinstance(forces, float):
            rows.append((f"errors ({part})", f"{1000 * energy:.2f} meV/atom, {forces:.3f} eV/Å (rms)"))
    rows += [(name, version) for name, version in results["versions"].items()]
    rows += [(name, str(value)) for name, value in results["hardware"].items()]
    rows += [(f"time, {name.replace('_', ' ')}", f"{s:.1f} s") for name, s in results["seconds"].items()]
    return Section("Where these numbers come from", tables=[Table((), rows)])


def _section(
    demo: Demo, title: str, name: str, paragraphs: list[str], tables: list[Table], alt: str
) -> Section:
    pictures = [Picture(demo.pictures[name], alt)] if name in demo.pictures else []
    return Section(title, paragraphs, tables, pictures, demo.warnings.get(name, ()))


# ---- comparison --------------------------------------------------------------------------------------------


def _comparison(numbers: dict) -> list[dict]:
    """The model's numbers beside those of PBE and experiment."""
    eos = numbers.get("equation_of_state", {})
    lattice = numbers.get("phonons", {})
    special = lattice.get("special", {})
    pairs = [
        (silicon.LATTICE_CONSTANT, eos.get("lattice_constant")),
        (silicon.BULK_MODULUS, eos.get("bulk_modulus")),
        (silicon.BULK_MODULUS_DERIVATIVE, eos.get("bulk_modulus_derivative")),
        (silicon.GAMMA_OPTICAL, lattice["gamma"][-1] if "gamma" in lattice else None),
        (silicon.X_TRANSVERSE, special["X"][0] if "X" in special else None),
        (silicon.L_TRANSVERSE, special["L"][0] if "L" in special else None),
    ]
    return [
        {
            "quantity": known.name,
            "unit": known.unit,
            "model": value,
            "pbe": known.pbe,
            "experiment": known.experiment,
            "digits": known.digits,
        }
        for known, value in pairs
    ]


def _comparison_header(results: dict) -> tuple[str, ...]:
    return ("", results["model"]["name"], "DFT (PBE)", "experiment")


def _comparison_rows(results: dict) -> list[tuple[str, ...]]:
    rows = []
    for row in results["comparison"]:
        cells = (row["model"], row["pbe"], row["experiment"])
        numbers = ("–" if value is None else f"{value:.{row['digits']}f}" for value in cells)
        name = f"{row['quantity']} ({row['unit']})" if row["unit"] else row["quantity"]
        rows.append((name, *numbers))
    return rows
