"""Relaxations that were interrupted, and the trajectory they continue from."""

import errno

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from ase.io.trajectory import TrajectoryWriter
from relax_cases import distorted_copper, simple_cubic

from ase_mlip.errors import StructureError
from ase_mlip.relaxation.relax import relax


class Killed(BaseException):
    """As a signal would end the process."""


def interrupted(path, after: int, **options) -> None:
    def progress(step, total, stage):
        if step == after:
            raise Killed

    with pytest.raises(Killed):
        relax(distorted_copper(), trajectory=path, progress=progress, **options)


def test_a_killed_relaxation_continues_from_its_last_frame(tmp_path):
    path = tmp_path / "run.traj"
    interrupted(path, after=12, cell=True, fmax=1e-4)
    before = read(path, ":")
    result = relax(distorted_copper(), cell=True, fmax=1e-4, trajectory=path, resume=True)
    assert result.converged
    assert result.energies[0] == pytest.approx(before[-1].get_potential_energy(), abs=1e-9)
    frames = read(path, ":")
    assert len(frames) >= len(before) + result.steps
    assert frames[0].positions == pytest.approx(distorted_copper().positions)
    whole = relax(distorted_copper(), cell=True, fmax=1e-4)
    assert result.energy == pytest.approx(whole.energy, abs=1e-6)
    assert result.rmsd == pytest.approx(whole.rmsd, abs=1e-3)
    assert result.spacegroup_before[1e-2] == "P1 (1)"


@pytest.mark.parametrize("kept", [0, 10, 100, 3000, 5000])
def test_a_trajectory_cut_anywhere_is_continued_or_begun_anew(tmp_path, kept):
    path = tmp_path / "run.traj"
    interrupted(path, after=6)
    path.write_bytes(path.read_bytes()[:kept])
    result = relax(distorted_copper(), fmax=1e-3, trajectory=path, resume=True)
    assert result.converged
    assert read(path, -1).get_potential_energy() == pytest.approx(result.energy)


def test_a_trajectory_without_a_frame_is_begun_anew(tmp_path):
    """What a kill before the first frame leaves."""
    path = tmp_path / "run.traj"
    TrajectoryWriter(path, "w").close()
    result = relax(distorted_copper(), fmax=1e-3, trajectory=path, resume=True)
    assert result.converged
    assert len(read(path, ":")) == result.steps + 1


def test_a_frame_half_written_is_left_out(tmp_path):
    """What a kill during the writing leaves: the index still ends at the frame before."""
    files = {}
    for steps in (3, 4):
        relax(distorted_copper(), steps=steps, trajectory=tmp_path / f"{steps}.traj")
        files[steps] = (tmp_path / f"{steps}.traj").read_bytes()
    path = tmp_path / "run.traj"
    path.write_bytes(files[3] + files[4][len(files[3]) : len(files[3]) + 200])
    third = read(tmp_path / "3.traj", -1).get_potential_energy()
    result = relax(distorted_copper(), fmax=1e-3, trajectory=path, resume=True)
    assert result.energies[0] == pytest.approx(third, abs=1e-9)
    assert len(read(path, ":")) == 4 + result.steps


def test_fixed_symmetry_survives_an_interruption(tmp_path):
    path = tmp_path / "run.traj"
    options = {"fmax": 1e-3, "cell": True, "keep_space_group": True, "optimizer": "BFGS", "trajectory": path}
    assert not relax(simple_cubic(), steps=3, **options).converged
    result = relax(simple_cubic(), resume=True, **options)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {"Pm-3m (221)"}
    assert read(path, -1).get_potential_energy() == pytest.approx(result.energy)


def test_without_resume_a_trajectory_begins_anew(tmp_path):
    path = tmp_path / "run.traj"
    interrupted(path, after=3)
    assert len(read(path, ":")) == 4
    relax(distorted_copper(), steps=1, trajectory=path)
    assert len(read(path, ":")) == 2


def test_the_trajectory_of_another_structure_is_refused(tmp_path):
    path = tmp_path / "run.traj"
    interrupted(path, after=1)
    other = bulk("Ag")
    other.calc = EMT()
    with pytest.raises(StructureError, match=r"expected frames of Ag to resume, got Cu4"):
        relax(other, trajectory=path, resume=True)


def test_a_full_disk_is_the_disks_error(tmp_path, monkeypatch):
    def write(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TrajectoryWriter, "write", write)
    with pytest.raises(OSError, match="No space left"):
        relax(distorted_copper(), trajectory=tmp_path / "run.traj")
