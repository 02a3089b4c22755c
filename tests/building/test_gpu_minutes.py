"""The script for the first minutes on a GPU, rehearsed on the CPU."""

import pytest
import torch

from benchmarks import gpu_first_minutes as script


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(capsys):
    assert script.main([]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no GPU: torch sees none here")


@pytest.mark.parametrize("only", ["operators", "training", "averages"])
def test_points_that_need_no_gpu_pass_on_the_cpu(capsys, only):
    assert script.main(["--device", "cpu", "--only", only]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("pass  ") and last == "1 of 1 points did not fail"


def test_a_point_that_fails_is_named_and_the_others_are_tried(capsys, monkeypatch):
    def energies_are_right(device):
        script.require(False, "energy differs\nby 1")

    def forces_are_right(device):
        return "to 1e-9"

    monkeypatch.setattr(script, "POINTS", [energies_are_right, forces_are_right])
    assert script.main(["--device", "cpu"]) == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("FAIL  energies are right: AssertionError: energy differs by 1 (")
    assert second.startswith("pass  forces are right: to 1e-9 (")
    assert last == "1 of 2 points did not fail"
