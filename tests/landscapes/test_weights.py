"""The weights of a model: what two trainings make different, moved in place, and put back bit by bit.

It also tests `families`.
"""

import copy

import pytest
import snnp_kinds
import torch
import toy_training
from ase.build import bulk
from ase.io import write
from differing import differing, listed
from random_allegro import random_allegro
from random_nequip import random_nequip
from random_pet import random_network, silicon
from snnp_training import SNNP as SMALL_SNNP
from snnp_training import prepare as prepare_snnp
from toy import PairNetwork, export_toy

from ase_mlip import export_model, load_model
from ase_mlip.converters.sevennet.parts import Exact, Perceptron, SlotLinear
from ase_mlip.errors import MLIPError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.landscapes import families
from ase_mlip.landscapes.weights import StoredTensor, Weights, model_weights
from ase_mlip.networks.equivariant.allegro import Contraction, SplineEmbedding
from ase_mlip.training.train import train


def results(model, atoms):
    graph = build_graph(atoms, model.info.cutoff)

    def evaluate():
        found = model(graph, ["forces"])
        return torch.cat([found["energies"], found["forces"].flatten()])

    return evaluate


def export(network, path, layers=1, species=None):
    """Any network with a cutoff of 4.5 Å: of ``species``, of silicon, or of the elements it has types of."""
    if species is None:
        species = [int(z) for z in torch.nonzero(network.types >= 0).flatten()] if layers == 1 else [14]
    claims = {"name": "toy", "species": species, "cutoff": 4.5, "message_passing_layers": layers}
    export_model(network, path, {**claims, "interaction_range": 4.5 * layers})
    return load_model(path)


# ---- what is a weight --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the training data do not determine these coefficients")
@pytest.mark.parametrize("family", ["PET", "s-NNP", "s-NNP without network"])
def test_a_tensor_differs_between_two_trainings_exactly_if_it_is_listed(family, tmp_path):
    models = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        if family == "PET":
            path = toy_training.prepare(folder, epochs=1, optimizer='kind = "adamw"')
        else:
            hidden = SMALL_SNNP if family == "s-NNP" else SMALL_SNNP.replace("hidden = [6]", "hidden = []")
            path, _ = prepare_snnp(folder, model=hidden, epochs=1, optimizer='kind = "adamw"')
        write(folder / "held_out.xyz", toy_training.frames(2, 7))
        text = path.read_text().replace("validation_fraction = 0.2", 'validation = "held_out.xyz"')
        path.write_text(text.replace('name = "toy"', f'name = "toy"\nseed = {seed}'))
        models.append(load_model(train(path, dynamics=0.0), device="cpu"))
    assert differing(*models) == listed(models[0])
    assert model_weights(models[0]).family == family.removesuffix(" without network")


@pytest.mark.parametrize("family", ["NequIP", "Allegro"])
def test_of_equivariant_networks_everything_random_is_listed(family, tmp_path):
    models = []
    for seed in (1, 2):
        layers = 2 if family == "NequIP" else 1
        network = random_nequip(2, [14], 4.5, seed) if layers == 2 else random_allegro([14], 4.5, seed)
        models.append(export(network, tmp_path / f"{seed}.pt", layers, species=[14]))
    assert differing(*models) == listed(models[0])
    weights = model_weights(models[0])
    assert weights.family == family
    assert weights.without_effect(results(models[0], silicon())) == []


def test_an_irrep_block_is_a_filter(tmp_path):
    weights = model_weights(export(random_nequip(2, [14], 4.5), tmp_path / "nequip.pt", layers=2))
    blocks = [f for f in weights.filters if f.tensor == "layers.1.mix.weight"]
    assert [f.size for f in blocks] == [16, 16]  # scalars and vectors, four channels each


def test_roots_that_were_trained_are_weights():
    network = random_nequip(2, [14], 4.5)
    plain = {table.name for table in families.tables_of(network)[1]}
    network.edges.basis.roots += 1e-3
    assert {table.name for table in families.tables_of(network)[1]} - plain == {"edges.basis.roots"}


def test_parts_of_allegro_splines_and_paths():
    module = torch.nn.Module()
    module.embedding = SplineEmbedding(torch.randn(4, 3, 5), 2)
    module.contraction = Contraction(torch.randn(3, 2), torch.randn(2, 1, 3, 3))
    weights = Weights("Allegro", list(families._equivariant(module)))
    assert [f.size for f in weights.filters] == [5] * 12 + [2] * 3
    assert {f.kind for f in weights.filters} == {"spline", "row"}


@pytest.mark.parametrize("kind", snnp_kinds.KINDS)
def test_filters_cover_every_parameter_of_an_snnp(kind, tmp_path):
    network, _ = snnp_kinds.example(kind, torch.float64)
    model = export(network, tmp_path / "model.pt")
    weights = model_weights(model)
    expected = sum(p.numel() for name, p in network.named_parameters() if name != "networks.last.bias")
    expected -= 0 if network.has_skip else network.skip.numel()
    assert weights.size == expected
    assert [f.start for f in weights.filters[1:]] == [f.stop for f in weights.filters[:-1]]
    splines = [f for f in weights.filters if f.kind == "spline"]
    for stored in (bank for bank in network.named_modules() if hasattr(bank[1], "all_coefficients")):
        found = [f for f in splines if f.tensor == f"{stored[0]}.coefficients"]
        sizes = stored[1].coefficients.shape
        assert [f.size for f in found] == [sizes[2]] * (sizes[0] * sizes[1])


def test_rows_of_a_matrix_are_what_one_output_is_made_of(tmp_path):
    """Moving one filter of the first layer of a network changes one hidden unit only."""
    network, _ = snnp_kinds.example("two layers", torch.float64)
    weights = Weights(*families.tables_of(network))
    row = next(f for f in weights.filters if f.tensor == "networks.layers.0.weight")
    layer = network.networks.layers[0]
    x = torch.randn(2, 5, layer.weight.size(1), dtype=torch.float64)
    before = layer(x)
    with weights.kept():
        values = weights.start.clone()
        values[row.start : row.stop] += 1.0
        weights.move(values)
        changed = (layer(x) != before).any(dim=1)
    assert int(changed.sum()) == 1


# ---- moving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_written_is_what_the_model_computes_with(dtype, tmp_path):
    """A model with moved weights is the model exported with them."""
    network = random_network()
    export(network, tmp_path / "a.pt", layers=2)
    model = load_model(tmp_path / "a.pt", dtype=dtype)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    weights, moved = model_weights(model), Weights(*families.tables_of(other))
    weights.move(moved.start)
    export(other, tmp_path / "b.pt", layers=2)
    expected = results(load_model(tmp_path / "b.pt", dtype=dtype), silicon())()
    assert torch.equal(results(model, silicon())(), expected)
    assert torch.equal(weights.values(), moved.start.to(getattr(torch, dtype)).double())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_stored_weights_are_back_bit_by_bit(error):
    model = load_model("snnp-si")
    weights = model_weights(model)
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    with pytest.raises(error), weights.kept():
        for k in range(3):
            weights.move(weights.start * (1.3 + k))
        assert not torch.equal(weights.values(), weights.start)
        raise error
    after = model.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with pytest.raises(MLIPError, match="`values`: expected 712 weights"):
        weights.move(weights.start[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_in_two_halves_move_as_their_sum(dtype):
    """48 bits of a table are kept in float32, all in float64; elements without a weight stay as they are."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    bias = torch.tensor([0.5, -0.25, 0.0, 0.0, 0.0], dtype=torch.float64)
    linear = SlotLinear([(1, 3)], [(1, 2), (3, 1)], [(0, 0, table[:, :2].contiguous())], bias).to(dtype)
    weights = Weights("SevenNet", [t for t in families._sevennet(linear) if (t.labels >= 0).any()])
    assert [f.size for f in weights.filters] == [6, 2]  # the table, and the constants of scalars
    given = torch.randn(8, generator=generator, dtype=torch.float64)
    weights.move(given)
    stored = linear.tables[0].high.double() + linear.tables[0].low.double()
    assert stored.flatten() == pytest.approx(given[:6], rel=1e-13)
    assert linear.bias.high[2:].tolist() == [0.0] * 3
    weights.restore()
    assert torch.equal(linear.tables[0].high, Exact(table[:, :2].contiguous()).high.to(dtype))
    rows = Weights("SevenNet", list(families._sevennet(Perceptron([table], "silu"))))
    assert [f.size for f in rows.filters] == [3] * 4


def test_copies_for_all_species_move_together():
    weight = torch.randn(1, 2, 3, dtype=torch.float64).expand(4, -1, -1).contiguous()
    stored = StoredTensor(families._by_species("product", weight), 0)
    assert stored.stop == 6 and stored.sizes == [6]
    with torch.no_grad():
        stored.move(torch.arange(6.0, dtype=torch.float64))
    assert torch.equal(weight, torch.arange(6.0, dtype=torch.float64).view(1, 2, 3).expand(4, -1, -1))


def test_heads_that_are_not_asked_for_are_named():
    model = load_model("pet-si")
    weights = model_weights(model)
    found = weights.without_effect(results(model, bulk("Si")))
    assert found and all("readout_forces" in name or "readout_virial" in name for name in found)
    assert torch.equal(weights.values(), weights.start)


def test_a_formula_has_no_weights(tmp_path):
    network = PairNetwork([8, 14], 4.5)
    strength = network.strength.detach()
    del network.strength
    network.register_buffer("strength", strength)
    export_toy(tmp_path / "formula.pt", network)
    with pytest.raises(MLIPError, match=r"formula.pt` has no weights that can be moved"):
        model_weights(load_model(tmp_path / "formula.pt"))
