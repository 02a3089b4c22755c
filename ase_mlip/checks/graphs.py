"""Checks of the contract: what a network does with graphs that engines really build.

Each takes a :class:`~ase_mlip.checks.probe.Probe` and returns lines of the table.
"""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from ..crystals import heights
from ..graph.neighbors import Graph, concatenate
from .probe import (
    CheckResult,
    Probe,
    add_padding,
    compare,
    empty_graph,
    fold,
    judge,
    largest,
    report,
    take_edges,
    unfold,
    with_weights,
)
from .structures import diluted, tiny_structure

OWNED = 4  # atoms of the domain in the halo test
PADDING = 3  # nodes
LARGE = 2100  # atoms, few neighbours each: several of PET's blocks
MAX_CLUSTER = 4000  # atoms; a denser structure is left out of measuring the reach, which would take a minute
THIN = 12  # neighbours within the cutoff, where radii that adapt to the neighbours are about as large as it
NEIGHBOURS = (20, 10, 5)
# Shapes by name: N nodes, B structures, None anything.
SHAPES = {
    "energies": ("N",),
    "energy": ("B",),
    "forces": ("N", 3),
    "virials": ("N", 3, 3),
    "virial": ("B", 3, 3),
    "direct_forces": ("N", 3),
    "direct_virials": ("N", 3, 3),
    "direct_stresses": ("N", 3, 3),
    "features": ("N", None),
    "gradients": ("E", 3),
}
# From derivatives and sums, not from the network alone; the next, what is not simply per node.
OF_THE_POTENTIAL = ("energies", "energy", "forces", "virials", "virial")
TOTALS = ("energy", "forces", "virials", "virial")
OF_EDGES = ("gradients",)  # of the potential too; files written before it existed do not have it
UNITS = {
    "energies": "eV",
    "virial": "eV",
    "forces": "eV/Å",
    "direct_forces": "eV/Å",
    "direct_stresses": "eV/Å^3",
    "direct_virials": "eV",
}


def shapes_and_dtypes(probe: Probe) -> list[CheckResult]:
    """Every promised output is there, per node, in float64; nothing undeclared is."""
    graph = concatenate([probe.graph(atoms) for atoms in [probe.bulk, probe.bulk]])
    outputs = probe.evaluate_all(graph)
    sizes = {"N": len(graph.species), "B": graph.n_structures, "E": graph.edge_index.shape[1]}
    promised = (*OF_THE_POTENTIAL, *probe.info.outputs)
    wrong = [f"`{name}` is missing" for name in promised if name not in outputs]
    wrong += [f"`{name}` is not declared" for name in probe.undeclared(graph)]
    for name, value in outputs.items():
        expected = SHAPES.get(name, ("N",))
        sized = tuple(sizes.get(size, size) for size in expected)
        fits = len(value.shape) >= len(sized) if name not in SHAPES else len(value.shape) == len(sized)
        if not fits or any(want not in (None, have) for want, have in zip(sized, value.shape, strict=False)):
            wrong.append(f"`{name}` is {list(value.shape)}, expected {list(expected)}")
        if value.dtype != np.float64:
            wrong.append(f"`{name}` is {value.dtype}, expected float64")
    present = [name for name in outputs if name not in OF_THE_POTENTIAL + OF_EDGES]
    detail = "; ".join(dict.fromkeys(wrong)) or ", ".join(["energies", "forces", "virials", *present])
    return [
        judge("shapes and dtypes", len(wrong), 0, "wrong", detail),
        judge("finite outputs", _not_finite(outputs), 0, "entries", f"{len(graph.species)} atoms"),
    ]


def input_not_mutated(probe: Probe) -> list[CheckResult]:
    """Evaluation leaves the graph and the model as they were, and does not depend on earlier ones."""
    graph = probe.graph(probe.bulk)
    state = probe.model.module.state_dict()
    before = {name: value.clone() for name, value in {**_tensors(graph), **state}.items()}
    first = probe.evaluate(graph)
    probe.evaluate(graph, ())
    after = {**_tensors(graph), **probe.model.module.state_dict()}
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    detail = ", ".join(changed) or f"{len(before)} compared"
    results = [judge("input not mutated", len(changed), 0, "tensors", detail)]
    return results + compare(probe, "evaluated again", probe.evaluate(probe.graph(probe.bulk)), first)


def halo(probe: Probe) -> list[CheckResult]:
    """A domain with ghosts out to the declared range gives what the whole structure gives for its atoms."""
    results = []
    dense, thin = probe.crystal, diluted(probe.crystal, probe.info.cutoff, THIN)
    for name, atoms in (("halo", dense), ("thin halo", thin)):
        domain, outputs, expected, lines = _whole_and_part(probe, name, atoms)
        results += lines
        if atoms is dense:
            detail = f"{domain.n_owned} owned atoms, {domain.n_ghosts} ghosts"
            results.append(judge("finite with ghosts", _not_finite(outputs), 0, "entries", detail))
            results += _truncated_and_padded(probe, domain, expected["forces"])
    return results


def _whole_and_part(probe: Probe, name: str, atoms: Atoms):
    """The domain, all its outputs, what was expected of it, and the lines that compare the two."""
    owned, reach = _owned(atoms), probe.info.interaction_range
    whole = probe.evaluate_all(with_weights(probe.graph(atoms), owned))
    per_node = {key: value[owned] for key, value in whole.items() if key not in TOTALS + OF_EDGES}
    expected = {**per_node, "forces": whole["forces"], "virial": whole["virial"]}
    domain = _Domain(probe, atoms, owned, reach)
    outputs, got = domain.evaluate(domain.graph)
    detail = f"{len(owned)} owned, {domain.n_ghosts} ghosts within {reach:g} Å"
    results = []
    for key, value in expected.items():
        difference = largest(got[key] - value)
        results.append(judge(f"{name}: {key}", difference, probe.rounding(value), UNITS.get(key, ""), detail))
    short = _Domain(probe, atoms, owned, max(reach - probe.info.cutoff, 0.0))
    difference = largest(short.evaluate(short.graph)[1]["forces"] - expected["forces"])
    detail = f"{short.n_ghosts} ghosts within {short.reach:g} Å"
    results.append(report(f"{name}, one cutoff too small", difference, "eV/Å", detail))
    return domain, outputs, expected, results


def _truncated_and_padded(probe: Probe, domain: _Domain, forces: np.ndarray) -> list[CheckResult]:
    """Outermost ghosts with at most two edges, then padding: finite, and the padding changes nothing."""
    truncated, n_truncated = domain.truncated(probe.rng())
    outputs, got = domain.evaluate(truncated)
    n_lacking = int((truncated.reverse_edges < 0).sum())
    detail = f"{n_truncated} ghosts keep 0 to 2 edges; {n_lacking} edges lack their reverse"
    results = [judge("finite with truncated ghosts", _not_finite(outputs), 0, "entries", detail)]
    change = largest(got["forces"] - forces)
    detail = "zero if the outermost ghosts need no edges"
    results.append(report("change by truncated ghosts: forces", change, "eV/Å", detail))
    padded = probe.evaluate_all(add_padding(truncated, PADDING, max(probe.info.species)))
    detail = f"{PADDING} nodes without edges"
    results.append(judge("finite with padding", _not_finite(padded), 0, "entries", detail))
    unpadded = {name: value[: len(outputs[name])] for name, value in padded.items()}
    return results + compare(probe, "padding changes nothing", unpadded, outputs)


class _Domain:
    """The atoms ``owned`` with explicit copies of all others and of all images within ``reach`` (Å)."""

    def __init__(self, probe: Probe, atoms: Atoms, owned: np.ndarray, reach: float):
        self.probe, self.reach = probe, reach
        self.n_atoms, self.n_owned = len(atoms), len(owned)
        cluster, self.origin = unfold(atoms, owned, reach)
        self.n_ghosts = len(cluster) - len(owned)
        self.graph = with_weights(probe.graph(cluster), np.arange(len(owned)))
        to_owned = cluster.positions[:, None] - cluster.positions[None, : len(owned)]
        self.distances = np.linalg.norm(to_owned, axis=2).min(axis=1)

    def evaluate(self, graph: Graph) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """All outputs, and what the engine makes of them: those of owned atoms, forces folded, the virial."""
        outputs = self.probe.evaluate_all(graph)
        per_node = {n: value[: self.n_owned] for n, value in outputs.items() if n not in TOTALS + OF_EDGES}
        forces = fold(outputs["forces"], self.origin, self.n_atoms)
        return outputs, {**per_node, "forces": forces, "virial": outputs["virial"]}

    def truncated(self, rng: np.random.Generator) -> tuple[Graph, int]:
        """Ghosts less than a cutoff from the halo's end keep 0, 1 or 2 edges; also how many these are."""
        outer = self.distances > self.reach - self.probe.info.cutoff
        outer[: self.n_owned] = False
        centres = self.graph.edge_index[0].numpy()
        rank = np.arange(len(centres)) - np.searchsorted(centres, centres)
        allowed = rng.integers(0, 3, len(outer))
        kept = np.flatnonzero(~outer[centres] | (rank < allowed[centres]))
        return take_edges(self.graph, torch.from_numpy(kept)), int(outer.sum())


def reach(probe: Probe) -> list[CheckResult]:
    """The distance of the farthest atom that the energy of one atom has a gradient on, at several densities.

    Where radii adapt to the neighbours, the reach depends on the density.
    """
    info = probe.info
    radius = info.interaction_range + 0.5 * info.cutoff
    farthest, counts = 0.0, []
    diluted_ones = (diluted(probe.crystal, info.cutoff, number) for number in NEIGHBOURS)
    thinner = [atoms for atoms in diluted_ones if atoms.get_volume() > 1.01 * probe.crystal.get_volume()]
    for atoms in [probe.crystal, *thinner]:
        cluster, _ = unfold(atoms, np.array([0]), radius)
        if len(cluster) > MAX_CLUSTER:
            continue
        outputs = probe.evaluate(with_weights(probe.graph(cluster), np.array([0])))
        forces = np.abs(outputs["forces"]).max(axis=1)
        distances = np.linalg.norm(cluster.positions - cluster.positions[0], axis=1)
        noise = 1e-2 * probe.rounding(forces)
        farthest = max(farthest, largest(distances[~(forces <= noise)]))
        counts.append(str(len(cluster)))
    name = "reach of an atom's energy"
    if not counts:
        return [report(name, np.nan, "Å", f"not measured: more than {MAX_CLUSTER} atoms within {radius:g} Å")]
    detail = f"declared {info.interaction_range:g} Å; among {', '.join(counts)} atoms within {radius:g} Å"
    return [judge(name, farthest, info.interaction_range * (1 + 1e-9), "Å", detail)]


def domains(probe: Probe) -> list[CheckResult]:
    """Two domains that share the atoms add up to the whole; a domain without atoms gives zero."""
    graph = probe.graph(probe.bulk)
    half = np.arange(0, len(probe.bulk), 2)
    rest = np.setdiff1d(np.arange(len(probe.bulk)), half)
    whole, parts = probe.evaluate(graph), [probe.evaluate(with_weights(graph, part)) for part in (half, rest)]
    results = []
    for key, unit in (("energy", "eV"), ("forces", "eV/Å"), ("virial", "eV")):
        difference = largest(parts[0][key] + parts[1][key] - whole[key])
        tolerance = probe.rounding(whole["energy"], whole[key])
        results.append(judge(f"domains add up: {key}", difference, tolerance, unit))
    none = probe.evaluate(with_weights(graph, np.zeros(0, dtype=int)))
    worst = np.max([largest(none[name]) for name in TOTALS])
    return [*results, judge("domain without atoms: all zero", worst, 0.0, "eV, eV/Å", "all weights 0")]


def empty(probe: Probe) -> list[CheckResult]:
    """A structure without nodes: zero energy and virial, empty forces."""
    outputs = probe.evaluate(empty_graph())
    wrong = [
        f"`{name}` has {len(outputs[name])} rows" for name in ("energies", "forces") if len(outputs[name])
    ]
    value = np.inf if wrong else np.max([largest(outputs[name]) for name in TOTALS])
    return [judge("empty graph", value, 0.0, "eV", "; ".join(wrong) or "no nodes, no edges")]


def isolated_atom(probe: Probe) -> list[CheckResult]:
    """One atom of each species alone: finite energy, no force, no virial."""
    species = probe.info.species
    graph = concatenate([probe.graph(Atoms([number], positions=[[0.1, 0.2, 0.3]])) for number in species])
    outputs = probe.evaluate_all(graph)
    forces = np.max([largest(outputs[name]) for name in ("forces", "virial")])
    pairs = zip(species[:4], outputs["energy"], strict=False)
    energies = "energy in eV: " + ", ".join(f"{chemical_symbols[z]} {energy:.4f}" for z, energy in pairs)
    detail = f"{len(species)} species"
    return [
        judge("isolated atom: finite", _not_finite(outputs), 0, "entries", energies),
        judge("isolated atom: force and virial", forces, probe.rounding(), "eV/Å, eV", detail),
    ]


def permutation(probe: Probe) -> list[CheckResult]:
    """Atoms in another order, and the edges of each centre in another order."""
    results = []
    rng = probe.rng()
    atoms = probe.bulk
    outputs = probe.evaluate(atoms)
    order = rng.permutation(len(atoms))
    permuted = {
        name: value[order] if name in ("energies", "forces") else value for name, value in outputs.items()
    }
    results += compare(probe, "permuted atoms", probe.evaluate(atoms[order]), permuted)
    graph = probe.graph(atoms)
    keys = (rng.random(graph.edge_index.shape[1]), graph.edge_index[0].numpy())
    shuffled = take_edges(graph, torch.from_numpy(np.lexsort(keys)))
    return results + compare(probe, "permuted neighbours", probe.evaluate(shuffled), outputs)


def batch(probe: Probe) -> list[CheckResult]:
    """Structures in one graph give what each gives alone."""
    species = probe.info.species
    alone = Atoms([species[0]], positions=[[0.0, 0.0, 0.0]])
    structures = [*probe.structures, alone, tiny_structure(species, 2, probe.info.cutoff)]
    graphs = [probe.graph(atoms) for atoms in structures]
    singles = [probe.evaluate(graph) for graph in graphs]
    expected = {name: np.concatenate([single[name] for single in singles]) for name in singles[0]}
    together = probe.evaluate(concatenate(graphs))
    return compare(probe, "batch equals single", together, expected, f"{len(graphs)} structures")


def large_structure(probe: Probe) -> list[CheckResult]:
    """Thousands of atoms, which a network may work through in blocks, against the cell they repeat."""
    atoms = diluted(probe.crystal, probe.info.cutoff, THIN)
    repeats = np.ones(3, dtype=int)
    while len(atoms) * repeats.prod() < LARGE:
        repeats[np.argmin(repeats * atoms.cell.lengths())] += 1
    small, large = probe.evaluate(atoms), probe.evaluate(atoms.repeat(repeats))
    detail = f"{len(atoms)} atoms repeated {' x '.join(map(str, repeats))}"
    return compare(probe, "large structure", large, _repeated(small, repeats.prod()), detail)


def small_cell(probe: Probe) -> list[CheckResult]:
    """A cell smaller than the cutoff, where an atom is its own neighbour, against its repetition."""
    results = []
    for n_atoms in (1, 2):
        atoms = tiny_structure(probe.info.species, n_atoms, probe.info.cutoff)
        small, large = probe.evaluate(atoms), probe.evaluate(atoms.repeat((3, 2, 2)))
        tallest = heights(atoms.cell.array).max()
        name = f"small cell, {n_atoms} atom{'s' * (n_atoms > 1)}"
        detail = f"heights up to {tallest:.1f} Å, cutoff {probe.info.cutoff:g} Å; 3 x 2 x 2 of it"
        results += compare(probe, name, large, _repeated(small, 12), detail)
    return results


def _repeated(outputs: dict[str, np.ndarray], times: int) -> dict[str, np.ndarray]:
    """What a structure repeated ``times`` times must give."""
    return {
        "energies": np.tile(outputs["energies"], times),
        "forces": np.tile(outputs["forces"], (times, 1)),
        "virial": times * outputs["virial"],
    }


def _tensors(graph: Graph) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(graph).items() if isinstance(value, torch.Tensor)}


def _not_finite(outputs: dict[str, np.ndarray]) -> int:
    return sum(int((~np.isfinite(value)).sum()) for value in outputs.values())


def _owned(atoms: Atoms) -> np.ndarray:
    """The first atom and those nearest to it, at most four and at most half of all."""
    count = max(1, min(OWNED, len(atoms) // 2))
    distances = np.linalg.norm(atoms.positions - atoms.positions[0], axis=1)
    return np.argsort(distances, kind="stable")[:count]
