"""The loss landscape of a model on its training frames: curves, entropies, a document, a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from ..checks.evaluate import named_frames
from ..crystals import is_whole
from ..data.references import ReferenceKeys, Sample, sample_from_atoms
from ..errors import ArgumentError, DataError
from ..folder_lock import locked
from ..model_file.model import Model, load_model
from ..progress.form import Progress
from ..provenance import Parts, difference, file_sha256, hardware, refuse_other_settings, write_json
from . import entropy
from .curves import PLANE_POINTS, Plan, compute, of_lines, of_plane, positions
from .directions import DIRECTIONS
from .document import read_document
from .losses import FrameLosses
from .predictors.entries import checked_names, predictors_of
from .result import Landscape
from .sample import frame_hash, stratified
from .weights import Weights, model_weights

RESULT, PARTIAL = "landscape.json", "landscape-points.json"
FRAMES_FOR_EFFECT = 2  # frames on which a tensor without effect is looked for


def landscape(
    model: Model | str | Path,
    frames: Sequence[Atoms] | str | Path | Sequence[str | Path],
    *,
    lines: int = 20,
    points: int = 81,
    span: float = 0.5,
    directions: str = "gaussian",
    plane: bool = False,
    sample: int | None = None,
    group_key: str = "group",
    seed: int = 0,
    predictors: Sequence[str] = (),
    output: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Landscape:
    """How the training error of a model rises along random lines through its weights.

    J. A. Vita and D. Schwalbe-Koda, Mach. Learn.: Sci. Technol. 4, 035031 (2023), arXiv 2302.05823, with
    directions of H. Li et al., arXiv 1712.09913. Numbers are comparable between models of one family on the
    same frames with the same settings, and between no others.

    Parameters
    ----------
    model : Model, str or Path
        a model, its file, or the name of a shipped one. One that is given keeps its device and dtype, and
        nobody else may use it meanwhile; its weights are the same bit by bit afterwards
    frames : sequence of ase.Atoms, str, Path or sequence of str or Path
        the **training** frames with energies and forces, or files that ASE reads
    lines, points : int
        lines through the weights, and points on each, an odd number
    span : float
        length of the lines in units of the norm of the weights, half of it to either side
    directions : str
        ``gaussian`` or ``legacy`` (:mod:`.directions`)
    plane : bool
        whether to compute a plane of the first two directions as well, at most 25 × 25 points
    sample : int, optional
        take this many frames, a stratified sample; None takes all
    group_key : str
        key of ``atoms.info`` that names a frame's group, for the sample
    seed : int
        of directions, sample and bootstrap
    predictors : sequence of str
        names of others to compute beside the curves (:mod:`.predictors.entries`)
    output : str or Path, optional
        folder for ``landscape.json``. A call that was killed is continued there with the same numbers
    overwrite : bool
        whether a landscape of another model, of other frames or settings there is replaced, or refused
    device, dtype : str
        of a model that is loaded here; by default the precision of its weights
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each point, see :mod:`ase_mlip.progress`

    Returns
    -------
    Landscape
        losses along the lines, and the entropies of them

    Raises
    ------
    DataError
        fewer than two frames, a frame without energy or forces, an output folder with something else
    StructureError
        a frame with species that the model does not know
    ArgumentError
        settings that cannot be
    MLIPError
        a model whose weights cannot be moved
    OutputInUseError
        another process computes into the same folder

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.singlepoint import SinglePointCalculator
    >>> from ase_mlip import MLIPCalculator, landscape
    >>> frames = []
    >>> for seed in range(3):
    ...     frames.append(bulk("Si", cubic=True))
    ...     frames[-1].rattle(0.05, seed=seed)
    ...     forces = MLIPCalculator("pet-si").get_forces(frames[-1])  # in place of a DFT code's
    ...     frames[-1].calc = SinglePointCalculator(frames[-1], energy=-43.4, forces=forces)
    >>> found = landscape("snnp-si", frames, lines=4, points=21)
    >>> print(f"S = {found.numbers['S']:.1f}")
    S = -3.9
    """
    x, wanted = positions(points, span), checked_names(predictors)
    kind, lines = _checked_directions(directions), _checked_lines(lines, plane)
    samples = [
        sample_from_atoms(atoms, ReferenceKeys(group=group_key), source)
        for source, atoms in named_frames(frames)
    ]
    notes = []
    chosen = samples
    if sample is not None:
        chosen, note = stratified(samples, sample, seed)
        notes.append(note)
    loaded = model if isinstance(model, Model) else load_model(model, device=device, dtype=dtype)
    weights = model_weights(loaded)
    losses = FrameLosses(loaded, chosen)
    grid = x if len(x) <= PLANE_POINTS else positions(PLANE_POINTS, span)
    plan = Plan(kind, seed, lines, x, grid if plane else None)
    settings = _settings(plan, span, loaded, chosen, len(samples))
    about = _about(loaded, weights)
    work = _Work(weights, losses, plan, settings, about, notes, wanted)
    if output is None:
        return work.run(Parts(), progress)
    with locked(output):
        return work.run_in(Path(output), overwrite, progress)


@dataclass
class _Work:
    """One landscape to compute, with everything it depends on."""

    weights: Weights
    losses: FrameLosses
    plan: Plan
    settings: dict
    about: dict
    notes: list[str]
    wanted: tuple[str, ...]  # other predictors

    @property
    def depends_on(self) -> dict:
        """The settings as they are stored."""
        return {"model_sha256": self.about["sha256"], "settings": self.settings}

    def run_in(self, folder: Path, overwrite: bool, progress: Progress | None) -> Landscape:
        """The same with the result, and until then the points, in a folder."""
        path = folder / RESULT
        stored = self._stored(path, overwrite)
        computed = Parts(folder / PARTIAL, self.depends_on, overwrite)
        if stored is not None and not computed.found:
            computed.found = _stored_points(stored, self.plan)
        found = self.run(computed, progress)
        if stored is not None and self.losses.evaluations == 0:
            found.cost = stored["cost"]
        if stored is not None:
            found.predictors = stored.get("predictors", {}) | found.predictors
        write_json(path, found.to_dict())
        computed.remove()
        return found

    def run(self, computed: Parts, progress: Progress | None) -> Landscape:
        wall, cpu = time.monotonic(), time.process_time()
        compute(self.weights, self.losses, self.plan, computed, progress)
        energy, forces = of_lines(computed, self.plan)
        cost = {
            "cpu_seconds": time.process_time() - cpu,
            "network_cpu_seconds": self.losses.network_seconds,
            "wall_seconds": time.monotonic() - wall,
            "evaluations": self.losses.evaluations,
            **hardware(str(self.losses.model.device), torch.get_num_threads()),
        }
        plane = None
        if self.plan.plane is not None:
            first, second = of_plane(computed, self.plan)
            axis = self.plan.plane
            plane = {"x": axis, "y": axis, "energy_losses": first, "force_losses": second}
        without = self.about["without_effect"] = self._without_effect()
        notes = list(self.notes)
        if without:
            names = ", ".join(without[:3]) + (" ..." if len(without) > 3 else "")
            which = f"{len(without)} of {len(self.weights.tensors)} tensors of weights"
            notes.append(f"{which} have no effect on energies and forces of these frames: {names}")
        endless = int((~np.isfinite(energy) | ~np.isfinite(forces)).sum())
        if endless:
            notes.append(
                f"at {endless} of {energy.size} points the network overflowed: their loss is infinite"
            )
        others, more = {}, []
        if self.wanted:
            model, samples, seed = self.losses.model, self.losses.samples, self.plan.seed
            others, more = predictors_of(self.wanted, model, samples, seed=seed)
        found = _summary(self, energy, forces, plane, cost, [*notes, *more])
        found.predictors = others
        return found

    def _without_effect(self) -> list[str]:
        """On a few of the frames."""
        few = self.losses.some(FRAMES_FOR_EFFECT)

        def results() -> torch.Tensor:
            return torch.cat([part.flatten() for part in few.results()])

        return self.weights.without_effect(results)

    def _stored(self, path: Path, overwrite: bool) -> dict | None:
        """The finished document in the folder, if there is one; DataError where it is another's, unless that
        is to be replaced."""
        if not path.exists():
            return None
        try:
            found = read_document(path)
            known = {"model_sha256": found["model"]["sha256"], "settings": found["settings"]}
        except (DataError, KeyError):
            found, known = None, None
        if not overwrite:
            refuse_other_settings(path, known, self.depends_on)
        return None if known is None or difference(known, self.depends_on) else found


def _summary(work: _Work, energy, forces, plane: dict | None, cost: dict, notes: list[str]) -> Landscape:
    x = work.plan.x
    numbers = entropy.LineNumbers(energy, forces, x, work.settings["radius"])
    return Landscape(
        model=work.about,
        settings=work.settings,
        x=x,
        energy_losses=energy,
        force_losses=forces,
        numbers=numbers(energy, forces),
        intervals=entropy.bootstrap(numbers, energy, forces, seed=work.plan.seed),
        scan=entropy.scan(energy, forces, x),
        plane=plane,
        cost=cost,
        notes=notes,
    )


# ---- the document ------------------------------------------------------------------------------------------


def _about(model: Model, weights: Weights) -> dict:
    info = model.info
    return {
        "name": info.name,
        "path": str(model.path),
        "sha256": file_sha256(model.path),
        "document_sha256": info.document_sha256,
        "family": weights.family,
        "architecture": info.architecture,
        "weights": weights.size,
        "filters": len(weights.filters),
        "without_effect": [],
    }


def _settings(plan: Plan, span: float, model: Model, chosen: Sequence[Sample], of: int) -> dict:
    step = float(plan.x[len(plan.x) // 2 + 1])
    return {
        "lines": plan.lines,
        "points": len(plan.x),
        "span": float(span),
        "directions": plan.directions,
        "seed": plan.seed,
        "plane": 0 if plan.plane is None else len(plan.plane),
        "radius": max(float(span) / 10, step),
        "dtype": str(model.dtype).removeprefix("torch."),
        "frames": len(chosen),
        "atoms": sum(len(sample.atoms) for sample in chosen),
        "of_frames": of,
        "frame_hashes": [frame_hash(sample) for sample in chosen],
        "kT_energy": entropy.KT_ENERGY,
        "kT_forces": entropy.KT_FORCES,
        "force_weight": entropy.FORCE_WEIGHT,
        "confidence": entropy.CONFIDENCE,
    }


def _stored_points(found: dict, plan: Plan) -> dict[str, tuple[float, float]]:
    """The points in a finished document of the same plan."""
    points = {}
    for line in range(plan.lines):
        for k in range(len(plan.x)):
            losses = float(found["energy_losses"][line, k]), float(found["force_losses"][line, k])
            points[plan.on_line(line, k)] = losses
    for i in range(0 if plan.plane is None else len(plan.plane)):
        for j in range(len(plan.plane)):
            both = (found["plane"][name][i][j] for name in ("energy_losses", "force_losses"))
            points[plan.in_plane(i, j)] = tuple(np.inf if loss is None else loss for loss in both)
    return points


def _checked_directions(directions: str) -> str:
    if directions not in DIRECTIONS:
        raise ArgumentError(f"`directions`: expected `gaussian` or `legacy`, got {directions!r}")
    return directions


def _checked_lines(lines: int, plane: bool) -> int:
    least = 2 if plane else 1
    if not is_whole(lines) or lines < least:
        why = "; a plane has two directions" if plane else ""
        raise ArgumentError(f"`lines`: expected at least {least}, got {lines!r}{why}")
    return int(lines)
