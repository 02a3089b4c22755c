"""Making a leverage: the features of a model's training data, whitened, into its file.

What it is stands in :mod:`ase_mlip.model_file.leverage_file`, the algebra in :mod:`.whitening`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from ... import _torchscript
from ...calculators.diagnostics.leverage import SNNPBasis
from ...data.frames import as_list, described
from ...errors import DataError, MLIPError, StructureError
from ...graph.neighbors import Graph, check_species
from ...model_file.info import ModelInfo, find_model
from ...model_file.leverage_file import VERSION, Leverage, write_leverage
from ...model_file.model import Model, load_model
from ...progress.form import Progress, told
from ...rotations.averaging import Averaging, random_rotation
from .whitening import QUANTILE, Whitening, by_coefficient, isotropic, quantiles_by_element, whiten

SIGMA = 0.01  # eV, of the energy of an atom as data
ROTATIONS = 4  # of each structure, where the network does not know that energies are invariant
ENOUGH = 100  # structures: of fewer the 99 % quantile is the largest, more or less
LINEAR = 1e-6  # of the scatter of the energies: what a linear function of the features may miss


def attach_leverage(
    model: str | os.PathLike,
    data: Sequence[Atoms],
    output: str | os.PathLike,
    calibration: Sequence[Atoms] = (),
    sigma: float = SIGMA,
    rotations: int | None = None,
    hashes: Mapping[str, str] | None = None,
    must_calibrate: bool = True,
    progress: Progress | None = None,
) -> ModelInfo:
    """Write a model file once more with the leverage of its training data.

    Parameters
    ----------
    model : str or Path
        a model file that declares ``features``, or that of an s-NNP; or the name of a shipped potential
    data : sequence of ase.Atoms
        what it was trained on; labels are not looked at
    output : str or Path
        the new file, which may be the same
    calibration : sequence of ase.Atoms
        structures with reference energies that the model was **not** trained on. One factor is fitted to
        them, with which the file gives an uncertainty of the energy in eV; without any it does not
    sigma : float
        standard deviation of an atom's energy as data, eV. The prior scales with the data, so that σ cancels
        from the leverage and from a calibrated uncertainty
    rotations : int, optional
        how many random rotations of each structure count as data; None: 4 where the file says that its
        energies depend on the frame, and was not exported with an averaging, else 1
    hashes : mapping of str, optional
        SHA-256 of the files that ``data`` come from, by name
    must_calibrate : bool
        whether energies that are not linear in what the leverage is made of are an error where there are
        calibration data; if not, they leave the file uncalibrated
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each structure; stage "features", then "calibration"

    Returns
    -------
    ModelInfo
        what the new file says of itself

    Raises
    ------
    MLIPError
        a model without features; calibration of one whose energies are not linear in them
    DataError
        no data, calibration data without energies, or features that are not finite
    StructureError
        naming the position in the list of a structure that cannot be evaluated, or has other species
    """
    loaded = load_model(find_model(model), device="auto", dtype="float64")
    source = Features(loaded, _rotations(loaded.info, rotations))
    data = list(data)
    blocks = source.blocks(data)
    rows, owners, symbols = [], [], []
    for atoms, found in zip(data, source.of_structures(data, "data", progress), strict=True):
        rows.append(found)
        owners.append(np.tile(_places(blocks, atoms.numbers), source.copies))
        symbols.append(list(atoms.symbols) * source.copies)
    whitening = whiten(rows, owners, len(blocks), sigma, source.copies, source.prior)
    record = _record(source, blocks, whitening, symbols, sigma, len(data))
    record["data"] = dict(hashes or {})
    if len(calibration) and _can_calibrate(source, data, must_calibrate):
        leverage = Leverage.of(record, whitening.matrices)
        record["calibration"] = calibrate(source, leverage, list(calibration), progress)
    return write_leverage(loaded.path, output, record, whitening.matrices)


class Features:
    """φ of atoms by a loaded model, in float64: its features, or the least-squares basis of an s-NNP.

    Raises
    ------
    MLIPError
        the model has neither
    """

    def __init__(self, model: Model, rotations: int = 1):
        self.model = model
        is_snnp = _is_snnp(model)
        self.basis = "snnp" if is_snnp else "features"
        if not is_snnp and "features" not in model.info.outputs:
            raise MLIPError(
                f"`{model.path}` must declare the output `features` for a leverage, got "
                f"{', '.join(model.info.outputs)}; write it anew with `ase-mlip export`, as far as its "
                "architecture has features"
            )
        self._snnp = SNNPBasis(model) if is_snnp else None
        self.copies = 1 if is_snnp else rotations
        rotations = [random_rotation(0, evaluation) for evaluation in range(1, self.copies)]
        self._averagings = [model.exported, *(model.exported.after(rotation) for rotation in rotations)]

    def prior(self, information: np.ndarray) -> np.ndarray:
        """A₀ of :func:`.whitening.whiten`, [F, F]."""
        return by_coefficient(information) if self._snnp else isotropic(information)

    def blocks(self, data: Sequence[Atoms]) -> list[list[int]]:
        """Atomic numbers of each block: an s-NNP has coefficients for each centre, a network for all."""
        numbers = sorted({int(number) for atoms in data for number in atoms.numbers})
        return [[number] for number in numbers] if self._snnp else [numbers]

    def of_structures(
        self, structures: Sequence[Atoms], name: str, progress: Progress | None = None
    ) -> Iterator[np.ndarray]:
        """φ of each structure's atoms, float64 [copies · N, F], one rotated copy after another."""
        for index, atoms in enumerate(structures):
            try:
                check_species(atoms.numbers, self.model.info.species)
                graph = self.model.graph_of(atoms)
            except StructureError as error:
                raise StructureError(f"structure {index} of `{name}`: {error}") from None
            rows = np.concatenate([self._of_graph(graph, averaging)[0] for averaging in self._averagings])
            told(progress)(index + 1, len(structures), "features")
            yield rows

    def _of_graph(self, graph: Graph, averaging: Averaging) -> tuple[np.ndarray, np.ndarray]:
        """φ [N, F] and the energies [N] (eV) without reference energies."""
        with _torchscript.calling():
            wanted = [] if self._snnp else ["features"]
            found = self.model(graph, wanted, averaging)
            features = self._snnp(graph) if self._snnp else found["features"]
            references = self.model.module.reference_energies.cpu()[graph.species]
            return features.cpu().numpy(), found["energies"].cpu().numpy() - references.numpy()

    def missed_by_linear(self, data: Sequence[Atoms]) -> float:
        """What linear functions of φ, one for each block, miss of the energies, relative to their scatter.

        A constant for each element is free, too. As many rattled copies of the structures are evaluated as
        overdetermine the fits.
        """
        generator, numbers = np.random.default_rng(0), np.array(self.model.info.species)
        blocks, rows, energies, owners = self.blocks(data), [], [], []
        counts = np.zeros(len(blocks))
        while not rows or counts.min() <= 1.5 * rows[0].shape[1]:
            atoms = data[len(rows) % len(data)].copy()
            atoms.positions += generator.normal(scale=0.05, size=atoms.positions.shape)
            graph = self.model.graph_of(atoms)
            features, values = self._of_graph(graph, self._averagings[len(rows) % self.copies])
            rows.append(np.concatenate([features, atoms.numbers[:, None] == numbers], axis=1))
            energies.append(values)
            owners.append(_places(blocks, atoms.numbers))
            counts += np.bincount(owners[-1], minlength=len(blocks))
        matrix, values, owner = (np.concatenate(parts) for parts in (rows, energies, owners))
        missed = np.zeros(len(values))
        for block in range(len(blocks)):
            own = owner == block
            missed[own] = (
                values[own] - matrix[own] @ np.linalg.lstsq(matrix[own], values[own], rcond=1e-13)[0]
            )
        return float(np.sqrt(np.mean(missed**2)) / max(values.std(), 1e-12))


def _can_calibrate(source: Features, data: Sequence[Atoms], must: bool) -> bool:
    """Whether energies are linear in φ, which an error bar takes for granted; an error if they must be."""
    share = source.missed_by_linear(data)
    if must and not share <= LINEAR:
        raise MLIPError(
            f"`calibration`: expected a model whose energies are linear in what its leverage is made of, got "
            f"`{source.model.path}`, where a linear function misses {share:.1e} of their scatter; leave the "
            "calibration data out: a leverage without calibration is right for it"
        )
    return share <= LINEAR


def calibrate(
    source: Features, leverage: Leverage, structures: Sequence[Atoms], progress: Progress | None = None
) -> dict[str, Any]:
    """The factor by which predicted deviations become those of the references, and what it rests on.

    Parameters
    ----------
    source: of the model
    leverage: not calibrated yet
    structures: with energies (eV) that the model was not trained on
    progress: called as progress(done, total, "calibration") after each of them

    Returns
    -------
    ``factor``: the root mean square of (reference - model) / predicted deviation of the energies;
    ``structures``: their number; ``within_1``, ``within_2``: the shares of them within one and two of the
    calibrated deviations
    """
    errors, deviations = [], []
    for index, atoms in enumerate(structures):
        try:
            reference = atoms.get_potential_energy()
        except (RuntimeError, NotImplementedError) as error:
            raise DataError(
                f"`calibration`: expected a reference energy in every structure, got none in number {index} "
                f"({error}); leave it out"
            ) from None
        graph = source.model.graph_of(atoms)
        found = source.model(graph, [] if source.basis == "snnp" else ["features"])
        features, _ = source._of_graph(graph, source._averagings[0])
        species = torch.from_numpy(np.asarray(atoms.numbers, dtype=np.int64))
        one = torch.from_numpy(features), species, torch.zeros_like(species), 1
        deviations.append(float(leverage.of_structures(*one)[1]))
        errors.append(reference - float(found["energy"][0]))
        told(progress)(index + 1, len(structures), "calibration")
    ratios = np.abs(errors) / np.array(deviations)
    if not np.isfinite(ratios).all() or not ratios.any():
        raise DataError(
            "`calibration`: expected finite errors of known elements, not all zero, got others; give "
            "structures of the data's elements that the model was not trained on"
        )
    factor = float(np.sqrt(np.mean(ratios**2)))
    within = [float((ratios <= n * factor).mean()) for n in (1, 2)]
    return {"factor": factor, "structures": len(ratios), "within_1": within[0], "within_2": within[1]}


def hashes_of(files: Any) -> dict[str, str]:
    """SHA-256 of the files in a list of paths.

    Parameters
    ----------
    files : path, ase.Atoms or sequence of these
        structures have none

    Returns
    -------
    dict of str
        by name of the file

    Raises
    ------
    DataError
        there is no such file
    """
    paths = [item for item in as_list(files) if not isinstance(item, Atoms)]
    return {entry["file"]: entry["sha256"] for entry in map(described, paths)}


def few_structures(count: int) -> str:
    """What a `structure_leverage` is worth whose scale rests on ``count`` structures.

    Parameters
    ----------
    count : int
        fewer than 100

    Returns
    -------
    str
        without a full stop
    """
    those = "one structure is that structure" if count == 1 else f"{count} structures is their worst one"
    return (
        f"the 99 % quantile of {those}, and it is the scale of `structure_leverage`, which says little below "
        f"{ENOUGH} structures; the leverage of atoms has all atoms for its scale"
    )


def _record(
    source: Features, blocks: list[list[int]], whitening: Whitening, symbols: list, sigma: float, count: int
) -> dict[str, Any]:
    """``training["leverage"]`` of the document, not calibrated."""
    scale = whitening.scale
    if not scale > 0.0 or not whitening.structure_scale > 0.0:
        raise DataError("`data`: expected atoms with features, got none; give structures with neighbours")
    return {
        "version": VERSION,
        "basis": source.basis,
        "size": int(whitening.matrices.shape[1]),
        "blocks": blocks,
        "sigma": sigma,
        "prior": "by coefficient" if source.basis == "snnp" else "isotropic",
        "rotations": source.copies,
        "rank": whitening.ranks,
        "quantile": QUANTILE,
        "scale": scale,
        "structure_scale": whitening.structure_scale,
        "quantiles": quantiles_by_element(whitening.left_out, symbols, scale),
        "calibration": None,
        "structures": count,
        "atoms": sum(len(one) for one in symbols) // source.copies,
    }


def _places(blocks: list[list[int]], numbers: np.ndarray) -> np.ndarray:
    table = np.full(len(chemical_symbols), -1)
    for block, members in enumerate(blocks):
        table[members] = block
    return table[numbers]


def _rotations(info: ModelInfo, asked: int | None) -> int:
    if asked is not None:
        if asked < 1:
            raise MLIPError(f"`rotations`: expected at least 1, got {asked}")
        return asked
    return 1 if info.equivariant or info.symmetrization is not None else ROTATIONS


def _is_snnp(model: Model) -> bool:
    return model.info.architecture.get("name") == "snnp"
