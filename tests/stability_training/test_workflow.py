"""A whole run: files in, a healed potential with its story out; interrupted, it gives the same numbers.

It also tests `checkpoint`, `cli.models.stabilize`, `inputs`, `pictures.stabilize`, `report`, `settings`.
"""

import csv
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import CliRunner
from interrupted import interrupted_at_save
from toy import PairNetwork, export_toy

from ase_mlip import MLIPCalculator
from ase_mlip.cli.program import main
from ase_mlip.errors import ConfigurationError, DataError, MLIPError, StructureError
from ase_mlip.model_file.model import load_model
from ase_mlip.pictures.stabilize import plot_stabilize
from ase_mlip.stability_training import workflow
from ase_mlip.stability_training.inputs import read_inputs
from ase_mlip.stability_training.samplers import EngineSampler
from ase_mlip.stability_training.settings import read_settings
from ase_mlip.stability_training.work import RealWork, averages
from ase_mlip.stability_training.workflow import stabilize

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stabilize_cases import MadeUp, frames, prepare


def history(folder) -> list[dict]:
    with open(folder / "out" / "stability.csv") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = prepare(folder, starts='test = "starts.xyz@6:8"', data='test = "test.xyz"')
    return folder, stabilize(path, sampler=MadeUp())


def test_a_run_exports_a_potential_that_says_where_it_comes_from(finished):
    folder, result = finished
    assert result.exported == folder / "out" / "healed.pt"
    info = load_model(result.exported).info
    story = info.training["stability_training"]
    assert info.name == "healed"
    assert story["lambda"] == 1.0
    assert story["temperature_K"] == 600.0
    assert story["observables"][0]["kind"] == "distances"
    assert story["criteria"]["min_distance"] == 0.5
    assert story["after"]["mean_survival"] > story["before"]["mean_survival"]
    assert info.training["errors"]["test"]["forces_rmse"] > 0.0
    assert info.training["visits"]  # of the first training: still where the data are
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"checkpoint.safetensors", "stability.csv", "stabilize.json", "report.html", "healed.pt"}


def test_the_document_holds_survival_front_and_observables(finished):
    folder, result = finished
    document = json.loads((folder / "out" / "stabilize.json").read_text())
    assert document["verdict"].startswith("Exported epoch")
    points = document["points"]
    assert points[0]["epoch"] == 0 and document["chosen"]["epoch"] in [p["epoch"] for p in points]
    best = max(points, key=lambda point: point["mean_survival"])
    assert document["chosen"]["mean_survival"] == best["mean_survival"]
    before, after = document["test"]["before"], document["test"]["after"]
    assert before["replicas"] == after["replicas"] == 6
    assert 0.0 < document["test"]["logrank_p"] < 0.05
    entry = document["observables"]["distances all"]
    for when in ("reference", "before", "after"):
        assert len(entry[when]["mean"]) == len(entry[when]["error"]) == 8
    assert document["force_error_limit"] == pytest.approx(11.0 * points[0]["force_error"])
    page = (folder / "out" / "report.html").read_text()
    assert page.count("data:image/png") == 4 and "Median survival" in page
    assert [row["epoch"] for row in history(folder)] == [str(k + 1) for k in range(document["epochs"])]


def test_both_budgets_are_in_the_document_the_page_and_the_file(finished):
    folder, result = finished
    document = json.loads((folder / "out" / "stabilize.json").read_text())
    first, chosen = document["points"][0], document["chosen"]
    assert (document["budget"], document["energy_budget"]) == (10.0, 10.0)
    assert document["energy_error_limit"] == pytest.approx(11.0 * first["energy_error"])
    changed = 100.0 * (chosen["energy_error"] / first["energy_error"] - 1.0)
    assert f"the energy error by {changed:+.1f} %" in document["verdict"]
    page = (folder / "out" / "report.html").read_text()
    assert "energy MAE (meV/atom)" in page and f"{1000.0 * chosen['energy_error']:.2f}" in page
    assert all(float(row["validation_energy_mae"]) > 0.0 for row in history(folder))
    budgets = load_model(result.exported).info.training["stability_training"]["budgets"]
    assert budgets == {"force_error": 10.0, "energy_error": 10.0}


def test_files_are_written_as_the_run_file_names_them(finished):
    """No path of the machine that nobody typed stands in anything that is written."""
    folder, result = finished
    story = load_model(result.exported).info.training["stability_training"]
    assert story["observables"][0]["reference"] == "reference.xyz"
    with zipfile.ZipFile(result.exported) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    others = (path for path in (folder / "out").iterdir() if path.suffix != ".pt")
    for content in [*contents, *(path.read_bytes() for path in others)]:
        assert str(folder).encode() not in content


def test_the_result_is_that_document_and_a_picture(finished, tmp_path):
    folder, result = finished
    assert result.to_dict() == json.loads((folder / "out" / "stabilize.json").read_text())
    result.plot(tmp_path / "healed.png")
    assert (tmp_path / "healed.png").read_bytes()[:4] == b"\x89PNG"
    front, survival = plot_stabilize(result.document).axes
    stars = [line for line in front.lines if line.get_marker() == "*"]
    chosen, first = result.document["chosen"], result.document["points"][0]
    assert stars[0].get_ydata()[0] == pytest.approx(chosen["mean_survival"] / first["mean_survival"])
    assert survival.get_xlim()[1] == result.document["evaluation_time"]


def test_killed_and_resumed_it_gives_the_same_history(finished, tmp_path):
    folder, result = finished
    path = prepare(tmp_path, starts='test = "starts.xyz@6:8"', data='test = "test.xyz"')
    with interrupted_at_save(workflow):
        stabilize(path, sampler=MadeUp())
    again = stabilize(path, sampler=MadeUp())
    assert again.document["history"] == result.document["history"]
    assert again.document["points"] == result.document["points"]
    assert history(tmp_path) == history(folder)
    text = path.read_text().replace("temperature_K = 600.0", "temperature_K = 700.0")
    path.write_text(text)
    with pytest.raises(
        DataError, match="`simulation.temperature_K` was 600.0 and is 700.0.*`overwrite=True`"
    ):
        stabilize(path, sampler=MadeUp())
    prolonged = tmp_path / "prolonged.toml"  # as the help of --resume says
    prolonged.write_text(re.sub(r"\bepochs = (\d+)", r"epochs = 10\1", text.replace("700.0", "600.0")))
    with pytest.raises(DataError, match=r"`learning.epochs` was (\d+) and is 10\1"):
        stabilize(prolonged, sampler=MadeUp(), resume=True)
    other = stabilize(path, sampler=MadeUp(), overwrite=True)
    assert other.document["settings"]["simulation"]["temperature_K"] == 700.0
    assert other.document["history"][0]["epoch"] == 1


def test_nothing_is_begun_where_a_run_is_to_go_on(tmp_path):
    with pytest.raises(DataError, match="`resume=True` goes on with an earlier run, got none"):
        stabilize(prepare(tmp_path), resume=True, sampler=MadeUp())


def test_a_model_that_never_fails_says_so_and_nothing_is_exported(tmp_path):
    sampler = MadeUp(first=100.0)
    result = stabilize(prepare(tmp_path), sampler=sampler)
    assert result.exported is None
    assert "never fails" in result.verdict and "nothing was exported" in result.verdict
    assert sampler.calls == 1
    result.plot(tmp_path / "nothing.png")  # where the potential stands, and the budget
    assert not (tmp_path / "out" / "healed.pt").exists()


def test_nothing_is_exported_where_nothing_gets_better(tmp_path):
    result = stabilize(prepare(tmp_path), sampler=MadeUp(gain=0.0))
    assert result.exported is None
    assert "Nothing was exported" in result.verdict
    assert not (tmp_path / "out" / "healed.pt").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"learning": "error_weight = -1.0"},
            r"\[learning\] error_weight: expected a number of at least 0, got -1",
        ),
        ({"simulation": "friction = 0.0"}, r"\[simulation\] friction: expected a positive number, got 0"),
        ({"simulation": "equilibration = 2.0"}, "equilibration: expected less than the time of 1 ps"),
        ({"learning": "radius = 3.0"}, 'radius: expected 0 with estimator = "global"'),
        ({"learning": 'estimator = "locals"'}, r'\[learning\] estimator: expected "global" or "local"'),
        ({"criteria": "min_distance = -1.0"}, r"`Criteria.min_distance`: expected a positive number"),
        (
            {"observables": '[[observables]]\nkind = "unseen_distances"\nreference = [0.0]'},
            r"\[\[observables\]\] reference: expected a file of frames for unseen distances, .*got \[0.0\]",
        ),
        ({"observables": "bins = 3"}, r"unknown key `bins`"),
        ({"simulation": "record_interval = 0"}, "record_interval: expected an integer of at least 1"),
    ],
)
def test_a_wrong_entry_is_one_line(parts, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(prepare(tmp_path, **parts))
    assert len(str(caught.value).splitlines()) == 1


def test_a_budget_is_no_negative_number(tmp_path):
    path = prepare(tmp_path)
    text = path.read_text()
    for name in ("force", "energy"):
        given = f"max_{name}_error_increase = "
        path.write_text(text.replace(given, f"{given}-"))
        with pytest.raises(
            ConfigurationError, match=given[:-3] + ": expected a number of at least 0, got -10"
        ):
            read_settings(path)


def test_several_wrong_entries_are_a_line_each(tmp_path):
    path = prepare(tmp_path)
    text = path.read_text().replace("temperature_K = 600.0", "temperature_K = -5.0")
    path.write_text(text.replace("learning_rate = 1e-5", 'learning_rate = "small"'))
    with pytest.raises(ConfigurationError) as caught:
        read_settings(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert any("temperature_K: expected a positive number, got -5.0" in line for line in lines)
    path.write_text('name = "x"\noutput = "out"\nmodel = "snnp-si"\n')
    with pytest.raises(ConfigurationError, match=r"has no table `\[simulation\]`"):
        read_settings(path)


def test_starts_of_other_systems_or_outside_the_data_are_refused(tmp_path):
    path = prepare(tmp_path)
    good = read(tmp_path / "starts.xyz", ":")
    wrong = {"elements that the model knows, got Ge": lambda a: a.numbers.fill(32)}
    wrong["expected frames like the training data, got Si-Si at 1.8"] = lambda a: a.set_distance(
        0, 1, 1.85, 0
    )
    wrong["criteria call stable, but frame 0 is not"] = lambda a: a.set_distance(0, 1, 0.9, 0)
    for message, change in wrong.items():
        changed = [atoms.copy() for atoms in good]
        change(changed[0])
        write(tmp_path / "starts.xyz", changed)
        with pytest.raises(StructureError, match=message):
            stabilize(path, sampler=MadeUp())
    shorter = [atoms.copy() for atoms in good]
    del shorter[5][7]
    write(tmp_path / "starts.xyz", shorter)
    with pytest.raises(StructureError, match="frames of one system"):
        stabilize(path, sampler=MadeUp())
    assert not (tmp_path / "out").exists()


def test_a_reference_of_another_system_is_refused(tmp_path):
    path = prepare(tmp_path)
    other = frames(3, 5, references=False)
    for atoms in other:
        atoms.numbers[0] = 32
    write(tmp_path / "reference.xyz", other)
    with pytest.raises(DataError, match="expected frames of Si8, got GeSi7"):
        stabilize(path, sampler=MadeUp())


def test_bonds_are_asked_of_systems_with_bonds(tmp_path):
    """Silicon with twice the lattice constant has none; the run says so before anything is simulated."""
    path = prepare(tmp_path)
    text = path.read_text().replace('kind = "distances"', 'kind = "bond_lengths"')
    path.write_text(text.replace("rmax = 4.0\nwidth = 0.5", ""))
    starts = read(tmp_path / "starts.xyz", ":")
    for atoms in starts:
        atoms.set_cell(2.0 * atoms.cell, scale_atoms=True)
    write(tmp_path / "starts.xyz", starts)
    data = read(tmp_path / "train.xyz", ":")
    for atoms in data:
        results = atoms.calc.results
        atoms.set_cell(2.0 * atoms.cell, scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, **results)
    write(tmp_path / "train.xyz", data)
    sampler = MadeUp()
    with pytest.raises(StructureError, match="expected a structure with bonds, got none"):
        stabilize(path, sampler=sampler)
    assert sampler.calls == 0


def test_two_observables_of_a_kind_stand_beside_each_other(tmp_path):
    """Every bond by itself, and their mean: both are in the document, each with its own reference."""
    path = prepare(tmp_path)
    tables = [
        f'[[observables]]\nkind = "bond_lengths"\nreference = "reference.xyz"\n{more}'
        for more in ("", "each = true")
    ]
    path.write_text(path.read_text().replace("[criteria]", "\n".join([*tables, "[criteria]"])))
    document = stabilize(path, sampler=MadeUp()).document
    found = document["observables"]
    assert list(found) == ["distances all", "bond lengths", "bond lengths (2)"]
    assert [len(entry["labels"]) for entry in found.values()] == [8, 1, 16]
    assert np.mean(found["bond lengths (2)"]["before"]["mean"]) == pytest.approx(
        found["bond lengths"]["before"]["mean"][0]
    )


def test_a_potential_of_another_family_is_healed_as_it_is_scripted(tmp_path):
    """Its code stays that of the file; the exported weights are those that were judged."""
    path = prepare(tmp_path, learning="batch_size = 2")
    export_toy(tmp_path / "toy.pt", PairNetwork(species=[8, 14], cutoff=4.0))
    path.write_text(path.read_text().replace('model = "snnp-si"', 'model = "toy.pt"'))
    result = stabilize(path, sampler=MadeUp())
    assert result.exported is not None, result.verdict
    before, after = load_model(tmp_path / "toy.pt"), load_model(result.exported)
    assert after.info.architecture == before.info.architecture
    assert after.info.training["stability_training"]["from"]["name"] == before.info.name
    atoms = read(tmp_path / "starts.xyz", 0)
    energies = [MLIPCalculator(model).evaluate([atoms], ["energy"])[0]["energy"] for model in (before, after)]
    assert abs(energies[1] - energies[0]) > 1e-6


def test_runs_that_judge_may_keep_fewer_records_than_those_that_teach(tmp_path):
    path = prepare(
        tmp_path, simulation="record_interval = 2\ntimestep = 1.0", evaluation="record_interval = 10"
    )
    path.write_text(
        path.read_text().replace("time = 2.0", "time = 0.04").replace("time = 1.0", "time = 0.02")
    )
    config = read_settings(path)
    inputs = read_inputs(config, tmp_path, "cpu")
    engine = EngineSampler(config.simulation, config.criteria)
    work = RealWork(config, inputs, engine, judging=workflow._judging(config))
    assert [len(track.frames) for track in work.simulate(work.first_walkers(), 1)] == [10] * 4
    tracks = work.runs("validation")
    assert [len(track.frames) for track in tracks] == [4] * 6
    found = averages(inputs.targets, tracks, work)["distances all"]["mean"]
    frames = [atoms for track in tracks for atoms in track.frames]
    np.testing.assert_allclose(found, inputs.targets[0].observable.values(frames).mean(axis=0))


def test_wrapped_starts_have_the_bonds_of_whole_ones(tmp_path):
    path = prepare(tmp_path)
    text = path.read_text().replace('kind = "distances"', 'kind = "bond_lengths"')
    path.write_text(text.replace("rmax = 4.0\nwidth = 0.5", ""))
    starts = read(tmp_path / "starts.xyz", ":")
    for n, atoms in enumerate(starts):
        atoms.positions += 0.4 * n
        atoms.wrap()
    write(tmp_path / "starts.xyz", starts)
    config = read_settings(path)
    inputs = read_inputs(config, tmp_path, "cpu")
    lengths = [inputs.targets[0].observable.values(frames) for frames in inputs.starts.values()]
    assert np.abs(np.concatenate(lengths) - 2.36).max() < 0.1


def test_a_model_that_fails_at_step_0_is_refused(tmp_path):
    class Failing(MadeUp):
        def __call__(self, *arguments, **options):
            tracks = super().__call__(*arguments, **options)
            for track in tracks:
                track.failure = type(track.failure)(0.0, 0, "non-finite", "the energies are not finite")
                track.lived = 0.0
            return tracks

    with pytest.raises(MLIPError, match="every replica fails at step 0"):
        stabilize(prepare(tmp_path), sampler=Failing())
    assert not (tmp_path / "out" / workflow.CHECKPOINT).exists()  # a corrected file begins anew


def test_replicas_that_fail_before_a_sample_say_what_to_change(tmp_path):
    class Early(MadeUp):
        def __call__(self, *arguments, **options):
            tracks = super().__call__(*arguments, **options)
            for track in tracks:
                track.frames = []
            return tracks

    with pytest.raises(MLIPError, match="lower `record_interval`"):
        stabilize(prepare(tmp_path), sampler=Early())


@pytest.mark.parametrize(
    "learning", ['estimator = "local"', 'estimator = "local"\nradius = 2.6', "error_weight = 0.0"]
)
def test_other_estimators_run(learning, tmp_path):
    result = stabilize(prepare(tmp_path, learning=learning), sampler=MadeUp())
    rows = result.document["history"]
    assert np.isfinite([row["loss"] for row in rows if "loss" in row]).all()
    assert ("error_loss" in rows[0]) == (learning != "error_weight = 0.0")


def test_the_command_says_each_wrong_entry_and_writes_nothing(tmp_path):
    path = prepare(tmp_path, simulation="friction = -1.0", learning="error_weight = -1.0")
    done = CliRunner().invoke(main, ["stabilize", str(path)])
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert len(lines) == 2 and "friction" in lines[0] and "error_weight" in lines[1]
    assert not (tmp_path / "out").exists()
