"""Sharpness: trace and largest eigenvalue of the Hessian of the training loss, scaled filter by filter.

The loss is the mean squared error L² of forces, or of energies per atom, on training frames. H is its Hessian
by the weights; D is the diagonal matrix with |θ_f|/√n_f for each of the n_f weights of a filter f. The scaled
Hessian is D H D: a unit along a weight is the size of the weights of its filter, so that a network that was
rescaled without changing its function keeps its numbers. Its trace

    tr DHD = Σ_f |θ_f|²/n_f · tr H_ff

is the mean curvature d²(L²)/dx² of the lines of :mod:`~ase_mlip.landscapes.curves`, from other numbers. It is
estimated by M. F. Hutchinson's probes (Commun. Stat. Simul. Comput. 19, 433 (1990)), the eigenvalue by
Lanczos' method (``scipy.sparse.linalg.eigsh``); both need products H v only, which are central differences of
gradients.

A gradient of the loss needs the second derivative of the network by edge vectors and weights. The compiled
operators for inference have none. The scripted module is therefore put into training mode meanwhile, in which
it is made of torch's own operators, and back afterwards. Where gradients do not reach the weights, which a
comparison with differences of the loss shows at every call, there is an error instead of a wrong number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from ... import _torchscript
from ...errors import MLIPError
from ...progress.form import Progress, told
from ...voigt import symmetric
from ..losses import Batch, FrameLosses
from ..weights import Weights

QUANTITIES = {"forces": "(eV/Å)²", "energy": "(eV/atom)²"}
PROBES = 32
STEPS = {torch.float64: 1e-4, torch.float32: 3e-3}  # of a difference, in units of the norm of the weights
EIGENVALUE_TOLERANCE = 1e-3
CHECKED_AT = 0.03  # in units of the norm of the weights
LANCZOS_RESTARTS = 10
DENSE = 24  # weights, up to which the whole matrix is made


@dataclass(frozen=True)
class Sharpness:
    """Of one model on some frames.

    Attributes
    ----------
    quantity, unit : str
        ``forces`` in (eV/Å)² or ``energy`` in (eV/atom)²
    trace, trace_error : float
        of the scaled Hessian, and the standard error of the estimate
    largest : float
        its largest eigenvalue
    probes : int
        of the trace
    gradients : int
        evaluations of the gradient, each some three evaluations of energies and forces
    converged : bool
        whether the eigenvalue has converged; it is too small otherwise
    """

    quantity: str
    unit: str
    trace: float
    trace_error: float
    largest: float
    probes: int
    gradients: int
    converged: bool

    def to_dict(self) -> dict:
        """As JSON values."""
        return asdict(self)


class LossGradient:
    """The mean squared error of a model on frames and its gradient by the weights.

    Parameters
    ----------
    losses: of the frames
    weights: of the same model
    quantity: ``forces`` or ``energy``
    """

    def __init__(self, losses: FrameLosses, weights: Weights, quantity: str = "forces"):
        if quantity not in QUANTITIES:
            raise MLIPError(f"`quantity`: expected one of {', '.join(QUANTITIES)}, got {quantity!r}")
        if len(losses.model.exported.rotations):
            raise MLIPError(
                f"`{losses.model.path}` averages over rotations, and gradients by its weights are those of "
                "the plain network; export it without averaging for its sharpness"
            )
        self.losses, self.weights, self.quantity = losses, weights, quantity
        self.evaluations = 0

    def value(self, values: Tensor) -> float:
        """The loss at weights float64 [size], from the ordinary evaluation."""
        self.weights.move(values)
        return self.losses()[1 if self.quantity == "forces" else 0] ** 2

    def at(self, values: Tensor) -> Tensor:
        """The gradient at weights float64 [size], float64 [size], within :meth:`ready`."""
        self.weights.move(values)
        self.evaluations += 1
        leaves = [tensor.tensors[0] for tensor in self.weights.tensors]
        total = [torch.zeros_like(leaf) for leaf in leaves]
        network = self.losses.model.module.network.network
        network.train()
        try:
            with _torchscript.calling():
                for batch in self.losses.batches:
                    found = torch.autograd.grad(self._loss(network, batch), leaves, allow_unused=True)
                    for whole, part in zip(total, found, strict=True):
                        if part is not None:
                            whole += part
        finally:
            network.eval()
        return torch.cat([t.gradient(g) for t, g in zip(self.weights.tensors, total, strict=True)])

    def _loss(self, network: torch.nn.Module, batch: Batch) -> Tensor:
        """What a batch gives to the mean squared error."""
        model, graph = self.losses.model, batch.graph
        vectors = graph.edge_vectors.to(model.dtype).requires_grad_(True)
        outputs = network(graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, [])
        energies = outputs["energies"].double()
        if self.quantity == "energy":
            atomic = energies + model.module.reference_energies[graph.species]
            zeros = torch.zeros(graph.n_structures, dtype=torch.float64, device=energies.device)
            errors = (zeros.index_add(0, graph.structure, atomic) - batch.energies) / batch.n_atoms
            return errors.square().sum() / self.losses.n_frames
        (slopes,) = torch.autograd.grad([energies.sum()], [vectors], create_graph=True)
        n_nodes = len(graph.species)
        forces = torch.ops.ase_mlip.forces_from_gradients(slopes.double(), graph.edge_index, n_nodes)
        return (forces - batch.forces).square().sum() / (3 * self.losses.n_atoms)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Within it the weights take gradients; afterwards weights, flags and mode are what they were."""
        leaves = [tensor.tensors[0] for tensor in self.weights.tensors]
        flags = [leaf.requires_grad for leaf in leaves]
        with self.weights.kept():
            try:
                for leaf in leaves:
                    leaf.requires_grad_(True)
                yield
            finally:
                for leaf, flag in zip(leaves, flags, strict=True):
                    leaf.requires_grad_(flag)


def filter_scales(weights: Weights) -> Tensor:
    """|θ_f|/√n_f at every weight, float64 [size]."""
    scales = torch.zeros(weights.size, dtype=torch.float64)
    for part in weights.filters:
        own = weights.start[part.start : part.stop]
        scales[part.start : part.stop] = float(own.norm()) / part.size**0.5
    return scales


def sharpness(
    losses: FrameLosses,
    weights: Weights,
    quantity: str = "forces",
    probes: int = PROBES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sharpness:
    """Trace and largest eigenvalue of the filter-scaled Hessian of the mean squared error.

    Parameters
    ----------
    losses : FrameLosses
        of training frames; some 20 suffice. A model in float64 gives the sharper differences
    weights : Weights
        of the same model, :func:`~ase_mlip.landscapes.weights.model_weights`; unchanged afterwards
    quantity : str
        ``forces`` or ``energy``
    probes : int
        random vectors of ±1 for the trace, two gradients each; two at least, for the standard error
    seed : int
        of the probes and of the start of Lanczos' method
    progress : callable, optional
        called as ``progress(done, total, stage)`` with probes

    Returns
    -------
    Sharpness
        the trace with its standard error, and the eigenvalue

    Raises
    ------
    MLIPError
        an unknown quantity, fewer than two probes, a model that averages over rotations, or one whose
        operators have no gradient by the weights
    """
    progress = told(progress)
    if probes < 2:
        raise MLIPError(f"`probes`: expected at least 2, got {probes}")
    gradient = LossGradient(losses, weights, quantity)
    generator = np.random.default_rng(seed)
    scales = filter_scales(weights).numpy()
    products = _Products(gradient, scales)
    with gradient.ready():
        _check_gradient(gradient, products, generator)
        samples = []
        for k in range(probes):
            probe = generator.choice([-1.0, 1.0], weights.size)
            samples.append(float(probe @ products(probe)))
            progress(k + 1, probes, "")
        largest, converged = _largest(products, weights.size, generator)
    error = float(np.std(samples, ddof=1) / np.sqrt(probes))
    return Sharpness(
        quantity,
        QUANTITIES[quantity],
        float(np.mean(samples)),
        error,
        largest,
        probes,
        gradient.evaluations,
        converged,
    )


class _Products:
    """v ↦ D H D v by central differences of the gradient."""

    def __init__(self, gradient: LossGradient, scales: np.ndarray):
        self.gradient, self.scales = gradient, scales
        self.start = gradient.weights.start
        self.step = STEPS[gradient.losses.model.dtype] * float(self.start.norm())

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        direction = self.scales * np.ravel(vector)
        norm = float(np.linalg.norm(direction))
        if norm == 0.0:
            return np.zeros_like(direction)
        h = self.step / norm
        shift = torch.from_numpy(h * direction)
        ahead, behind = self.gradient.at(self.start + shift), self.gradient.at(self.start - shift)
        return self.scales * ((ahead - behind).numpy() / (2.0 * h))


def _largest(products: _Products, size: int, generator: np.random.Generator) -> tuple[float, bool]:
    """The largest eigenvalue, and whether it has converged."""
    if size <= DENSE:
        matrix = np.array([products(row) for row in np.eye(size)])
        return float(np.linalg.eigvalsh(symmetric(matrix))[-1]), True
    operator = LinearOperator((size, size), matvec=products, dtype=np.float64)
    start = generator.normal(size=size) * (products.scales > 0.0)
    settings = {"v0": start, "tol": EIGENVALUE_TOLERANCE, "maxiter": LANCZOS_RESTARTS}
    try:
        return float(eigsh(operator, 1, which="LA", return_eigenvectors=False, **settings)[0]), True
    except ArpackNoConvergence:
        vector = start / np.linalg.norm(start)
        for _ in range(LANCZOS_RESTARTS):  # a lower bound that says so beats nothing
            image = products(vector)
            vector = image / np.linalg.norm(image)
        return float(vector @ products(vector)), False


def _check_gradient(gradient: LossGradient, products: _Products, generator: np.random.Generator) -> None:
    """Compare slopes with differences of the loss, away from the minimum, where every gradient is small."""
    start, model = products.start, gradient.losses.model
    for _ in range(2):
        direction = torch.from_numpy(products.scales * generator.normal(size=len(start)))
        direction /= direction.norm()
        point = start + CHECKED_AT * float(start.norm()) * direction
        try:
            slope = float(gradient.at(point) @ direction)
        except RuntimeError as error:
            raise MLIPError(_unreachable(gradient, str(error).strip().splitlines()[-1])) from None
        h = products.step
        ahead, behind = gradient.value(point + h * direction), gradient.value(point - h * direction)
        expected = (ahead - behind) / (2.0 * h)
        noise = 10.0 * torch.finfo(model.dtype).eps * max(ahead, behind) / h
        if not abs(slope - expected) <= 0.03 * abs(expected) + noise:
            raise MLIPError(_unreachable(gradient, "its derivatives are not those of the loss"))


def _unreachable(gradient: LossGradient, reason: str) -> str:
    return (
        f"`{gradient.losses.model.path}`: the sharpness of this {gradient.weights.family} network cannot be "
        f"computed, because gradients do not reach its weights ({reason}); use the curvature of the "
        "landscape, which needs none"
    )
