"""What ``ase-mlip relax`` prints: a column is a name and what it shows of a structure."""

from __future__ import annotations

from collections.abc import Callable

from ase.units import GPa

SHOWN = "0.01"  # Å, symprec of the space groups in the table


def table(rows: list[dict]) -> str:
    """One line per structure and a summary.

    Parameters
    ----------
    rows : list of dict
        of :func:`.store.to_row` with ``name`` and ``status``, or of a structure that failed, with these alone

    Returns
    -------
    str
        lines without a line break at the end
    """
    width = max(len("structure"), *(len(row["name"]) for row in rows))
    columns = [
        (f"{'structure':<{width}}", lambda row: f"{row['name']:<{width}}"),
        ("atoms", lambda row: f"{row['atoms']}"),
        ("steps", lambda row: f"{row['steps']}"),
        ("    eV/atom", lambda row: f"{row['energy'] / row['atoms']:.6f}"),
        ("    eV/Å", lambda row: f"{row['fmax']:.1e}"),
        ("    GPa", lambda row: f"{max(map(abs, row['stress'])) / GPa:.3f}"),
        (" Å^3/atom", lambda row: f"{row['volume'] / row['atoms']:.4f}"),
        ("moved, Å", lambda row: f"{row['rmsd']:.4f}"),
        ("      s", lambda row: f"{row['wall_time']:.1f}"),
        (f" {'space group':<28}", lambda row: f" {_groups(row):<28}"),
        ("status", lambda row: row["status"]),
    ]
    if any("rmsd_to_reference" in row for row in rows):
        columns.insert(8, ("to ref., Å", lambda row: f"{row['rmsd_to_reference']:.4f}"))
    lines = [" ".join(header for header, _ in columns)]
    lines += [" ".join(f"{_cell(row, cell):>{len(header)}}" for header, cell in columns) for row in rows]
    failed = sum(row["status"] == "failed" for row in rows)
    unconverged = sum(row["status"] == "not converged" for row in rows)
    summary = f"{len(rows) - failed - unconverged} of {len(rows)} converged"
    summary += f", {unconverged} did not" if unconverged else ""
    summary += f", {failed} failed" if failed else ""
    return "\n".join(
        [*lines, f"{summary}. GPa: the largest component of the stress. Space groups within {SHOWN} Å."]
    )


def _cell(row: dict, cell: Callable[[dict], str]) -> str:
    try:
        return cell(row)
    except KeyError:  # a failed structure has few of them, a molecule no volume
        return "" if row["status"] == "failed" else "-"


def _groups(row: dict) -> str:
    before, after = row["spacegroup_before"].get(SHOWN), row["spacegroup_after"].get(SHOWN)
    return (after or "-") if before == after else f"{before or '-'} → {after or '-'}"
