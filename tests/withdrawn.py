"""The withdrawn potential `pet-water`: still a model file with two elements and two layers for tests."""

from pathlib import Path

from ase_mlip.model_file.info import find_model

PET_WATER = Path(__file__).resolve().parents[1] / "benchmarks/models/pet-water.pt"


def file_of(name: str) -> Path:
    """The file of a shipped potential, or of the withdrawn one."""
    return PET_WATER if name == "pet-water" else find_model(name)
