"""The end of a training: a minute of dynamics, since errors on frames do not say whether it stands."""

from __future__ import annotations

from pathlib import Path

from ..calculators.calculator import MLIPCalculator
from ..data.references import Sample
from ..progress.form import Progress, told
from ..provenance import write_json
from ..stability.budget import affordable_dynamics, calmest, verdict
from ..stability.result import StabilityResult

FILE = "dynamics.json"
TEMPERATURE = 300.0  # K; of a frame with small forces, which every potential should stand


def run_dynamics(
    model: Path, samples: list[Sample], output: Path, seconds: float, progress: Progress | None = None
) -> StabilityResult:
    """Replicas at constant energy from the frame with the smallest forces; written to ``dynamics.json``.

    Parameters
    ----------
    model: the exported file
    samples: frames to start from, such as those of validation
    output: folder of the run
    seconds: of the clock, for all replicas together
    progress: called as ``progress(done, total, "dynamics")`` with steps

    Raises
    ------
    MLIPError, StructureError
        the model refuses the frame
    """
    atoms = calmest([sample.atoms for sample in samples], [sample.forces for sample in samples]).copy()
    atoms.set_constraint()
    atoms.calc = MLIPCalculator(model)
    tell = told(progress)

    def dynamics(done: int, total: int, _stage: str) -> None:
        tell(done, total, "dynamics")

    result = affordable_dynamics(atoms, TEMPERATURE, seconds=seconds, progress=dynamics)
    write_json(output / FILE, {"verdict": verdict(result)} | result.to_dict())
    return result
