"""Which calculators a checkpoint of forces may serve: by model files, parameters, versions, and forces."""

import shutil

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import LinearCombinationCalculator
from toy import PairNetwork, export_toy

from ase_mlip import Ensemble, MLIPCalculator, SymmetrizedCalculator
from ase_mlip.calculators import identity as module
from ase_mlip.calculators.identity import is_known, made_with
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.files import Checkpoint
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy
from ase_mlip.provenance import difference

OPTIONS = {"mesh": (2, 2, 2), "relax_first": False}


class Hidden(EMT):
    """EMT times a number that is no parameter, as networks hide their weights."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor, self.calls = factor, 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.calls += 1
        for name, value in self.results.items():
            self.results[name] = self.factor * value


def copper(calculator):
    atoms = bulk("Cu", a=3.58982)
    atoms.calc = calculator
    return atoms


def other(wrap, first, second):
    return lambda: (wrap(first()), wrap(second()))


@pytest.mark.parametrize(
    "pair",
    [
        other(lambda c: c, Hidden, lambda: Hidden(1.2)),
        other(lambda c: SymmetrizedCalculator(c, "octahedral"), EMT, lambda: Hidden(1.2)),
        other(lambda c: LinearCombinationCalculator([EMT(), c], [1.0, 1.0]), EMT, lambda: Hidden(1.2)),
    ],
    ids=["foreign", "symmetrized", "mixed"],
)
@pytest.mark.parametrize("compute", ["phonons", "audit"])
def test_forces_of_another_calculator_are_not_taken(pair, compute, tmp_path):
    """At one geometry, class and parameters: only the forces tell."""
    run = {"phonons": phonons, "audit": audit_phonons}[compute]
    options = OPTIONS if compute == "phonons" else {"relax_first": False}
    first, second = pair()
    run(copper(first), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **options)
    with pytest.warns(UserWarning, match=r"f\.npz` holds forces .*: all are computed anew"):
        found = run(copper(second), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **options)
    expected = run(copper(second), supercell_matrix=(2, 2, 2), **options)
    if compute == "phonons":
        assert found.mesh_frequencies == pytest.approx(expected.mesh_frequencies, abs=1e-9)
    else:
        assert found.force_constants == pytest.approx(expected.force_constants, abs=1e-9)
    # and the file is now of the second
    again = run(copper(pair()[1]), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **options)
    assert again.evaluations == found.evaluations


def test_one_evaluation_tells_a_foreign_calculator(tmp_path):
    phonons(copper(Hidden()), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **OPTIONS)
    again = Hidden()
    phonons(copper(again), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **OPTIONS)
    assert again.calls == 1


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three pair potentials in files."""
    folder = tmp_path_factory.mktemp("models")
    for name, r0 in (("a", 2.3), ("b", 2.4), ("c", 2.5)):
        export_toy(folder / f"{name}.pt", PairNetwork([14], 4.0, r0), reference_energies={"Si": 0.0})
    return folder


def test_a_committee_is_known_by_the_files_of_its_members(models, tmp_path):
    """Also where a file was replaced at its path."""
    cells = [to_phonopy(bulk("Si"))]
    for name in ("a", "b", "c"):
        shutil.copy(models / f"{name}.pt", tmp_path)

    def committee():
        return Ensemble([MLIPCalculator(tmp_path / f"{name}.pt", device="cpu") for name in "ab"])

    first, again = committee(), committee()
    before = made_with(first)
    assert Checkpoint(None, cells, first).key == Checkpoint(None, cells, again).key
    shutil.copy(tmp_path / "c.pt", tmp_path / "b.pt")
    replaced = committee()
    assert is_known(first) and is_known(replaced)
    assert Checkpoint(None, cells, first).key != Checkpoint(None, cells, replaced).key
    assert difference(before, made_with(first)) == ""
    assert difference(before, made_with(replaced)) == "another `inside`"


def test_precision_kernel_and_rotations_count_and_places_do_not(models, tmp_path):
    path = models / "a.pt"
    plain = MLIPCalculator(path, device="cpu")
    for options in ({"dtype": "float64"}, {"symmetrize": "octahedral"}):
        changed = MLIPCalculator(path, device="cpu", **options)
        assert difference(made_with(plain), made_with(changed)) != ""
    shutil.copy(path, tmp_path / "elsewhere.pt")
    moved = MLIPCalculator(tmp_path / "elsewhere.pt", device="cpu", skin=1.0)
    assert difference(made_with(plain), made_with(moved)) == ""
    replaced = made_with(MLIPCalculator(models / "b.pt", device="cpu"))
    assert difference(made_with(plain), replaced) == "another `model`"


def test_another_version_is_another_run(tmp_path, monkeypatch):
    phonons(copper(EMT()), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **OPTIONS)
    real = module.versions()
    monkeypatch.setattr(module, "versions", lambda: {**real, "torch": "9.9"})
    what = r"another run \(`torch='.*'`, now `torch='9\.9'`\): all are computed anew"
    with pytest.warns(UserWarning, match=what):
        phonons(copper(EMT()), supercell_matrix=(2, 2, 2), checkpoint=tmp_path / "f.npz", **OPTIONS)


def test_parameters_of_foreign_calculators_are_named():
    first, second = LennardJones(sigma=2.3, epsilon=0.4), LennardJones(sigma=2.3, epsilon=0.5)
    assert difference(made_with(first), made_with(second)) == "`epsilon=0.4`, now `epsilon=0.5`"
    assert not is_known(first)
    with_array = LennardJones(sigma=np.float64(2.3), epsilon=0.4)
    assert difference(made_with(first), made_with(with_array)) == ""
