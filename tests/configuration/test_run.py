# ruff: noqa: E501 (a case of the table is a line)
"""A training's TOML file: every wrong entry is one line that names it, what was expected, and what to write.

It also tests `networks.expected`, `typed_table`.
"""

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from ase_mlip.cli.program import main
from ase_mlip.configuration.run import DesignConfig, LossConfig, OptimizerConfig, RunConfig, read_config
from ase_mlip.configuration.typed_table import describe, read_table
from ase_mlip.data.training_data import DataConfig
from ase_mlip.errors import ConfigurationError
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.snnp.hypers import SNNPHypers

RECIPES = sorted((Path(__file__).parents[2] / "examples" / "training").glob("*.toml"))
START = 'name = "a"\noutput = "b"\n'
SNNP = '[data]\ntrain = "a.xyz"\n[model]\narchitecture = "snnp"\n'


def config_of(tmp_path, top="", data="", model="", loss="", optimizer="") -> RunConfig:
    text = f'{START}{top}\n[data]\ntrain = "a.xyz"\n{data}\n[model]\n{model}\n[loss]\n{loss}\n[optimizer]\n{optimizer}\n'
    (tmp_path / "run.toml").write_text(text)
    return read_config(tmp_path / "run.toml")


def lines_of(tmp_path, **parts) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config_of(tmp_path, **parts)
    start = f"`{tmp_path / 'run.toml'}`"
    lines = str(caught.value).splitlines()
    assert all(line.startswith(start) for line in lines)
    return [line.removeprefix(start).strip() for line in lines]


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({"optimizer": 'batch_size = "8"'}, '[optimizer] batch_size: expected a positive integer, got "8"; write batch_size = 8'),
        ({"optimizer": "batch_size = 8.0"}, "[optimizer] batch_size: expected a positive integer, got 8.0; write batch_size = 8"),
        ({"optimizer": "batch_size = 0"}, "[optimizer] batch_size: expected a positive integer, got 0; correct it or leave it out, which is batch_size = 8"),
        ({"optimizer": "batch_size = true"}, "[optimizer] batch_size: expected a positive integer, got true; correct it or leave it out, which is batch_size = 8"),
        ({"optimizer": 'rotate = "false"'}, '[optimizer] rotate: expected true or false, got "false"; write rotate = false'),
        ({"optimizer": "rotate = 1"}, "[optimizer] rotate: expected true or false, got 1; write rotate = true"),
        ({"optimizer": "learning_rate = nan"}, "[optimizer] learning_rate: expected a positive number, got nan; correct it or leave it out, which is learning_rate = 0.001"),
        ({"optimizer": "ema_decay = 1.5"}, "[optimizer] ema_decay: expected a number of at least 0 below 1, got 1.5; correct it or leave it out, which is ema_decay = 0.995"),
        ({"optimizer": "learning_rat = 1e-3"}, "[optimizer] has the unknown key `learning_rat`; did you mean `learning_rate`? Known are"),
        ({"loss": 'kind = "l1"'}, '[loss] kind: expected "huber" or "mse", got "l1"; correct it or leave it out, which is kind = "huber"'),
        ({"loss": "forces = -1"}, "[loss] forces: expected a number of at least 0, got -1; correct it"),
        ({"top": 'seed = "1"'}, 'seed: expected an integer of at least 0, got "1"; write seed = 1'),
        ({"top": 'device = "gpu"'}, 'device: expected "auto", "cpu", "cuda" or "cuda:N", got "gpu"'),
        ({"top": 'tensorboard = "true"'}, 'tensorboard: expected true or false, got "true"; write tensorboard = true'),
        ({"top": "citation = 5"}, 'citation: expected text in quotes, got 5; write citation = "5"'),
        ({"data": "validation = 1"}, "[data] validation: expected text in quotes or a list, each entry text in quotes, got 1"),
        ({"data": "units = { energy = 1 }"}, "[data] units: expected a table, each value text in quotes, got { energy = 1 }"),
        ({"data": 'reference_energies = { Si = "-0.86" }'}, "[data] reference_energies: expected a table, each value a number"),
        ({"data": 'stress_sign = "lammps"'}, '[data] stress_sign: expected "ase" or "vasp", got "lammps"'),
        ({"data": 'units = { stress = "bar" }'}, "[data]: `units.stress`: expected one of"),
        ({"data": "validation_fraction = 1.5"}, "[data]: `data.validation_fraction`: expected a number between 0 and 1, got 1.5"),
        ({"model": "d_pet = 30"}, "[model]: `d_pet` must be a multiple of num_heads, 8, got 30"),
        ({"model": "num_heads = 0"}, "[model]: `num_heads` must be at least 1, got 0"),
        ({"model": "cutoff = 0.4"}, "[model]: `cutoff` must be larger than cutoff_width, 0.5 Å, got 0.4"),
        ({"model": 'd_pet = "64"'}, '[model] d_pet: expected an integer, got "64"; write d_pet = 64'),
        ({"model": 'activation = "ReLU"'}, '[model] activation: expected "SwiGLU" or "SiLU", got "ReLU"'),
        ({"model": 'architecture = "snnp"\nhidden = 16'}, "[model] hidden: expected a list, each entry an integer, got 16; write hidden = [16]"),
        ({"model": 'architecture = "snnp"\nhidden = [16.5]'}, "[model] hidden: expected a list, each entry an integer, got [16.5]"),
        ({"model": 'architecture = "snnp"\nembedding = [1.0]'}, "[model]: `embedding` must be first knot, last knot and a number of intervals"),
        ({"model": 'architecture = "snnp"\nspecies = [0]'}, "[model]: `species` must be a list of atomic numbers from 1 to 118"),
        ({"model": 'architecture = "snnp"\ncutoff = "5"'}, '[model] cutoff: expected a number, got "5"; write cutoff = 5'),
        ({"loss": "direct_forces = 0.1"}, "[loss] direct_forces: expected 0 without such a head, got 0.1; leave it out, or write direct_forces = true under [model]"),
        ({"optimizer": "conservative_from = 3"}, "[loss] direct_forces: expected a positive weight with `conservative_from`"),
        ({"optimizer": "epochs = 0"}, "[optimizer] epochs: expected at least 1, got 0"),
        ({"loss": "curvature = 1e-4"}, "[loss] curvature: expected 0 for PET"),
        ({"optimizer": "linear_start = 1e-4"}, "[optimizer] linear_start: expected 0 for PET"),
        ({"loss": "energy = 0\nforces = 0\nstress = 0"}, "[loss]: expected a positive weight of at least one quantity"),
        ({"model": 'architecture = "snnp"\nskip = false', "optimizer": "linear_start = 1e-4"}, "[optimizer] linear_start: expected 0 without `skip`"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_one_line(tmp_path, parts, line):
    (got,) = lines_of(tmp_path, **parts)
    assert got.startswith(line)


def test_every_problem_has_its_line(tmp_path):
    found = lines_of(tmp_path, top="seed = -1", data="group = 1", optimizer='batch_size = "8"\nrotate = "no"')
    assert [line.split(":")[0].split(" has")[0] for line in found] == [
        "[data]", "[optimizer] batch_size", "[optimizer] rotate", "seed"
    ]  # fmt: skip


def test_the_command_prints_a_line_for_each_problem(tmp_path):
    (tmp_path / "run.toml").write_text(f"{START}{SNNP}cutof = 5.0\n[loss]\nkind = 1\n")
    result = CliRunner().invoke(main, ["train", str(tmp_path / "run.toml")])
    assert result.exit_code == 1 and result.exception.__class__ is SystemExit
    assert len(result.output.splitlines()) == 2 and "did you mean `cutoff`?" in result.output


def test_missing_keys_and_tables_are_named(tmp_path):
    (tmp_path / "run.toml").write_text('output = "b"\n[data]\n[model]\n')
    with pytest.raises(ConfigurationError) as caught:
        read_config(tmp_path / "run.toml")
    first, second = str(caught.value).splitlines()
    assert "[data] lacks the key `train`: expected text in quotes or a list" in first
    assert "lacks the key `name`" in second
    (tmp_path / "run.toml").write_text('name = "a"\noutput = "b"\ndata = 1\nmodel = 2\nloss = 3\n')
    with pytest.raises(ConfigurationError) as caught:
        read_config(tmp_path / "run.toml")
    assert str(caught.value).count("expected a table of keys") == 3


def test_a_number_without_a_point_is_a_number(tmp_path):
    config = config_of(tmp_path, model="cutoff = 5", optimizer="learning_rate = 1")
    assert config.model.cutoff == 5.0 and isinstance(config.model, PETHypers)


@pytest.mark.parametrize(
    "kind", [PETHypers, SNNPHypers, DataConfig, LossConfig, OptimizerConfig, DesignConfig, RunConfig]
)
def test_every_type_has_words_and_every_default_is_valid(kind):
    from typing import get_type_hints

    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.name in ("data", "model", "loss", "optimizer", "design"):
            continue
        assert describe(hints[field.name])
        if isinstance(field.default, (str, int, float)) and kind is not RunConfig:
            given = {"train": "a.xyz"} if kind is DataConfig else {}
            assert (
                getattr(read_table(kind, {**given, field.name: field.default}, "x"), field.name)
                == field.default
            )


def test_defaults_of_an_snnp_are_those_of_the_shipped_recipes(tmp_path):
    """Whatever the recipe of snnp-si says beyond its data, names and radii is what an empty table gives."""
    recipe = read_config(next(path for path in RECIPES if path.stem == "snnp-si"))
    found = config_of(tmp_path, model='architecture = "snnp"')
    assert dataclasses.replace(found.model, inner=recipe.model.inner) == recipe.model
    assert found.model.inner == "auto"
    assert found.loss == recipe.loss and found.optimizer == recipe.optimizer


def test_an_snnp_without_a_linear_fit_starts_at_random(tmp_path):
    assert config_of(tmp_path, model='architecture = "snnp"\nskip = false').optimizer.linear_start == 0.0


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read(recipe):
    assert read_config(recipe).name == recipe.stem
