"""Pictures show the numbers of the result, and handle the ends of their ranges.

It also tests `drawn`.
"""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.dynamics.md import run_nve
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.mechanics.eos import equation_of_state
from ase_mlip.pictures import plots
from ase_mlip.relaxation.relax import relax


def copper(**options):
    atoms = bulk("Cu", **{"a": 3.58982, **options})
    atoms.calc = EMT()
    return atoms


@pytest.fixture(scope="module")
def stable():
    return phonons(copper(), supercell_matrix=(2, 2, 2), mesh=(4, 4, 4), path="GXU,KGL", points=40)


def test_bands_and_density_share_an_axis_from_zero(stable):
    left, right = plots.plot_phonons(stable).axes
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] == 0.0
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["Γ", "X", "U|K", "Γ", "L"]
    highest = max(line.get_ydata().max() for line in left.lines if len(line.get_ydata()) > 2)
    assert highest == pytest.approx(stable.bands.frequencies.max())
    assert "THz" in left.get_ylabel()


def test_imaginary_modes_are_below_zero_and_marked():
    atoms = copper(crystalstructure="bcc", a=2.87)
    left, _ = plots.plot_phonons(phonons(atoms, supercell_matrix=(2, 2, 2), mesh=(4, 4, 4), points=40)).axes
    assert left.get_ylim()[0] < -0.5
    assert "imaginary" in [text.get_text() for text in left.texts]


def test_reference_points_stand_at_their_labels(stable):
    left, _ = plots.plot_phonons(stable, {"paper": {"Γ": [7.0], "K": [5.0, 6.0], "unknown": [1.0]}}).axes
    line = next(line for line in left.lines if line.get_label() == "paper")
    positions = dict(zip(["Γ", "X", "K", "Γ2", "L"], (d for d, _ in stable.bands.labels), strict=True))
    expected = [(positions["Γ"], 7.0), (positions["K"], 5.0), (positions["K"], 6.0), (positions["Γ2"], 7.0)]
    assert line.get_xydata() == pytest.approx(np.array(expected))


def test_equation_of_state_shows_points_on_the_curve():
    result = equation_of_state(copper(), volumes=5)
    axes = plots.plot_eos(result, "EMT").axes[0]
    points = next(line for line in axes.lines if line.get_label() == "EMT")
    assert points.get_xdata() == pytest.approx(result.volumes)
    assert "eV" in axes.get_ylabel() and "Å" in axes.get_xlabel()


def test_relaxation_leaves_out_the_zero_a_logarithm_cannot_show():
    atoms = copper(cubic=True)
    atoms.rattle(0.05, seed=0)
    result = relax(atoms, fmax=0.05)
    upper, lower = plots.plot_relaxation(result).axes
    assert len(upper.lines[0].get_ydata()) == len(result.energies) - 1
    assert lower.lines[0].get_ydata() == pytest.approx(result.fmaxes)
    assert lower.get_yscale() == "log"


def test_a_relaxed_start_still_has_a_picture():
    plots.png(plots.plot_relaxation(relax(copper(), fmax=0.05)), dpi=30)


def test_dynamics_shows_the_drift_where_it_was_fitted():
    result = run_nve(copper(cubic=True), 300.0, 2 * units.fs, 60 * units.fs, equilibration=20 * units.fs)
    upper, lower = plots.plot_md(result).axes
    total, line = upper.lines
    assert total.get_ydata()[0] == 0.0
    assert line.get_xdata()[0] == pytest.approx(0.02)
    assert np.polyfit(line.get_xdata(), line.get_ydata(), 1)[0] == pytest.approx(result.drift)
    assert lower.lines[0].get_ydata() == pytest.approx(result.temperatures)
