"""What an average leaves, and the choice of one by it."""

import pytest
from random_pet import silicon

from ase_mlip import MLIPCalculator
from ase_mlip.calculators.diagnostics.residual import residual_of_forces
from ase_mlip.errors import MLIPError, PrecisionWarning
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.rotations.schemes import find_averaging


def test_residual_falls_up_the_ladder(random_path):
    calculator = MLIPCalculator(random_path)
    graph = build_graph(silicon(), 4.0)
    residuals = [
        residual_of_forces(calculator.model, graph, find_averaging(name))
        for name in ("none", "octahedral", "icosahedral", "lebedev 7")
    ]
    assert residuals[1] < 0.2 * residuals[0]
    assert residuals[2] < 0.5 * residuals[1]
    assert residuals[3] < residuals[2]


def test_automatic_choice_is_made_once(random_path):
    calculator = MLIPCalculator(random_path, symmetrize="auto", tolerance=1e9)
    calculator.calculate(silicon())
    assert calculator.averaging.name == "none"
    graph = build_graph(silicon(), 4.0)
    limit = residual_of_forces(calculator.model, graph, find_averaging("octahedral")) * 1.01
    calculator = MLIPCalculator(random_path, symmetrize="auto", tolerance=limit)
    calculator.calculate(silicon())
    assert calculator.averaging.name == calculator.parameters["symmetrize"] == "octahedral"
    assert 0 < calculator.residual <= limit
    calculator.calculate(silicon(rattle=0.3, seed=5))
    assert calculator.averaging.name == "octahedral"


def test_automatic_choice_warns_where_nothing_suffices(random_path, monkeypatch):
    """The last rung is taken, and its residual named beside the tolerance."""
    monkeypatch.setattr("ase_mlip.calculators.diagnostics.residual.LADDER", ("none", "octahedral"))
    calculator = MLIPCalculator(random_path, symmetrize="auto", tolerance=1e-9)
    with pytest.warns(PrecisionWarning, match="octahedral with 24 evaluations, leaves .* `tolerance=1e-09`"):
        calculator.calculate(silicon())
    assert calculator.averaging.name == "octahedral"
    expected = residual_of_forces(calculator.model, build_graph(silicon(), 4.0), find_averaging("octahedral"))
    assert calculator.residual == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, float("nan"), float("inf")])
def test_tolerances_that_mean_nothing_are_refused(random_path, tolerance):
    with pytest.raises(MLIPError, match="`tolerance`: expected a positive number of eV/Å, got"):
        MLIPCalculator(random_path, symmetrize="auto", tolerance=tolerance)
