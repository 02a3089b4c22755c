"""PET checkpoints of metatrain in our PET: parity with metatomic's own calculator.

It also tests `converters.converted_pet`, `converters.pet.metatrain`, `converters.pet.pet`.
"""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    metatrain = pytest.importorskip("metatrain.pet", reason="needs metatrain (2026.4.1), the oracle")

from ase_mlip import MLIPCalculator
from ase_mlip.checks.check import check
from ase_mlip.converters import AdapterError, adapt, export_adapted
from ase_mlip.converters.common import ENERGY, FORCES, STRESS, Reference
from ase_mlip.converters.pet.metatrain import MetatomicReference
from ase_mlip.converters.structures import parity_structures
from ase_mlip.model_file.info import read_info
from tests.adapters.pet_checkpoints import SMALL, SPECIES, UNITS, public_model, write

ROUNDING = 2.0**-23  # of float32, relative
PLAIN = {"normalization": "LayerNorm", "activation": "SiLU"}
BEFORE_2026 = {"adaptive_cutoff_method": "grid", "cutoff_width_adaptive": 0.5}
FIRST = {**PLAIN, "transformer_type": "PostLN", "featurizer_type": "residual", "cutoff_function": "Cosine"}
VARIANTS = {
    "defaults, small": {},
    "1 layer of 1": {"num_gnn_layers": 1, "num_attention_layers": 1},
    "3 layers of 2, d_node equals d_pet": {"num_gnn_layers": 3, "d_node": 16},
    "LayerNorm, SiLU": PLAIN,
    "RMSNorm, SiLU": {"activation": "SiLU"},
    "LayerNorm, SwiGLU": {"normalization": "LayerNorm"},
    "temperature": {"attention_temperature": 1.7},
    "cosine": {"cutoff_function": "Cosine"},
    "adaptive": {"num_neighbors_adaptive": 8},
    "adaptive, cosine, 1 layer": {
        "num_neighbors_adaptive": 6,
        "cutoff_function": "Cosine",
        "num_gnn_layers": 1,
    },
    "adaptive on a grid": {"num_neighbors_adaptive": 8, **BEFORE_2026},
    "post-norm": {"transformer_type": "PostLN"},
    "post-norm, d_node equals d_pet": {"transformer_type": "PostLN", "d_node": 16},
    "residual": {"featurizer_type": "residual"},
    "residual, 3 layers of 1, adaptive": {
        "featurizer_type": "residual",
        "num_gnn_layers": 3,
        "num_attention_layers": 1,
        "num_neighbors_adaptive": 8,
    },
    "the layout of PET-MAD 1.0": {**FIRST, "d_node": 16},
}
# Largest deviation in float32 by roundings of the largest force. Measured: 10 to 45, and 570 in the last
# layout, which magnifies roundings: metatomic's own forces in float32 are off by 20 000 of them there.
ROUNDINGS = dict.fromkeys(VARIANTS, 128) | {"the layout of PET-MAD 1.0": 2048}
# UPET's sizes: d_pet, d_node, layers, attention layers, cutoff, neighbours; M, L, XL narrower by ten.
# With d_head = d_pet, XS and S have the published 4.5 and 25.9 million weights for 89 elements.
SIZES = {
    "XS": (128, 512, 2, 1, 7.5, 16),
    "S": (256, 1024, 3, 1, 8.0, 24),
    "M": (40, 160, 3, 2, 8.5, 32),
    "L": (48, 192, 4, 2, 9.0, 32),
    "XL": (64, 256, 5, 3, 10.0, 40),
}


def size_of(name: str) -> dict:
    d_pet, d_node, layers, attention, cutoff, neighbours = SIZES[name]
    return {
        "d_pet": d_pet,
        "d_node": d_node,
        "d_head": d_pet,
        "d_feedforward": 2 * d_pet,
        "num_heads": 8,
        "num_gnn_layers": layers,
        "num_attention_layers": attention,
        "cutoff": cutoff,
        "num_neighbors_adaptive": neighbours,
    }


def export(folder: Path, model, head: str | None = None, roundings: int = 128) -> Path:
    """Checkpoint, parity on all structures, model file; ``roundings`` are what float32 may be off by."""
    adapted = adapt("pet", write(folder / "model.ckpt", model), allow_pickle=True, head=head)
    references = []

    def recorded(atoms: Atoms) -> Reference:
        references.append(adapted.reference(atoms))
        return references[-1]

    double, single = export_adapted(dataclasses.replace(adapted, reference=recorded), folder / "model.pt")
    largest = max(float(np.abs(reference.forces).max()) for reference in references)
    assert double.energy < ENERGY and double.forces < FORCES and double.stress < STRESS
    assert single.energy < roundings * ROUNDING and single.forces < roundings * ROUNDING * largest
    assert double.structures == 10
    return folder / "model.pt"


def silicon(repeat: int = 2) -> Atoms:
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting_gives_the_numbers_of_metatomic(name, tmp_path):
    path = export(tmp_path, public_model(**VARIANTS[name]), roundings=ROUNDINGS[name])
    info = read_info(path)
    hypers = {**SMALL, "num_gnn_layers": 2, **VARIANTS[name]}
    layers = hypers["num_gnn_layers"] + (hypers.get("featurizer_type") != "residual")
    assert info.message_passing_layers == layers
    layers += hypers.get("num_neighbors_adaptive") is not None
    assert info.interaction_range == layers * hypers["cutoff"] and info.species == SPECIES
    assert info.dtype == "float32" and info.outputs == ["energies", "features"]


@pytest.mark.parametrize("name", ["adaptive", "the layout of PET-MAD 1.0"])
def test_float32_is_as_accurate_as_metatomics_own(name, tmp_path):
    """Forces of 200 atoms, by their deviation from metatomic's in float64; four times as much is chance."""
    from metatomic_ase import MetatomicCalculator

    path = tmp_path / "model.pt"
    adapted = adapt("pet", write(tmp_path / "model.ckpt", public_model(**VARIANTS[name])), allow_pickle=True)
    export_adapted(adapted, path)
    atoms = parity_structures(SPECIES, SMALL["cutoff"])["200 atoms"]
    expected = adapted.reference(atoms).forces
    ours = MLIPCalculator(path, device="cpu", dtype="float32").evaluate([atoms], ["forces"])[0]["forces"]
    options = {"device": "cpu", "do_gradients_with_energy": False, "uncertainty_threshold": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MetatomicCalculator(public_model(**VARIANTS[name]).float().export(), **options)
        theirs.calculate(atoms, ["forces"], [])
    allowed = 4.0 * np.abs(theirs.results["forces"] - expected).max()
    assert 0.0 < np.abs(ours - expected).max() < allowed < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("size", "method"), [*((size, "solver") for size in SIZES), ("XS", "grid"), ("S", "grid")]
)
def test_the_published_sizes(size, method, tmp_path):
    """The radii of the first versions were found on a grid."""
    export(tmp_path, public_model(adaptive_cutoff_method=method, **size_of(size)))


def test_the_published_default(tmp_path):
    """metatrain's default: 3.07 million weights with both direct heads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from metatrain.utils.architectures import get_default_hypers

        defaults = get_default_hypers("pet")["model"]
    model = public_model(UNITS, **defaults)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(3.07e6, rel=0.1)
    export(tmp_path, model)


@pytest.mark.parametrize("heads", [["force"], ["stress"], ["force", "stress"]])
def test_direct_heads(heads, tmp_path):
    """Against metatomic's calculator with direct forces; a force has a scale for each species."""
    names = ["energy", *(f"non_conservative_{head}" for head in heads)]
    model = public_model({name: UNITS[name] for name in names})
    path = export(tmp_path, model)
    outputs = {"force": "direct_forces", "stress": "direct_virials"}
    assert read_info(path).outputs == ["energies", *(outputs[head] for head in heads), "features"]
    if "force" not in heads:
        return
    calculator = MLIPCalculator(path, device="cpu", dtype="float64", forces="direct")
    atoms = Atoms(
        "SiOHSi", scaled_positions=np.random.default_rng(0).random((4, 3)), cell=[5, 6, 5.5], pbc=True
    )
    reference = MetatomicReference(model, None, direct=True if len(heads) == 2 else "forces")(atoms)
    found = calculator.evaluate([atoms], ["forces"])[0]["forces"]
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, reference.forces, atol=FORCES, rtol=0)
    if "stress" in heads:
        stress = calculator.evaluate([atoms], ["stress"])[0]["stress"]
        assert np.abs(stress).max() > 1e-3
        np.testing.assert_allclose(stress, reference.stress, atol=STRESS, rtol=0)


def test_units_are_converted(tmp_path):
    """A network trained in kcal/mol: parity is with metatomic's calculator, which converts to eV."""
    export(tmp_path, public_model({"energy": "kcal/mol", "non_conservative_forces": "kcal/mol/Angstrom"}))


def test_one_of_several_energies_is_chosen(tmp_path):
    targets = {"energy/pbe": "eV", "energy/r2scan": "eV", "non_conservative_force/pbe": "eV/Angstrom"}
    model = public_model(targets)
    path = write(tmp_path / "model.ckpt", model)
    with pytest.raises(AdapterError, match="`head` must be one of energy/pbe, energy/r2scan"):
        adapt("pet", path, allow_pickle=True)
    with pytest.raises(AdapterError, match="got `lda`"):
        adapt("pet", path, allow_pickle=True, head="lda")
    (tmp_path / "pbe").mkdir()
    (tmp_path / "r2scan").mkdir()
    pbe = read_info(export(tmp_path / "pbe", model, head="pbe"))
    other = read_info(export(tmp_path / "r2scan", model, head="energy/r2scan"))
    assert pbe.outputs == ["energies", "direct_forces", "features"]
    assert other.outputs == ["energies", "features"]
    assert pbe.reference_energies != other.reference_energies
    assert "Left out on request: energy/pbe, non_conservative_force/pbe" in other.description


def test_the_composition_becomes_reference_energies(tmp_path):
    model = public_model()
    info = read_info(export(tmp_path, model))
    expected = model.additive_models[0].model.weights["energy"].block().values[:, 0].tolist()
    assert list(info.reference_energies.values()) == pytest.approx(expected, rel=1e-15)
    assert list(info.reference_energies) == ["H", "O", "Si"]


def test_uncertainties_around_the_model_are_named_as_left_out(tmp_path):
    """UPET publishes some of its checkpoints inside metatrain's LLPR."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from metatrain.llpr import LLPRUncertaintyModel
        from metatrain.utils.architectures import get_default_hypers

        model = public_model()
        wrapped = LLPRUncertaintyModel(get_default_hypers("llpr")["model"], model.dataset_info)
        wrapped.set_wrapped_model(model)
    info = read_info(export(tmp_path, wrapped))
    assert "uncertainties (LLPR) are not in this file" in info.description


def test_a_trained_checkpoint(trained, tmp_path, request):
    """Fitted scales, composition weights that were fitted or fixed, conservative and direct forces."""
    adapted = adapt("pet", trained, allow_pickle=True)
    double, single = export_adapted(adapted, tmp_path / "model.pt")
    assert double.energy < 1e-12 and single.energy < 1e-5
    info = read_info(tmp_path / "model.pt")
    fixed = "fixed" in request.node.name
    assert (info.reference_energies == {"Cu": -0.4, "Au": -0.9}) == fixed
    assert info.outputs == ["energies", "direct_forces", "features"]
    assert info.training["checkpoint"] == "model.ckpt"
    assert info.training["checkpoint_sha256"] and adapted.module.energy != 1.0


@pytest.mark.parametrize(
    "name", ["adaptive", "adaptive on a grid", "residual, 3 layers of 1, adaptive", "cosine"]
)
def test_the_file_passes_the_checks(name, tmp_path):
    """Among them that the declared range of the adaptive cutoff is enough."""
    path = export(tmp_path, public_model(**VARIANTS[name]))
    failed = [result for result in check(path) if result.passed is False]
    assert not failed, failed


@pytest.mark.parametrize("name", ["adaptive", "the layout of PET-MAD 1.0"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps_agrees_with_ase(parallel, name, ranks, tmp_path):
    from harness import Case, check_case

    path = export(tmp_path, public_model(**{**VARIANTS[name], "cutoff": 3.0}))
    atoms = silicon()
    atoms.positions += 0.01
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {path} Si"
    case = Case(atoms, pair=pair, before="processors * 1 1", commands="run 2", fixes="fix move all nve")
    calculator = MLIPCalculator(path, device="cpu", dtype="float64")
    check_case(parallel, case, tmp_path, calculator, ranks=ranks)
