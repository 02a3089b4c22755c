"""What ``ase-mlip relax`` prints: a column is a name and what it shows of a structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ase.units import GPa

SHOWN = "0.01"  # Å, symprec of the space groups in the table


def table(documents: Mapping[str, dict]) -> str:
    """One line per structure and a summary.

    Parameters
    ----------
    documents : mapping of dict
        by the names of the structures, what :meth:`.result.RelaxResult.to_dict` gives with ``status``, or of
        a structure that failed ``error`` and ``status`` alone

    Returns
    -------
    str
        lines without a line break at the end
    """
    rows = [{"name": name} | document for name, document in documents.items()]
    width = max(len("structure"), *(len(row["name"]) for row in rows))
    columns = [
        (f"{'structure':<{width}}", lambda row: f"{row['name']:<{width}}"),
        ("atoms", lambda row: f"{_count(row)}"),
        ("steps", lambda row: f"{row['steps']}"),
        ("    eV/atom", lambda row: f"{row['energy'] / _count(row):.6f}"),
        ("    eV/Å", lambda row: f"{row['fmax']:.1e}"),
        ("    GPa", lambda row: f"{max(map(abs, row['stress'])) / GPa:.3f}"),
        (" Å^3/atom", lambda row: f"{row['volume'] / _count(row):.4f}"),
        ("moved, Å", lambda row: f"{row['rmsd']:.4f}"),
        ("      s", lambda row: f"{row['wall_time']:.1f}"),
        (f" {'space group':<28}", lambda row: f" {_groups(row):<28}"),
        ("status", lambda row: row["status"]),
    ]
    if any(row.get("rmsd_to_reference") is not None for row in rows):
        columns.insert(8, ("to ref., Å", lambda row: f"{row['rmsd_to_reference']:.4f}"))
    lines = [" ".join(header for header, _ in columns)]
    lines += [" ".join(f"{_cell(row, cell):>{len(header)}}" for header, cell in columns) for row in rows]
    failed = sum("error" in row for row in rows)
    unconverged = sum(row["status"] == "not converged" for row in rows)
    summary = f"{len(rows) - failed - unconverged} of {len(rows)} converged"
    summary += f", {unconverged} did not" if unconverged else ""
    summary += f", {failed} failed" if failed else ""
    return "\n".join(
        [*lines, f"{summary}. GPa: the largest component of the stress. Space groups within {SHOWN} Å."]
    )


def _count(row: dict) -> int:
    return len(row["atoms"]["numbers"])


def _cell(row: dict, cell: Callable[[dict], str]) -> str:
    try:
        return cell(row)
    except (KeyError, TypeError):  # a failed structure has few of them, a molecule neither volume nor stress
        return "" if "error" in row else "-"


def _groups(row: dict) -> str:
    before, after = row["spacegroup_before"].get(SHOWN), row["spacegroup_after"].get(SHOWN)
    return (after or "-") if before == after else f"{before or '-'} → {after or '-'}"
