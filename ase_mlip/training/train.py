"""``ase-mlip train run.toml``: fit a network to energies, forces and stress, and export it."""

import contextlib
import csv
import io
import math
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..building import _ops
from ..building.device import on_first_that_works
from ..calculators.diagnostics.visited import warn_of_unseen
from ..calculators.inputs import named_only, renamed
from ..checks.installation.requirements import install_command
from ..configuration.run import OptimizerConfig, RunConfig, read_config
from ..data.baseline import atomic_baseline, composition_baseline
from ..data.batches import GraphDataset, parts, random_o3, shuffled_batches
from ..data.first_knot import Distances
from ..data.training_data import DataSplit, load_data
from ..errors import DataError, MLIPError, users_line
from ..folder_lock import locked
from ..networks.snnp.hypers import SNNPHypers
from ..networks.snnp.snnp import SNNP
from ..optimal_design.leverage.attach import ENOUGH, few_structures
from ..optimal_design.rows.linear_basis import RIDGE
from ..progress.form import Progress, told
from ..provenance import write_atomically
from .bonded_constant import can_hold, hold_constants
from .checkpoint import (
    KIND,
    TrainState,
    goes_on,
    load_checkpoint,
    require_earlier_run,
    save_checkpoint,
    unchanging_of,
)
from .dynamics import run_dynamics
from .export import finish, make_network
from .linear_fit import fit_linear, shortened
from .loss import RunningErrors, loss, of_structures, predict, residuals, scales_of
from .optimizer import make_optimizers
from .start import Start, check_species, read_start, same_hypers

# atoms of validation frames that are evaluated together: one by one they take as long as half of the steps
VALIDATION_NODES = 512
CHECKPOINT = "checkpoint.safetensors"


@renamed(dynamics_seconds="dynamics")
@named_only(1, "resume", "progress", "dynamics", "overwrite")
def train(
    path: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    dynamics: float = 60.0,
    overwrite: bool = False,
) -> Path:
    """Run the training that the TOML file describes, or go on with it where it was ended.

    The output folder gets ``checkpoint.safetensors`` (written after every epoch), ``metrics.csv``,
    ``learning_curve.png`` and ``best.safetensors`` with its JSON (the weights of the best epoch).

    Parameters
    ----------
    path : str or Path
        the TOML file, docs/training.md
    resume : bool
        only go on: an error where the output folder holds no run
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each epoch, with the errors on validation
        frames as stage, and then with the steps of the stage "dynamics"; see :mod:`ase_mlip.progress`
    dynamics : float
        run dynamics with the exported model for so long, s of the clock, from the calmest validation frame:
        ``dynamics.json``; 0 runs none
    overwrite : bool
        replace a run of another configuration or of other data, which is refused otherwise

    Returns
    -------
    Path
        the exported model, ``<output>/<name>.pt``

    Raises
    ------
    ArgumentError
        for ``resume`` together with ``overwrite``
    DataError
        for anything wrong with the configuration or the data; for a run of other ones in the output folder
        without ``overwrite``, and for none with ``resume``
    OutputInUseError
        another process is training in the output folder
    """
    path = Path(path)
    config = read_config(path)
    output = path.parent / config.output
    with locked(output):
        require_earlier_run(output / CHECKPOINT, resume, overwrite)
        return _train(config, path.parent, output, overwrite, progress, dynamics)


def _train(
    config: RunConfig, base: Path, output: Path, overwrite: bool, progress: Progress | None, dynamics: float
) -> Path:
    checkpoint, tell = output / CHECKPOINT, told(progress)
    _ops.load()
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    device, data = _device(config.device), load_data(config.data, base)
    run = Run(config, data, device, progress is not None, base)
    unchanging = unchanging_of(config, data, base)
    if goes_on(checkpoint, KIND, unchanging, overwrite):
        load_checkpoint(checkpoint, run.state, unchanging)
    epochs = config.optimizer.epochs
    with _summary_writer(config, output) as summary:
        tell(run.state.epoch, epochs, "")
        while run.state.epoch < epochs:
            row = run.epoch()
            save_checkpoint(checkpoint, run.state, unchanging)
            write_metrics(output / "metrics.csv", run.state.history)
            for name, value in row.items():
                summary(name, value, run.state.epoch)
            tell(run.state.epoch, epochs, _short(row))
    exported = finish(config, run.state, run.baseline, data, output)
    if dynamics > 0.0:
        run_dynamics(exported, data.validation or data.train, output, dynamics, progress)
    return exported


class Run:
    """One training run: network, data and optimizer; :meth:`epoch` is called until done."""

    def __init__(
        self,
        config: RunConfig,
        data: DataSplit,
        device: torch.device,
        talk: bool = False,
        base: Path = Path(),
    ):
        self.config, self.device = config, device
        torch.manual_seed(config.seed)
        species = sorted({int(z) for s in data.train for z in s.atoms.numbers})
        if config.init_from:
            check_species(config.model.species, species)
        else:
            config.model.species = species
        self.train_set = GraphDataset(data.train, config.model.cutoff)
        if isinstance(config.model, SNNPHypers) and not config.init_from:
            _set_first_knot(config.model, self.train_set, talk)
        self.network = make_network(config.model).to(device)
        self.baseline = atomic_baseline(data.train, config.data.reference_energies)
        self.validation_set = GraphDataset(data.validation, config.model.cutoff)
        self.has_energies = any(sample.energy is not None for sample in data.train)
        composition = composition_baseline(data.train) if self.has_energies else {}
        self.scales = scales_of(data.train, composition)
        _check_something_is_learned(config, data)
        if config.design.export and len(data.train) < ENOUGH:
            warnings.warn(few_structures(len(data.train)), RuntimeWarning, stacklevel=users_line())
        if config.init_from:
            self._start_from(read_start(config.init_from, base))
        else:
            self._set_scales()
        if isinstance(self.network, SNNP):
            warn_of_unseen(map(self.train_set.graph, range(len(self.train_set))), config.model)
        if config.optimizer.linear_start > 0:
            self._start_from_least_squares()
        table = torch.zeros(119, dtype=torch.float64)
        for number, energy in self.baseline.items():
            table[number] = energy
        self.table = table.to(device)
        average = [p.detach().clone() for p in self.network.parameters()]
        optimizers = make_optimizers(self.network, config.optimizer)
        self.state = TrainState(self.network, optimizers, average)
        self.steps_per_epoch = math.ceil(len(data.train) / config.optimizer.batch_size)

    def _set_scales(self) -> None:
        """The network works in units of the forces' root mean square."""
        if isinstance(self.network, SNNP):
            self.network.set_energy_scale(self.scales.forces)
        else:
            self.network.energy_scale.fill_(self.scales.forces)
        self.network.force_scale.fill_(self.scales.forces)

    def _start_from(self, start: Start) -> None:
        """Given weights with their own units, and reference energies unless the data have others."""
        same_hypers(start, self.config.model)
        self.network.load_state_dict(start.network.state_dict())
        if not self.config.data.reference_energies:
            self.baseline = dict(start.reference_energies)

    def _start_from_least_squares(self) -> None:
        given = bool(self.config.data.reference_energies)
        fit = fit_linear(
            self.network,
            self.train_set,
            self.baseline,
            ridge=RIDGE,
            curvature=self.config.optimizer.linear_start,
            constants=self.has_energies and (not given or can_hold(self.network)),
        )
        if given and fit.constants:
            hold_constants(self.network, fit.constants, self.train_set)
        elif not given:
            for number, constant in fit.constants.items():
                self.baseline[number] += constant
        if fit.undetermined:
            warnings.warn(
                "the training data do not determine these coefficients of the least-squares start, which are "
                f"as smooth and small as can be: {shortened(fit.undetermined)}",
                RuntimeWarning,
                stacklevel=users_line(),
            )

    def epoch(self) -> dict[str, float]:
        """Train one epoch, validate the averaged weights, remember the best; returns the metrics row."""
        start = time.perf_counter()
        state, optimizer = self.state, self.config.optimizer
        conservative = state.epoch >= optimizer.conservative_from
        errors, losses = RunningErrors(), []
        self.network.train()
        batches = shuffled_batches(
            len(self.train_set), optimizer.batch_size, seed=self.config.seed, epoch=state.epoch
        )
        for indices in batches:
            losses.append(self._step(indices, conservative, errors))
        with self.averaged_weights():
            validation, validation_loss = self._validate(conservative)
        state.epoch += 1
        if conservative and not math.isfinite(state.best_loss) or validation_loss < state.best_loss:
            state.best_loss = validation_loss if conservative else float("inf")
            names = [name for name, _ in self.network.named_parameters()]
            state.best = {n: a.clone() for n, a in zip(names, state.average, strict=True)}
        row = {"epoch": state.epoch, "learning_rate": state.optimizers[0].param_groups[0]["lr"]}
        row["loss"], row["validation_loss"] = sum(losses) / len(losses), validation_loss
        row |= {f"train_{k}_rmse": v for k, v in errors.rmse().items()}
        row |= {f"validation_{k}_rmse": v for k, v in validation.items()}
        row["seconds"] = time.perf_counter() - start
        state.history.append(row)
        return row

    def _step(self, indices: np.ndarray, conservative: bool, errors: RunningErrors) -> float:
        state, optimizer = self.state, self.config.optimizer
        rotations = None
        if optimizer.rotate:
            rotations = random_o3(len(indices), (self.config.seed, state.step))
        batch = self.train_set.collate(indices, rotations, torch.float32, self.device)
        found = residuals(predict(self.network, batch, self.table, conservative), batch)
        value = loss(found, self.config.loss, self.scales, state.epoch / optimizer.epochs)
        if self.config.loss.curvature > 0:
            value = value + self.config.loss.curvature * self.network.roughness()
        if not torch.isfinite(value):
            raise DataError(
                f"`loss` became {float(value.detach())} in step {state.step}; "
                "lower `optimizer.learning_rate` or look for wrong frames in the training data"
            )
        for one in state.optimizers:
            for group in one.param_groups:
                group["lr"] = _learning_rate(optimizer, state.step, self.steps_per_epoch)
            one.zero_grad(set_to_none=True)
        value.backward()
        if optimizer.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), optimizer.gradient_clip)
        for one in state.optimizers:
            one.step()
        state.step += 1
        # A young average would remember the random start: let it lengthen with the run.
        decay = min(optimizer.ema_decay, (1 + state.step) / (10 + state.step))
        parameters = [p.detach() for p in self.network.parameters()]
        torch._foreach_lerp_(state.average, parameters, 1.0 - decay)
        errors.add(found)
        return float(value.detach())

    def _validate(self, conservative: bool) -> tuple[dict[str, float], float]:
        """Errors, and the mean of the loss of each frame, which is not that of a batch where sizes differ."""
        self.network.eval()
        errors, losses = RunningErrors(), []
        sizes = [len(sample.atoms) for sample in self.validation_set.samples]
        for part in parts(sizes, VALIDATION_NODES):
            batch = self.validation_set.collate(part, None, torch.float32, self.device)
            with torch.set_grad_enabled(conservative):
                found = residuals(predict(self.network, batch, self.table, conservative), batch)
            found = {name: error.detach() for name, error in found.items()}
            errors.add(found)
            for one in of_structures(found, batch):
                losses.append(float(loss(one, self.config.loss, self.scales, done=1.0)))
        self.network.train()
        return errors.rmse(), sum(losses) / max(len(losses), 1)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within the context the network carries the moving average of its weights."""
        parameters = [p.detach() for p in self.network.parameters()]
        raw = [p.clone() for p in parameters]
        torch._foreach_copy_(parameters, self.state.average)
        yield
        torch._foreach_copy_(parameters, raw)


def _set_first_knot(hypers: SNNPHypers, data: GraphDataset, talk: bool) -> None:
    """Replace "auto" by a distance (Å), say what lies below it, and warn of a given one above distances."""
    distances = Distances.of(data.graph(index) for index in range(len(data)))
    given = hypers.inner != "auto"
    if not given:
        hypers.inner = distances.automatic()
    try:
        hypers.check()
    except ValueError as error:
        raise DataError(f"[model]: {error}") from None
    if given and distances.below(hypers.inner) > 0:
        warnings.warn(
            f"{distances.sentence(hypers.inner)}. Splines are straight lines there; write `inner` = "
            f'"auto" or {distances.automatic():g}',
            RuntimeWarning,
            stacklevel=users_line(),
        )
    elif talk:
        tqdm.write(distances.sentence(hypers.inner), file=sys.stderr)


def _learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int) -> float:
    total = config.epochs * steps_per_epoch
    warmup = max(1, round(config.warmup_fraction * total))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    decay = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return config.learning_rate * (config.final_fraction + (1.0 - config.final_fraction) * decay)


def _check_something_is_learned(config: RunConfig, data: DataSplit) -> None:
    """Raise DataError where every quantity with a weight lacks data."""
    names = {
        "energy": ["energy"],
        "forces": ["forces", "direct_forces"],
        "stress": ["stress", "direct_stress"],
    }
    weights = {name: sum(getattr(config.loss, term) for term in terms) for name, terms in names.items()}
    weighted = [name for name, weight in weights.items() if weight > 0]
    if not any(getattr(sample, name) is not None for sample in data.train for name in weighted):
        there = ", ".join(data.description["references"])
        raise DataError(
            "[loss]: expected a weight of a quantity that the data have, got weights of "
            f"{', '.join(weighted)} and data of {there}; nothing would be learned"
        )


def _device(name: str) -> torch.device:
    """By the rule of :mod:`..building.device`; there is no file yet that could have to pass its self-test."""
    try:
        return on_first_that_works(name, lambda device: torch.zeros(1, device=device).device)
    except MLIPError as error:
        raise DataError(str(error)) from None


def write_metrics(path: Path, history: list[dict[str, float]]) -> None:
    """A row for each epoch as CSV, with the columns that any of them has."""
    columns: list[str] = []
    for row in history:
        columns += [name for name in row if name not in columns]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, text.getvalue().encode())


@contextlib.contextmanager
def _summary_writer(config: RunConfig, output: Path):
    """A function (name, value, epoch) that feeds TensorBoard, or does nothing."""
    if not config.tensorboard:
        yield lambda name, value, epoch: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DataError(
            f"`tensorboard = true` needs the package tensorboard: {install_command('tensorboard')}"
        ) from None
    with SummaryWriter(output / "tensorboard") as writer:
        yield writer.add_scalar


def _short(row: dict[str, float]) -> str:
    parts = []
    for name, label, factor in (("energy", "E meV/atom", 1e3), ("forces", "F meV/Å", 1e3)):
        if f"validation_{name}_rmse" in row:
            parts.append(f"{label} {factor * row[f'validation_{name}_rmse']:.1f}")
    return ", ".join(parts)
