"""``ase-mlip evaluate``: errors of a model against reference data."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import click

from .. import options
from ..results import Results, output_options


@click.command()
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=options.FILE)
@options.device
@options.dtype
@output_options
def evaluate(
    model: str, structures: tuple[Path, ...], device: str, dtype: str | None, results: Results
) -> None:
    """Compute errors of a model against reference data.

    STRUCTURES are files with reference energies, forces or stresses. The errors are those of all structures
    together and of each group of them.
    """
    from ...model_file.info import find_model

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    from ...checks.evaluate import evaluate as compute
    from ...checks.evaluate import plot_parity
    from ...model_file.model import load_model

    loaded = load_model(path, device=device, dtype=dtype)
    info = loaded.info
    results.claim(info.document_sha256, [_digest(file) for file in structures if file.is_file()])
    result = compute(loaded, list(structures), progress=sys.stderr.isatty())
    known = {"name": info.name, "sha256": _digest(path), "document_sha256": info.document_sha256}
    about = {"model": known, "files": [str(file) for file in structures]}
    results.show(json.loads(result.to_json(about)), result.to_text())
    results.draw(lambda path: plot_parity(result, path))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
