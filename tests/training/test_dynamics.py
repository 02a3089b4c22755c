"""A training ends with dynamics: a potential that cannot stand it is called unstable."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from click.testing import CliRunner

from ase_mlip.cli.program import main
from ase_mlip.data.references import Sample
from ase_mlip.report.validate_steps import STEPS, Settings
from ase_mlip.training.dynamics import FILE, run_dynamics
from tests.toy import PairNetwork, export_toy

RUN = """
name = "copper"
output = "out"
threads = 1

[data]
train = "train.xyz"

[model]
architecture = "snnp"
cutoff = 4.0
radial_filters = 1
angular_filters = 1
hidden = []

[optimizer]
kind = "adamw"
epochs = 1
rotate = false
"""


def labelled(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05 + 0.02 * seed, seed=seed)
    atoms.calc = EMT()
    results = {key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_the_command_ends_with_a_verdict(tmp_path):
    write(tmp_path / "train.xyz", [labelled(seed) for seed in range(8)])
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8")
    result = CliRunner().invoke(main, ["train", str(tmp_path / "run.toml"), "--dynamics", "0.2"])
    assert result.exit_code == 0, result.output
    line = result.stdout.splitlines()[-1]
    assert line.startswith("dynamics of 4 atoms, 2 x ") and ("stable" in line or "UNSTABLE" in line)
    stored = json.loads((tmp_path / "out" / FILE).read_text(encoding="utf-8"))
    assert stored["verdict"] == line
    assert stored["temperature_K"] == 300.0 and len(stored["replicas"]) == 2


def test_a_minute_is_what_both_commands_offer():
    (option,) = [option for option in main.commands["train"].params if "--dynamics" in option.opts]
    assert option.default == 60.0 == Settings().seconds
    assert "dynamics" in STEPS


def test_no_seconds_are_no_dynamics(tmp_path):
    write(tmp_path / "train.xyz", [labelled(seed) for seed in range(8)])
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8")
    result = CliRunner().invoke(main, ["train", str(tmp_path / "run.toml"), "--dynamics", "0"])
    assert result.exit_code == 0, result.output
    assert "dynamics" not in result.stdout and not (tmp_path / "out" / FILE).exists()


@pytest.mark.parametrize("r0, stands", [(2.3, True), (0.4, False)])
def test_a_hole_in_the_potential_is_found(tmp_path, r0, stands):
    """Pairs that attract each other down to 0.4 Å collapse, which no error on frames of a crystal shows."""
    network = PairNetwork([14], 4.0, r0=r0)
    with torch.no_grad():
        network.strength[14] = 3.0 if stands else 12.0
    path = tmp_path / "toy.pt"
    export_toy(path, network, reference_energies={"Si": -4.25})
    calm, hot = (bulk("Si", "fcc", a=3.2, cubic=True) for _ in range(2))
    calm.rattle(0.02, seed=0)
    hot.rattle(0.5, seed=1)
    samples = [Sample(hot, forces=np.ones((4, 3))), Sample(calm, forces=np.full((4, 3), 0.1))]
    result = run_dynamics(path, samples, tmp_path, 2.0)
    assert result.stable is stands
    assert json.loads((tmp_path / FILE).read_text(encoding="utf-8"))["stable"] is stands
