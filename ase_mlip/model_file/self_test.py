"""The self-test inside every model file: a small crystal, the numbers it must give, and how closely.

It catches what hashes cannot: an operator, a compiler or an accelerator that computes something else than
the machine that exported the model did. Its neighbour list is a plain sum over images, so that another
engine needs twenty lines to run it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols, covalent_radii
from torch import Tensor

from .. import _torchscript
from ..crystals import heights
from ..errors import ModelFileError
from .info import ModelInfo

UNITS = {"energy": "eV", "forces": "eV/Å", "virial": "eV"}
UNITS.update(direct_forces="eV/Å", direct_stresses="eV/Å^3", direct_virials="eV")
PREFACTOR = {"cpu": 1.0, "cuda": 10.0}  # accelerators sum in another order, and in a changing one
MEASURED_MARGIN = 10.0
FLOOR = {"float32": 1e-5, "float64": 1e-9}  # relative to the size of what is compared


def check_species(module: torch.nn.Module, info: ModelInfo) -> None:
    """Raise ModelFileError where ``info.species`` names elements for which a network has no weights.

    Networks hold a table ``types`` [119], the type of each atomic number. Where an unknown number has type 0,
    as the first species has, one species too many cannot be told apart from the first.
    """
    for name, types in module.named_buffers():
        if name.rpartition(".")[2] != "types" or list(types.shape) != [119]:
            continue
        has_gaps = int(types[1:].min()) < 0
        missing = [number for number in info.species if int(types[number]) < (0 if has_gaps else 1)]
        if len(missing) > (0 if has_gaps else 1):
            symbols = ", ".join(chemical_symbols[number] for number in missing)
            which = "which the weights do not have" if has_gaps else "of which the weights have at most one"
            raise ModelFileError(f"`species` lists {symbols}, {which}")


def make_structure(info: ModelInfo) -> dict[str, Any]:
    """Four or eight atoms of the model's species, without symmetry, in a triclinic cell.

    The distances follow from covalent radii. The third cell vector is shorter than the cutoff, so that
    every atom sees its own images. Returns numbers, positions (Å) and cell (Å) as lists.
    """
    rows = 2 if len(info.species) <= 4 else 4
    n_atoms = 2 * rows
    chosen = np.linspace(0, len(info.species) - 1, min(n_atoms, len(info.species))).round().astype(int)
    numbers = [info.species[chosen[k % len(chosen)]] for k in range(n_atoms)]
    bond = 2.0 * max(covalent_radii[number] for number in numbers)
    spacing = min(max(1.25 * bond, 2.0), 0.85 * info.cutoff)
    sites = np.array([[x, y, 0.0] for x in range(2) for y in range(rows)])
    shifts = np.random.default_rng(0).uniform(-0.1, 0.1, size=sites.shape)
    shape = np.array([[2.0, 0.05, 0.0], [0.11, float(rows), 0.07], [0.03, -0.09, 1.0]])
    positions = (sites + shifts) * spacing
    return {
        "numbers": [int(number) for number in numbers],
        "positions": positions.round(6).tolist(),
        "cell": (shape * spacing).round(6).tolist(),
    }


def neighbour_images(
    structure: dict[str, Any], cutoff: float, pair_cutoffs: dict[tuple[int, int], float]
) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs within the cutoff (Å) by a sum over images: edge_index [2, E], vectors [E, 3], shifts [E, 3].

    Sorted by centre; a pair of elements in ``pair_cutoffs`` has that cutoff instead.
    """
    numbers = torch.tensor(structure["numbers"])
    positions = torch.tensor(structure["positions"], dtype=torch.float64)
    cell = torch.tensor(structure["cell"], dtype=torch.float64)
    # a slab of images is as thick as the cutoff divided by the height of the cell over the other two vectors,
    # and positions may lie outside the cell by as much as they spread
    reach = cutoff + float((positions.max(0).values - positions.min(0).values).norm())
    counts = [math.ceil(reach / height) for height in heights(cell.numpy())]
    shifts = torch.cartesian_prod(*(torch.arange(-count, count + 1) for count in counts))
    n, m = len(numbers), len(shifts)
    centres = torch.arange(n).repeat_interleave(n * m)
    neighbours = torch.arange(n).repeat_interleave(m).repeat(n)
    shifts = shifts.repeat(n * n, 1)
    vectors = positions[neighbours] - positions[centres] + shifts.to(torch.float64) @ cell
    limits = torch.full((119, 119), cutoff, dtype=torch.float64)
    for (first, second), limit in pair_cutoffs.items():
        limits[first, second] = limit
    distances = vectors.norm(dim=1)
    oneself = (centres == neighbours) & (shifts == 0).all(dim=1)
    keep = (distances <= limits[numbers[centres], numbers[neighbours]]) & ~oneself
    return torch.stack([centres[keep], neighbours[keep]]), vectors[keep], shifts[keep]


def make_graph(
    structure: dict[str, Any], info: ModelInfo, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """species [N], edge_index [2, E], edge_vectors [E, 3] (float64, Å) and reverse_edges [E]."""
    images = neighbour_images(structure, info.cutoff, info.pair_cutoff_numbers())
    edge_index, vectors, shifts = (tensor.to(device) for tensor in images)
    reverse = torch.ops.ase_mlip.reverse_edges(edge_index, shifts)
    return torch.tensor(structure["numbers"], device=device), edge_index, vectors, reverse


def exported_rotations(module: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Rotations [G, 3, 3] and weights [G] that the module was exported with, float64 on the CPU."""
    if not hasattr(module.network, "rotations"):  # from before there was averaging
        return torch.zeros(0, 3, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    return module.network.rotations.cpu(), module.network.weights.cpu()


def evaluate(
    potential: Callable[..., dict[str, Tensor]],
    averaging: tuple[Tensor, Tensor],
    structure: dict[str, Any],
    info: ModelInfo,
    outputs: Sequence[str],
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """What a potential gives for the structure, as float64 tensors on the CPU.

    Parameters
    ----------
    potential: called as :meth:`ase_mlip.model_file.potential.Potential.forward`
    averaging: of :func:`exported_rotations`
    structure: of :func:`make_structure`
    info: of the model
    outputs: names of what is wanted beside the energies
    device: where the potential is
    """
    with _torchscript.calling():
        species, edge_index, vectors, reverse = make_graph(structure, info, device)
        weights = torch.ones(len(species), dtype=torch.float64, device=device)
        owner = torch.zeros_like(species)
        graph = species, edge_index, vectors, reverse, weights, owner
        found = potential(*graph, 1, {}, *averaging, 0, list(outputs))
    return {name: value.detach().cpu() for name, value in found.items()}


def record(
    exact: dict[str, Tensor],
    by_dtype: dict[str, dict[str, Tensor]],
    structure: dict[str, Any],
    info: ModelInfo,
) -> dict[str, Any]:
    """The self-test as stored: exact numbers, and per dtype how far from them the model may be."""
    reference = {name: exact[name].tolist() for name in UNITS if name in exact}
    by_number = dict(zip(info.species, info.symbols, strict=True))
    constants = [info.reference_energies.get(by_number[number], 0.0) for number in structure["numbers"]]
    # energies of atoms may cancel, and their large constants are added in float64: neither sets the rounding
    network_energies = exact["energies"] - torch.tensor(constants, dtype=torch.float64)
    sizes = {name: float(exact[name].abs().max()) for name in reference}
    sizes["energy"] = float(network_energies.abs().sum())
    tolerances: dict[str, dict[str, dict[str, float]]] = {}
    for dtype, floor in FLOOR.items():
        limits = {}
        for name in reference:
            deviation = float((by_dtype[dtype][name] - exact[name]).abs().max())
            limits[name] = max(MEASURED_MARGIN * deviation, floor * max(1.0, sizes[name]))
        tolerances[dtype] = {
            device: {name: factor * limit for name, limit in limits.items()}
            for device, factor in PREFACTOR.items()
        }
    return {"structure": structure, "reference": reference, "tolerances": tolerances}


def compare(outputs: dict[str, Tensor], self_test: dict[str, Any], dtype: str, device: str) -> list[str]:
    """One line for every quantity outside its tolerance: what was expected, what was got."""
    failures = []
    tolerances = self_test["tolerances"][dtype].get(device) or self_test["tolerances"][dtype]["cpu"]
    for name, reference in self_test["reference"].items():
        expected = torch.tensor(reference, dtype=torch.float64)
        got = outputs.get(name)
        if got is None or got.shape != expected.shape:
            shape = "nothing" if got is None else f"shape {list(got.shape)}"
            failures.append(f"`{name}`: expected shape {list(expected.shape)}, got {shape}")
            continue
        difference = (got - expected).abs().nan_to_num(nan=math.inf)
        worst = int(difference.argmax())
        if not float(difference.max()) <= tolerances[name]:
            failures.append(
                f"`{name}`: expected {float(expected.flatten()[worst]):.9g}, "
                f"got {float(got.flatten()[worst]):.9g} {UNITS.get(name, '')}, "
                f"tolerance {tolerances[name]:.1e}"
            )
    return failures


def run(
    potential: Callable[..., dict[str, Tensor]],
    module: torch.nn.Module,
    info: ModelInfo,
    dtype: str,
    device: torch.device,
    path,
) -> None:
    """Raise ModelFileError when the model does not reproduce its self-test on this machine."""
    if not {"structure", "reference", "tolerances"} <= info.self_test.keys():
        raise ModelFileError(f"`{path}` carries no self-test; export it with `export_model`")
    try:
        averaging = exported_rotations(module)
        names = list(info.self_test["reference"])
        outputs = evaluate(potential, averaging, info.self_test["structure"], info, names, device)
        failures = compare(outputs, info.self_test, dtype, device.type)
    except RuntimeError as error:
        failures = [f"it stopped with: {_last_line(error)}"]
    if failures:
        raise ModelFileError(
            f"`{path}` fails its self-test in {dtype} on `{device}`: {'; '.join(failures)}. "
            "The file is intact, but torch or the operators compute something else here than at its export; "
            "see `ase-mlip doctor`"
        )


def check_native(outputs: dict[str, Tensor], info: ModelInfo, dtype: str, path) -> None:
    """Raise ModelFileError when a kernel beside the file's own code does not give the numbers, either."""
    failures = compare(outputs, info.self_test, dtype, "cpu")
    if failures:
        raise ModelFileError(
            f"`{path}` fails its self-test in {dtype} on `cpu` with the native kernel: "
            f"{'; '.join(failures)}. The file is intact, but this kernel computes something else here than "
            "the model did at its export; see `ase-mlip doctor`, or take kernel='torch'"
        )


def _last_line(error: RuntimeError) -> str:
    """TorchScript puts its own traceback first; the cause is the last line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
