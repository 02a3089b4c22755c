"""The hyper-parameters of a training that starts from the weights of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, ModelFileError
from ..model_file.info import find_model, read_info

NATIVE = "best.json"  # of a run's folder, beside best.safetensors


def starting_hypers(init_from: str, folder: Path) -> dict[str, Any]:
    """The ``[model]`` table that ``init_from`` implies, with ``architecture``.

    Parameters
    ----------
    init_from : str
        a model file or a run's folder, relative to ``folder``, or the name of a shipped potential
    folder : Path
        of the TOML file

    Raises
    ------
    ConfigurationError
        there is no such file, or it holds another family's network
    """
    place = folder / init_from
    try:
        if place.is_dir():
            document = json.loads((place / NATIVE).read_text(encoding="utf-8"))
            return {"architecture": document["architecture"], **document["hypers"]}
        hypers = dict(read_info(place if place.is_file() else find_model(init_from)).architecture)
    except (OSError, KeyError, json.JSONDecodeError, ModelFileError) as error:
        raise ConfigurationError(
            f"init_from: expected a model file, a shipped potential or the folder of a finished training, "
            f"got {init_from!r}: {' '.join(str(error).split())}"
        ) from None
    name = hypers.pop("name", None)
    if name not in ("pet", "snnp"):
        raise ConfigurationError(
            f'init_from: expected a network of this package, "pet" or "snnp", got {name!r} in `{init_from}`; '
            "its own program trains it further"
        )
    return {"architecture": name, **hypers}
