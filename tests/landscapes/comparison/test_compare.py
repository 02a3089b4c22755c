"""Models side by side: ranks that are known from how the files were made, and files that do not belong.

It also tests `files`, `pictures.compare`.
"""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from ase_mlip.cli.program import main
from ase_mlip.errors import DataError
from ase_mlip.landscapes.comparison.compare import compare
from ase_mlip.landscapes.comparison.files import TRAINING_ERROR, read_landscape
from ase_mlip.landscapes.entropy import loss_entropy
from ase_mlip.pictures.compare import plot_comparison
from tests.landscapes.comparison.landscape_files import (
    X,
    sha256_of,
    write_dynamics,
    write_errors,
    write_landscape,
)

CURVATURES = {"steep": 4.0, "flat": 0.5, "middle": 1.0, "flatter": 0.25, "steeper": 8.0, "soft": 2.0}


def six(folder, **more):
    return [write_landscape(folder, name, value, **more) for name, value in CURVATURES.items()]


def test_numbers_come_from_the_curves(tmp_path):
    entry = read_landscape(write_landscape(tmp_path, "one", 2.0, start=0.03))
    values = {quantity.name: value for quantity, value in entry.predictors.items()}
    line = np.mean([np.sqrt(0.03**2 + (f * 2.0 * X) ** 2) for f in (0.9, 1.0, 1.1)], axis=0)
    assert values["S_F"] == pytest.approx(np.log(np.exp(-line / 0.04).sum()), abs=1e-12)
    assert values["S"] == pytest.approx(
        0.2 * loss_entropy(0.1 * line, 0.004) + 0.8 * values["S_F"], abs=1e-12
    )
    assert values["S_F⁺"] == pytest.approx(values["S_F"] + 0.03 / 0.04, abs=1e-12)
    # d²L²/dx² = 2 a² on each line
    assert values["curvature of L_F²"] == pytest.approx(np.mean([2 * (f * 2.0) ** 2 for f in (0.9, 1, 1.1)]))
    assert entry.predictors[TRAINING_ERROR] == pytest.approx(0.03)


def test_models_of_a_family_are_under_one_heading_in_the_order_of_their_entropy(tmp_path):
    files = six(tmp_path)
    files.insert(2, write_landscape(tmp_path, "other", 1.0, family="PET"))
    found = compare(files)
    assert [family.name for family in found.families] == ["s-NNP", "PET"]
    names = [entry.name for entry in found.families[0].models]
    assert names == ["flatter", "flat", "middle", "soft", "steep", "steeper"]
    ranks = {quantity.name: values for quantity, values in found.families[0].ranks.items()}
    assert ranks["S"] == ranks["S⁺"] == ranks["curvature of L_F²"] == [1, 2, 3, 4, 5, 6]
    assert ranks["force loss at x = 0"] == [3.5] * 6
    text = found.to_text()
    assert text.index("s-NNP: 6 models") < text.index("flatter") < text.index("PET: 1 model")
    assert "Correlations need errors or lifetimes" in text
    assert "Correlations need 5 models of a family, and here are 1." in text


def test_five_models_with_errors_and_dynamics_are_correlated(tmp_path):
    files, others = six(tmp_path), []
    for k, (name, value) in enumerate(CURVATURES.items()):
        others.append(
            write_errors(tmp_path, name, {"300K": 0.01 + 0.001 * ((7 * k) % 6), "1200K": 0.1 * value})
        )
        others.append(write_dynamics(tmp_path, name, 6.0 - 0.5 * value))
    found = compare(files, others).families[0]
    assert found.control.name == "force error 300K"
    worths = {(worth.predictor.name, worth.target.name): worth for worth in found.worths}
    assert worths["S", "force error 1200K"].plain.value == pytest.approx(-1.0)
    assert worths["S", "survival"].plain.value == pytest.approx(1.0)
    assert worths["curvature of L_F²", "survival"].plain.value == pytest.approx(-1.0)
    assert worths["S⁺", "force error 1200K"].partial.value == pytest.approx(-1.0)
    assert all(worths[name].agrees for name in worths if name[0] == "S")
    # the trivial rival is among the predictors, without a partial correlation given itself
    assert worths["force error 300K", "force error 1200K"].partial is None
    assert ("S", "force error 300K") not in worths
    # six models have the same training error: nothing to rank by
    assert "the same for all 6" in worths["force loss at x = 0", "survival"].plain.reason


def test_results_are_json_and_text(tmp_path):
    files = six(tmp_path)
    others = [write_errors(tmp_path, name, {"": 0.1 * value}) for name, value in CURVATURES.items()]
    found = compare(files, others)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    family = document["families"][0]
    assert family["in_distribution_error"] == "force loss at x = 0, eV/Å"
    assert family["models"][0]["sha256"] == sha256_of("flatter")
    assert {row["target"] for row in family["correlations"]} == {"force error test.xyz, eV/Å"}
    assert "force error test.xyz: rank correlation with 95 % interval" in found.to_text()


def test_a_control_can_be_named(tmp_path):
    files = six(tmp_path)
    others = [write_errors(tmp_path, n, {"a": v, "b": 2 * v, "c": 3 * v}) for n, v in CURVATURES.items()]
    assert compare(files, others, "force error b").families[0].control.name == "force error b"
    with pytest.raises(DataError, match="`control`: expected one of `force error a`, .*got `b`"):
        compare(files, others, "b")


def test_other_predictors_are_ranked_if_all_models_have_them(tmp_path):
    rough = {"bond_roughness": {"value": 1.0, "unit": "eV/Å", "sense": -1}}
    files = [
        write_landscape(tmp_path, "a", 1.0, predictors=rough),
        write_landscape(
            tmp_path, "b", 2.0, predictors={"bond_roughness": {**rough["bond_roughness"], "value": 0.5}}
        ),
    ]
    ranks = {quantity.name: values for quantity, values in compare(files).families[0].ranks.items()}
    assert ranks["bond roughness"] == [2.0, 1.0]
    files.append(write_landscape(tmp_path, "c", 3.0))
    assert "bond roughness" not in {q.name for q in compare(files).families[0].ranks}


def test_a_model_without_a_target_is_named(tmp_path):
    files = six(tmp_path)
    others = [write_dynamics(tmp_path, name, 1.0 + value) for name, value in list(CURVATURES.items())[1:]]
    found = compare(files, others)
    assert "`survival` is not known of steep" in found.to_text()
    assert found.families[0].worths[0].plain.n == 5


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"x": np.linspace(-0.5, 0.5, 11)}, "span"),
        ({"x": np.linspace(-0.25, 0.25, 21)}, "points"),
        ({"settings": {"directions": "legacy"}}, "directions"),
        ({"settings": {"frames": {"count": 20, "sha256": "cd"}}}, "frames"),
    ],
)
def test_curves_of_other_settings_are_refused(tmp_path, change, name):
    files = [write_landscape(tmp_path, "a", 1.0), write_landscape(tmp_path, "b", 1.0, **change)]
    with pytest.raises(DataError, match=f"`.*b.json`: expected the `{name}` of `.*a.json`"):
        compare(files)


def test_more_lines_and_another_seed_can_be_compared(tmp_path):
    files = [
        write_landscape(tmp_path, "a", 1.0),
        write_landscape(tmp_path, "b", 1.0, settings={"lines": 5, "seed": 3}),
    ]
    assert len(compare(files).families[0].models) == 2


def test_files_that_do_not_belong_are_named(tmp_path):
    mine = write_landscape(tmp_path, "mine", 1.0)
    with pytest.raises(DataError, match="`landscapes`: expected at least one"):
        compare([])
    with pytest.raises(DataError, match="is of the model of .*mine.json`, `mine`"):
        compare([mine, mine])
    with pytest.raises(DataError, match="`.*other-errors.json` is of a model without a landscape .* mine"):
        compare([mine], [write_errors(tmp_path, "other", {"a": 1.0})])
    errors = write_errors(tmp_path, "mine", {"a": 1.0})
    with pytest.raises(DataError, match="`force error a` of `mine` is given twice"):
        compare([mine], [errors, errors])
    with pytest.raises(DataError, match="is no landscape; .*errors and dynamics are given with `--with`"):
        compare([errors])
    with pytest.raises(DataError, match="expected what `ase-mlip evaluate --json` .* got a `landscape`"):
        compare([mine], [mine])
    (tmp_path / "text.json").write_text("no JSON")
    with pytest.raises(DataError, match="is not JSON"):
        compare([tmp_path / "text.json"])
    with pytest.raises(DataError, match="cannot be read: No such file"):
        compare([tmp_path / "missing.json"])
    document = json.loads(mine.read_text())
    (tmp_path / "new.json").write_text(json.dumps(document | {"version": 7}))
    with pytest.raises(DataError, match="has version 7 of a landscape, expected 1"):
        compare([tmp_path / "new.json"])
    document.pop("force_losses")
    (tmp_path / "half.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="has no `force_losses`, which a landscape has"):
        compare([tmp_path / "half.json"])
    old = json.loads(errors.read_text())
    old.pop("model")
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(DataError, match="does not say of which model it is"):
        compare([mine], [tmp_path / "old.json"])


def test_a_model_is_known_by_its_file_or_by_the_document_in_it(tmp_path):
    path = write_landscape(tmp_path, "a", 1.0)
    document = json.loads(path.read_text())
    document["model"] |= {"sha256": "of the file", "document_sha256": sha256_of("a")}
    path.write_text(json.dumps(document))
    targets = compare([path], [write_dynamics(tmp_path, "a", 3.0)]).families[0].models[0].targets
    assert [target.name for target in targets] == ["survival"]


def test_picture_has_a_row_for_each_family_and_a_panel_for_each_target(tmp_path):
    files = [*six(tmp_path), write_landscape(tmp_path, "other", 1.0, family="PET")]
    others = [write_errors(tmp_path, n, {"300K": 0.01, "1200K": 0.1 * v}) for n, v in CURVATURES.items()]
    others += [write_dynamics(tmp_path, name, 6.0 - 0.5 * value) for name, value in CURVATURES.items()]
    shown = [axes for axes in plot_comparison(compare(files, others)).axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles == ["s-NNP, 6 models", "survival", "force error 1200K", "PET, 1 model"]
    entropies = shown[0].lines[0]
    assert np.all(np.diff(entropies.get_xdata()) < 0.0)
    assert len(shown[1].get_yticklabels()) == 10  # nine from curves, and the error at 300 K


def test_command_prints_writes_and_draws(tmp_path):
    files = [str(path) for path in six(tmp_path)]
    others = [write_errors(tmp_path, name, {"": 0.1 * value}) for name, value in CURVATURES.items()]
    given = [word for path in others for word in ("--with", str(path))]
    command = ["landscape", "--compare", *files, *given, "-o", str(tmp_path / "out")]
    run = CliRunner().invoke(main, [*command, "--plot"])
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("s-NNP: 6 models")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.json", "comparison.png"]
    again = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(again.stdout) == json.loads((tmp_path / "out" / "comparison.json").read_text())
    document = json.loads(again.stdout)
    assert document.pop("settings")["command"] == "landscape --compare"
    assert document == compare(files, others).to_dict()


def test_command_refuses_a_comparison_of_others_and_overwrites_it(tmp_path):
    files = [str(path) for path in six(tmp_path)]
    for models, option, status in ((files, [], 0), (files[:5], [], 1), (files[:5], ["--overwrite"], 0)):
        run = CliRunner().invoke(
            main, ["landscape", "--compare", *models, "-o", str(tmp_path / "out"), *option]
        )
        assert run.exit_code == status, run.output
        assert ("those of other settings: another FILES;" in run.output) == (status == 1)
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(document["families"][0]["models"]) == 5


def test_lifetimes_of_other_conditions_are_refused(tmp_path):
    files = [write_landscape(tmp_path, "a", 1.0), write_landscape(tmp_path, "b", 2.0)]
    others = [write_dynamics(tmp_path, "a", 3.0), write_dynamics(tmp_path, "b", 4.0, temperature=300.0)]
    with pytest.raises(DataError, match="expected dynamics as in `.*a-md.json`, got another `temperature_K`"):
        compare(files, others)


def test_points_that_overflowed_are_infinite(tmp_path):
    path = write_landscape(tmp_path, "a", 1.0)
    document = json.loads(path.read_text())
    document["force_losses"][0][0] = None
    path.write_text(json.dumps(document))
    assert np.isfinite(read_landscape(path).predictors[next(iter(read_landscape(path).predictors))])
