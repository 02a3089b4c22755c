"""``ase-mlip stabilize RUN.toml``: from a potential that fails to one that does not, or to why not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..building import _ops
from ..building.device import on_first_that_works
from ..calculators.inputs import named_only
from ..folder_lock import locked
from ..pictures.plots import save_figure
from ..pictures.stabilize import plot_stabilize
from ..progress.form import Progress, told
from ..provenance import plain, structures_sha256
from ..training.checkpoint import goes_on, require_earlier_run
from ..training.export import evaluate_samples
from ..training.train import write_metrics
from . import report
from .checkpoint import KIND, load_checkpoint, save_checkpoint
from .inputs import Inputs, read_inputs
from .loop import LoopState, Point, choose, limits, run_epoch
from .samplers import EngineSampler, Sampler, Track
from .settings import SimulationConfig, StabilizeConfig, read_settings
from .work import RealWork, averages, displacements, labels, outcome

CHECKPOINT = "checkpoint.safetensors"
FREE = ("output", "device", "threads", "description", "model", "starts")  # between a run and its continuation


@dataclass
class StabilizeResult:
    """What a run came to.

    Attributes
    ----------
    verdict : str
        in words
    exported : Path or None
        the model file, or None
    document : dict of object
        everything that stands in ``stabilize.json``
    """

    verdict: str
    exported: Path | None
    document: dict[str, Any]

    def to_dict(self) -> dict:
        """What ``stabilize.json`` holds."""
        return plain(self.document)

    def plot(self, path: str | Path) -> None:
        """Draw survival gained against force error paid, and lifetimes of test starts: PNG, PDF or SVG."""
        save_figure(plot_stabilize(self.document), path)


@named_only(1, "resume", "progress", "sampler", "overwrite")
def stabilize(
    path: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    sampler: Sampler | None = None,
    overwrite: bool = False,
) -> StabilizeResult:
    """Run the StABlE training that the TOML file describes, or go on with it where it was ended.

    The output folder gets ``checkpoint.safetensors`` (after every epoch), ``stability.csv`` (a row for each
    epoch), ``stabilize.json``, ``report.html`` and, if weights within the budget survive longer than the
    potential as it came, ``NAME.pt``.

    Parameters
    ----------
    path : str or Path
        the TOML file
    resume : bool
        only go on: an error where the output folder holds no run
    progress : callable, optional
        called as ``progress(done, total, stage)`` with epochs; stage says how far a phase of the present
        one is, or what came of the last one; see :mod:`ase_mlip.progress`
    sampler : Sampler, optional
        dynamics in the place of those of ``[simulation]``
    overwrite : bool
        replace a run of another configuration, model or of other data, which is refused otherwise

    Returns
    -------
    StabilizeResult
        what was learnt, with lifetimes before and after

    Raises
    ------
    ArgumentError
        for ``resume`` together with ``overwrite``
    ConfigurationError
        entries of the TOML file that cannot be, a line for each
    MLIPError
        inputs that cannot be used, each with what to do; a run of other ones in the output folder without
        ``overwrite``, or none with ``resume``
    OutputInUseError
        another process writes there
    """
    path = Path(path)
    config = read_settings(path)
    epochs = _Epochs(progress, config.learning.epochs)
    output = path.parent / config.output
    with locked(output):
        require_earlier_run(output / CHECKPOINT, resume, overwrite)
        _ops.load()
        if config.threads > 0:
            torch.set_num_threads(config.threads)
        device = on_first_that_works(config.device, lambda one: torch.zeros(1, device=one).device)
        inputs = read_inputs(config, path.parent, str(device))
        dynamics = sampler or EngineSampler(config.simulation, config.criteria)
        work = RealWork(config, inputs, dynamics, epochs.phase, sampler or _judging(config))
        state = _run(config, inputs, work, output, epochs, overwrite)
        return _finish(config, inputs, work, state, output)


def _judging(config: StabilizeConfig) -> Sampler:
    """The dynamics of the ``[evaluation]`` table, which may keep fewer records."""
    return EngineSampler(_judged(config), config.criteria)


def _judged(config: StabilizeConfig) -> SimulationConfig:
    interval = config.evaluation.record_interval or config.simulation.record_interval
    return replace(config.simulation, record_interval=interval)


def _run(
    config: StabilizeConfig,
    inputs: Inputs,
    work: RealWork,
    output: Path,
    epochs: _Epochs,
    overwrite: bool,
) -> LoopState:
    """All epochs, from the checkpoint on."""
    state = LoopState(work.first_walkers(), config.learning.learning_rate)
    unchanging, checkpoint = _unchanging(config, inputs), output / CHECKPOINT
    if goes_on(checkpoint, KIND, unchanging, overwrite):
        work.kept = load_checkpoint(checkpoint, state, work.learner, unchanging)
    else:
        state.points.append(work.judge(0))
        save_checkpoint(checkpoint, state, work.learner, work.kept, unchanging)
    if state.points[0].failures == 0:
        state.ended = _never_fails(config)
    epochs.reached(state.epoch)
    while state.ended is None:
        row = run_epoch(state, work, config.learning, config.evaluation.every)
        save_checkpoint(checkpoint, state, work.learner, work.kept, unchanging)
        write_metrics(output / report.TABLE, state.history)
        forces, energy = (1000.0 * row[f"validation_{name}_mae"] for name in ("forces", "energy"))
        errors = f"MAE {forces:.1f} meV/Å, {energy:.1f} meV/atom"
        epochs.reached(state.epoch, f"unstable {row['unstable_fraction']:.2f}, {errors}")
    return state


def _finish(
    config: StabilizeConfig, inputs: Inputs, work: RealWork, state: LoopState, output: Path
) -> StabilizeResult:
    """Choose, judge on test starts, export, write the report."""
    chosen = choose(state, config.learning)
    test, tracks = _test(config, inputs, work, chosen, bool(state.history))
    first = state.points[0].observables
    found = {
        when: averages(inputs.targets, runs, _at(work, epoch)) if runs else None
        for when, (epoch, runs) in tracks.items()
    }
    observables = {
        name: report.observable_entry(
            target,
            (found.get("before") or first or {}).get(name),
            (found.get("after") or {}).get(name),
        )
        for name, target in zip(labels(inputs.targets), inputs.targets, strict=True)
    }
    document: dict[str, Any] = {
        "name": config.name,
        "model": str(inputs.trainable.path.name),
        "ended": state.ended,
        "epochs": state.epoch,
        "budget": config.learning.max_force_error_increase,
        "energy_budget": config.learning.max_energy_error_increase,
        "force_error_limit": limits(state, config.learning)["forces"],
        "energy_error_limit": limits(state, config.learning)["energy"],
        "evaluation_time": config.evaluation.time,
        "history": state.history,
        "points": [asdict(point) for point in state.points],
        "chosen": None if chosen is None else asdict(chosen),
        "test": test,
        "observables": observables,
        "settings": asdict(config),
        "notes": _notes(config, inputs, test),
    }
    exported = None
    if chosen is not None:
        exported = output / f"{config.name}.pt"
        _export(config, inputs, work, chosen, document, exported)
    document["verdict"] = _verdict(config, state, chosen, test)
    report.write_results(output, document)
    return StabilizeResult(document["verdict"], exported, document)


def _test(
    config: StabilizeConfig, inputs: Inputs, work: RealWork, chosen: Point | None, ran: bool
) -> tuple[dict[str, Any], dict[str, tuple[int, list[Track]]]]:
    """Lifetimes from test starts, before and after; nothing where there is nothing to judge."""
    if chosen is None or not ran:
        return {}, {}
    test: dict[str, Any] = {"starts": "test" if "test" in inputs.starts else "validation"}
    tracks: dict[str, tuple[int, list[Track]]] = {}
    interval = _judged(config).record_interval * config.simulation.timestep / 1000.0
    for when, epoch in (("before", 0), ("after", chosen.epoch)):
        runs = _at(work, epoch).runs("test")
        tracks[when] = epoch, runs
        test[when] = report.lifetimes(*outcome(runs), config.evaluation.confidence)
        test[when]["displacements"] = displacements(runs, interval)
    test["logrank_p"] = report.compared(test["before"], test["after"])
    return test, tracks


def _at(work: RealWork, epoch: int) -> RealWork:
    """The same with the weights of a judged epoch."""
    work.inputs.trainable.set_weights(work.kept[epoch])
    return work


def _export(
    config: StabilizeConfig,
    inputs: Inputs,
    work: RealWork,
    chosen: Point,
    document: dict[str, Any],
    path: Path,
) -> None:
    """Write the chosen weights with where they come from and their errors on test frames."""
    _at(work, chosen.epoch)
    first = document["points"][0]
    story: dict[str, Any] = {
        "method": "StABlE, arXiv:2402.13984",
        "from": {
            "name": inputs.trainable.info.name,
            "document_sha256": inputs.trainable.info.document_sha256,
        },
        "observables": [asdict(entry) for entry in config.observables],
        "lambda": config.learning.error_weight,
        "optimizer": config.learning.optimizer,
        "budgets": {
            "force_error": config.learning.max_force_error_increase,
            "energy_error": config.learning.max_energy_error_increase,
        },
        "estimator": config.learning.estimator,
        "temperature_K": config.simulation.temperature_K,
        "ensemble": config.simulation.ensemble,
        "criteria": asdict(config.criteria),
        "epoch": chosen.epoch,
        "seed": config.seed,
        "before": {name: first[name] for name in ("force_error", "energy_error", "mean_survival")},
        "after": {name: getattr(chosen, name) for name in ("force_error", "energy_error", "mean_survival")},
        "test_median_ps": {when: document["test"][when]["median"] for when in ("before", "after")},
        "logrank_p": document["test"]["logrank_p"],
    }
    training: dict[str, Any] = {"stability_training": story}
    inputs.trainable.export(path, training, config.name)
    if inputs.data.test:
        errors = evaluate_samples(path, inputs.data.test)
        document["test"]["errors"] = errors
        training["errors"] = {"test": {name: value for name, value in errors.items() if name != "groups"}}
        inputs.trainable.export(path, training, config.name)


def _never_fails(config: StabilizeConfig) -> str:
    evaluation = config.evaluation
    return f"no replica of {evaluation.replicas} failed in {evaluation.time:g} ps before any training"


def _verdict(config: StabilizeConfig, state: LoopState, chosen: Point | None, test: dict[str, Any]) -> str:
    ended = f"ended after {state.epoch} epochs: {state.ended}"
    if not state.history:
        return (
            f"The potential never fails: {state.ended}. There is nothing to learn from, and nothing was "
            "exported; take a higher temperature, longer runs or stricter criteria."
        )
    if chosen is None:
        return (
            f"Nothing was exported ({ended}): no judged epoch within the budgets (force error at most "
            f"{100.0 * config.learning.max_force_error_increase:g} % larger, energy error at most "
            f"{100.0 * config.learning.max_energy_error_increase:g} %) survives longer than the potential "
            "as it came."
        )
    first = state.points[0]
    paid = (
        f"The force error on validation frames changed by {_percent(chosen.force_error, first.force_error)}"
    )
    if first.energy_error > 0.0:
        paid += f", the energy error by {_percent(chosen.energy_error, first.energy_error)}"
    gain, bound = report.ratio(test["before"], test["after"], config.evaluation.time)
    words = ""
    if gain is not None:
        words = f" Median survival is {'at least ' if bound else ''}{gain:.3g} times as long"
        words += f" (log-rank p = {test['logrank_p']:.2g})."
    failures = [f"{test[when]['failures']} of {test[when]['replicas']}" for when in ("before", "after")]
    return (
        f"Exported epoch {chosen.epoch} ({ended}): {failures[1]} replicas fail in "
        f"{config.evaluation.time:g} ps, {failures[0]} did before.{words} {paid}."
    )


def _percent(now: float, first: float) -> str:
    return f"{100.0 * (now / first - 1.0):+.1f} %"


def _notes(config: StabilizeConfig, inputs: Inputs, test: dict[str, Any]) -> list[str]:
    notes = []
    if test.get("starts") == "validation":
        notes.append("There are no test starts: survival before and after is that of the validation starts.")
    if not inputs.data.test:
        notes.append("There are no test frames: the force error is that of the validation frames alone.")
    if config.learning.error_weight == 0.0:
        notes.append("λ is 0: energies and forces were not trained on.")
    return notes


def _unchanging(config: StabilizeConfig, inputs: Inputs) -> dict[str, Any]:
    """What must not change between a run and its continuation, by the keys of the TOML file."""
    parts = asdict(config)
    for name in FREE:
        parts.pop(name)
    for name in ("train", "validation", "test"):  # where they lie is free, what is in them is not
        parts["data"][name] = inputs.data.description["files"][name]
    parts["model"] = inputs.trainable.info.document_sha256
    parts["starts"] = {name: structures_sha256(frames) for name, frames in inputs.starts.items()}
    return parts


class _Epochs:
    """Tells how many epochs are done, and how far the phase of the present one is, as its stage."""

    def __init__(self, progress: Progress | None, epochs: int):
        self._tell, self._epochs, self._done = told(progress), epochs, 0

    def reached(self, epoch: int, stage: str = "") -> None:
        self._done = epoch
        self._tell(epoch, self._epochs, stage)

    def phase(self, done: int, total: int, stage: str) -> None:
        """As a :data:`Progress`, of one phase."""
        self._tell(self._done, self._epochs, f"{stage} {100 * done // max(total, 1)} %")
