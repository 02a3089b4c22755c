"""The ASE calculator of a model file, for one structure at a time or for many."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from .. import _torchscript
from ..crystals import volume_of
from ..errors import MLIPError, StructureError
from ..graph.neighbors import MIN_DISTANCE, Graph, NeighborList, check_species
from ..model_file.model import Model
from ..progress.form import Progress, told
from ..rotations.averaging import Averaging
from ..voigt import antisymmetric
from .arguments import (
    averaging_name,
    check_forces,
    check_kernel,
    check_other_arguments,
    check_tolerance,
    resolve_averaging,
    resolve_model,
)
from .batches.batch_limit import BatchLimit
from .batches.many import in_batches, results_of_batch
from .diagnostics.leverage import GraphLeverage, leverage_diagnostics
from .diagnostics.residual import choose_averaging
from .diagnostics.visited import ExtrapolationWatch
from .native_snnp import NativeSNNP, chosen_native
from .properties import IMPLEMENTED, absent, outputs_for, why_absent
from .results import ase_results, changes, require_atoms, rotational_spreads
from .rotation_sums import averaged

ALWAYS = ["energy", "forces", "stress"]  # what a calculation leaves; programs look for forces in ``results``


class MLIPCalculator(Calculator):
    """ASE calculator of a model file.

    ``energy``, ``free_energy`` and ``energies`` are in eV, ``forces`` in eV/Å; ``stress`` (Voigt-6) and the
    per-atom ``stresses``, which sum to it, are in eV/Å³ and exist where three cell vectors span a volume. The
    stress is the symmetric part of -virial/volume; what an unconstrained model has beside it, a torque on the
    cell, is in :attr:`virial_antisymmetric`.

    ``results`` holds ASE's properties and nothing else. Whatever is asked for, a calculation leaves energy,
    free energy, energies, forces and, where there is a volume and the forces have a stress, the stress:
    the same for every model, kernel and averaging. ``stresses`` are there when asked for.

    With ``symmetrize``, all results are averages over rotations. What the plain model scatters by is in
    :attr:`diagnostics`. :meth:`evaluate` computes only what is asked for.

    Parameters
    ----------
    model : str, Path or Model
        path of a model file, name of a shipped potential such as ``"pet-si"``, or a loaded model; several
        are a committee, :meth:`ase_mlip.Ensemble.from_files`
    device : str
        ``"auto"`` (see :mod:`ase_mlip.building.device`), ``"cpu"``, ``"cuda"``, ``"cuda:1"``
    dtype : str, optional
        ``"float32"`` or ``"float64"`` for the network; by default as stored. Results are float64
    forces : str
        ``"conservative"``: derivatives of the energy; ``"direct"``: what the model's direct heads predict,
        less the net force, which is cheaper but conserves no energy
    skin : float
        how far neighbour lists reach beyond the cutoff, Å, to be kept while atoms move
    symmetrize : str, ase.Atoms or Averaging, optional
        averaging over rotations (:func:`ase_mlip.rotations.schemes.find_averaging`): ``"octahedral"``,
        ``"icosahedral"``, either with ``"+inversion"``, ``"lebedev:L"``, ``"random:SEED"`` (a new rotation
        per evaluation), the undisplaced crystal (``ase.Atoms``) whose point group is meant, or ``"auto"``:
        as many rotations as the first structure needs for ``tolerance``, and those from then on. None
        takes what the file was exported with, ``"none"`` the plain network
    tolerance : float
        for ``"auto"``, root mean square of the forces' anisotropy that may remain, eV/Å; a
        ``PrecisionWarning`` says where the largest scheme leaves more
    check_lattice : bool
        whether an averaging over a crystal's group refuses a box that the group does not keep
    kernel : str, optional
        ``"native"``: an s-NNP straight from the neighbour list, the default where it can be; ``"torch"``:
        the general way. Both give the same numbers
    leverage : bool
        whether the leverage is wanted, which costs up to one more evaluation without derivatives
    **kwargs
        ``atoms``, ``directory`` and ``label`` of ASE calculators

    Raises
    ------
    MLIPError
        a list of models, unknown option, a tolerance that is not positive, direct forces from a model without
        them, or a leverage from a file without one
    FileNotFoundError, ModelFileError, BuildError
        see :func:`ase_mlip.load_model`

    Attributes
    ----------
    diagnostics : dict
        what is known of the last calculation beside ASE's properties, replaced by the next one. Of averages
        over rotations, standard deviations over them: ``energy_spread`` (float, eV), ``forces_spread`` [N]
        (of the vector, eV/Å) and ``stress_spread`` [6] (eV/Å³). Where the file knows what its training data
        visited (s-NNPs do), ``extrapolating`` int [N]: the number of neighbours and angles of each atom
        without any training data; one warning is given. With ``leverage``, ``leverage`` [N], the distance of
        each atom from the training data, where 1 is the 99 % quantile of the training atoms, each left out
        with its structure; ``structure_leverage`` (float), that of the mean energy; and where the file is
        calibrated ``energy_uncertainty`` (float, eV): docs/optimal_design.md
    virial_antisymmetric : float64 [3, 3] or None
        antisymmetric part of the last virial, eV; None without one
    averaging : Averaging or None
        the averaging over rotations; None until ``"auto"`` has chosen
    residual : float or None
        with ``"auto"``, the anisotropy of the forces that the chosen averaging leaves, eV/Å

    Notes
    -----
    Programs of finite displacements (phonopy, matcalc) take forces as they come, and a plain network that
    does not know symmetry leaves some in the undisplaced crystal: `pet-si` then gives 16.74 THz at Γ of
    silicon instead of 14.89. Pass the undisplaced crystal, ``symmetrize=crystal``, or subtract the forces of
    the undisplaced supercell, as :func:`ase_mlip.phonons` does (docs/phonons.md).

    The calculator may be used for several structures in turn and pickles by the path of its model.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase_mlip import MLIPCalculator
    >>> atoms = bulk("Si")
    >>> atoms.calc = MLIPCalculator("snnp-si")
    >>> print(f"{atoms.get_potential_energy():.3f} eV")
    -10.838 eV
    """

    implemented_properties = [*IMPLEMENTED]
    ignored_changes = {"initial_charges", "initial_magmoms"}

    @_torchscript.calling()
    def __init__(
        self,
        model: str | os.PathLike | Model,
        device: str = "auto",
        dtype: str | None = None,
        forces: str = "conservative",
        skin: float = 0.5,
        symmetrize: str | Atoms | Averaging | None = None,
        tolerance: float = 1e-3,
        check_lattice: bool = True,
        kernel: str | None = None,
        leverage: bool = False,
        **kwargs,
    ):
        check_other_arguments(kwargs)
        self.kernel = check_kernel(kernel)
        native_only = kernel == "native" and str(device) == "auto"  # which needs the processor
        self.model = resolve_model(model, "cpu" if native_only else device, dtype)
        self.forces = forces
        self.skin = skin
        self.virial_antisymmetric: np.ndarray | None = None
        self.diagnostics: dict[str, float | np.ndarray] = {}
        check_forces(forces, self.model)
        self.averaging = resolve_averaging(symmetrize, self.model)  # None: the first structure will tell
        self.tolerance = check_tolerance(tolerance)
        self.check_lattice = check_lattice
        self.residual: float | None = None
        self._evaluations = 0
        self._rotations_limit = BatchLimit(self.model.device)
        self._neighbors = self._new_neighbors()
        self._native = self._new_native()
        self._watch = ExtrapolationWatch(self.model.info)
        self._leverage = GraphLeverage(self.model) if leverage else None
        super().__init__(**kwargs)
        self.parameters.update(
            model=str(self.model.path),
            device=str(self.model.device),
            dtype=str(self.model.dtype).removeprefix("torch."),
            forces=forces,
            skin=skin,
            symmetrize=averaging_name(symmetrize, self.averaging),
            kernel="torch" if self._native is None else "native",
        )

    @_torchscript.calling()
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` and ``diagnostics``; see the class for what a calculation leaves.

        Parameters
        ----------
        atoms : ase.Atoms
            the structure
        properties : sequence of str, optional
            matter for ``stresses`` only, which are there if asked for; None stands for everything
        system_changes : sequence of str
            as ASE has them

        Raises
        ------
        StructureError
            a structure that cannot be evaluated, see :func:`ase_mlip.graph.neighbors.check_structure`
        CalculationFailed
            an energy or force that is not finite
        """
        self._forget()
        super().calculate(atoms, properties, system_changes)
        require_atoms(self.atoms)
        stresses = properties is None or "stresses" in properties
        wanted = [*ALWAYS, "stresses"] if stresses else ALWAYS
        self._check_species(self.atoms)
        self._check_lattice(self.atoms)
        outputs, watched = self._evaluate_native(wanted) or self._evaluate_here(wanted)
        whole = (outputs, slice(None), 0, volume_of(self.atoms))
        self.results = ase_results(*whole, self.forces == "direct", stresses)
        leverages = leverage_diagnostics(*whole[:3])
        self.diagnostics = {**rotational_spreads(*whole), **watched, **leverages}
        if "virial" in outputs:
            self.virial_antisymmetric = antisymmetric(outputs["virial"][0])

    @_torchscript.calling()
    def evaluate(
        self,
        structures: Iterable[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        progress: Progress | None = None,
    ) -> list[dict]:
        """Results of many structures, in their order; neither they nor the calculator's state are changed.

        On a CPU they run one after another, which is fastest there; on a GPU in batches that fill its memory.

        Parameters
        ----------
        structures : iterable of ase.Atoms
            the structures
        properties : sequence of str
            ASE names of what is wanted, and ``"diagnostics"``
        progress : callable, optional
            called as ``progress(done, total, stage)`` after each batch, with structures, see
            :mod:`ase_mlip.progress`

        Returns
        -------
        list of dict
            for each structure the wanted properties, in the units of the calculator; ``stress`` and
            ``stresses`` are left out where a structure has no volume. ``diagnostics`` is a dict like that of
            the calculator, of what is wanted beside it

        Raises
        ------
        StructureError
            naming the position in the list of a structure that cannot be evaluated
        PropertyNotImplementedError
            a property the calculator does not have
        """
        if isinstance(structures, Atoms):
            raise StructureError("`structures`: expected a list of `ase.Atoms`, got one; write `[atoms]`")
        structures, progress = list(structures), told(progress)
        missing = absent(properties, self.model, self.forces)
        if missing:
            raise PropertyNotImplementedError(self._why_absent(missing[0]))
        results, limit = [], BatchLimit(self.model.device)
        direct, stresses = self.forces == "direct", "stresses" in properties
        evaluate = partial(self._evaluate_graph, properties=properties)
        for batch, graphs in in_batches(structures, self._graph_of, limit):
            everything = results_of_batch(batch, graphs, evaluate, limit, direct, stresses)
            for graph, found in zip(graphs, everything, strict=True):
                found["diagnostics"].update(self._watch.of_graph(graph))  # warns, whatever is wanted
                results.append({name: found[name] for name in properties if name in found})
            progress(len(results), len(structures), "")
        return results

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What differs from the last structure, exactly: ASE asks several times in every step."""
        return changes(self.atoms, atoms)

    def reset(self) -> None:
        """Forget the last structure, as ASE does, and all that is known of it."""
        self._forget()
        super().reset()

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True):
        """As of ASE, but an absent property is explained."""
        try:
            return super().get_property(name, atoms, allow_calculation)
        except PropertyNotImplementedError:
            raise PropertyNotImplementedError(self._why_absent(name)) from None

    def set(self, **kwargs) -> dict:
        """Refused: other options are another calculator, which may share the loaded model."""
        if kwargs:
            raise MLIPError(
                f"`MLIPCalculator.set` cannot change {', '.join(kwargs)}; make a new calculator with "
                "`MLIPCalculator(calculator.model, ...)`"
            )
        return {}

    def __getstate__(self) -> dict:
        """Neighbour lists, which may be larger than the model, and tables are made again on arrival."""
        has_leverage = self._leverage is not None
        return {**self.__dict__, "_neighbors": None, "_native": None, "_leverage": has_leverage}

    @_torchscript.calling()
    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._neighbors = self._new_neighbors()
        self._native = self._new_native()
        self._leverage = GraphLeverage(self.model) if state["_leverage"] else None

    def __deepcopy__(self, memo: dict) -> MLIPCalculator:
        """A calculator of its own, with the same loaded model."""
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        memo[id(self.model)] = self.model
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def _get_name(self) -> str:
        return "mlip"

    # ---- one graph to results ------------------------------------------------------------------------------

    def _forget(self) -> None:
        self.results, self.diagnostics, self.virial_antisymmetric = {}, {}, None

    def _new_neighbors(self) -> NeighborList:
        info = self.model.info
        return NeighborList(info.cutoff, self.skin, info.pair_cutoffs, self.model.device)

    def _new_native(self) -> NativeSNNP | None:
        return chosen_native(self.kernel, self.model, self.averaging, self.forces)

    def _check_lattice(self, atoms: Atoms) -> None:
        if self.check_lattice and self.averaging is not None:
            self.averaging.check_lattice(atoms)

    def _choose_averaging(self, graph: Graph) -> None:
        """With ``symmetrize="auto"``, once: another choice later would make the energy jump."""
        if self.averaging is None:
            self.averaging, self.residual = choose_averaging(
                self.model, graph, self.tolerance, self.forces == "direct"
            )
            self.parameters["symmetrize"] = self.averaging.name

    def _check_species(self, atoms: Atoms) -> None:
        check_species(atoms.numbers, self.model.info.species)

    def _evaluate_here(self, properties: Sequence[str]) -> tuple[dict, dict]:
        """The model's outputs for ``self.atoms``, and what is known of extrapolation."""
        graph = self._neighbors.update(self.atoms)
        self._choose_averaging(graph)
        return self._evaluate_graph(graph, properties), self._watch.of_graph(graph)

    def _evaluate_native(self, properties: Sequence[str]) -> tuple[dict, dict] | None:
        """The same without a graph; None where that cannot be, or where coinciding atoms need an error."""
        needs_features = self._leverage is not None and self._leverage.wanted
        if self._native is None or needs_features:
            return None
        stored = self._neighbors.stored(self.atoms)
        outputs, counts, shortest = self._native(stored, self.atoms.positions, "stresses" in properties)
        if shortest < MIN_DISTANCE:
            return None
        if self._leverage is not None:
            graph = self._neighbors.update(self.atoms)
            outputs.update({name: value.numpy() for name, value in self._leverage(graph, None).items()})
        return outputs, self._watch.of_counts(counts, shortest)

    def _evaluate_graph(self, graph: Graph, properties: Sequence[str]) -> dict[str, np.ndarray]:
        """The model's outputs on the CPU, for one or several structures in the graph."""
        wanted = self._wanted(properties)
        averaging = self.averaging.at(self._evaluations)
        self._evaluations += 1
        if len(averaging.rotations) > 1:
            direct = self.forces == "direct"
            outputs = averaged(self.model, graph, wanted, averaging, direct, self._rotations_limit)
        else:
            outputs = self.model(graph, wanted, averaging)
        features = outputs.pop("features", None)
        if self._leverage is not None:
            outputs.update(self._leverage(graph, features))
        return {name: value.detach().cpu().numpy() for name, value in outputs.items()}

    def _wanted(self, properties: Sequence[str]) -> list[str]:
        also = [] if self._leverage is None else self._leverage.wanted
        return outputs_for(properties, self.model, self.forces) + also

    def _why_absent(self, name: str) -> str:
        return why_absent(name, self.model, self.forces, self.atoms)

    def _graph_of(self, atoms: Atoms) -> Graph:
        """The graph of one of many structures, without the stored neighbour list."""
        self._check_species(atoms)
        self._check_lattice(atoms)
        graph = self.model.graph_of(atoms)
        self._choose_averaging(graph)
        return graph
