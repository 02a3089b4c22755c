"""Files whose code does more than compute: refused at export and before loading, by both engines."""

import re

import pytest
import torch
from model_files import rewrite
from torch import Tensor
from toy import export_toy

from ase_mlip import _torchscript
from ase_mlip.errors import ModelFileError
from ase_mlip.model_file import archive
from ase_mlip.model_file import code as model_code
from ase_mlip.model_file.model import find_model, load_model, shipped_models

# the last lines of a method; {path} is a file that must not come into being
BAD_CODE = {
    "save": 'torch.save(species, "{path}")',
    "save by its namespace": 'ops.aten.save(species, "{path}")',
    "save as a method": '(species).save("{path}", )',
    "save under another name": 'f = torch.save\n    f(species, "{path}", )',
    "read": 'x = torch.from_file("{path}", False, 8)',
    "rpc": "ops.prim.rpc_sync(species)",
    "getattr of a composed name": 'x = getattr(species, "sa" "ve")',
    "getattr of an escaped name": 'x = getattr(species, "s\\x61ve")',
    "getattr of a single-quoted name": "x = getattr(species, 'to')",
    "other operators": "x = ops.c10d.barrier(species)",
    "operators under another name": "o = ops",
    "classes of libtorch": "x = __torch__.torch.classes.c10d.Work()",
}


def with_code(source, target, line: str):
    """The file with a line at the beginning of the potential's ``forward``; all hashes are right."""
    import hashlib

    members = archive.strip(source.read_bytes())
    # in a process that has compiled one before, TorchScript adds a folder with a number
    name = next(name for name in members if "ase_mlip/model_file/potential" in name and name.endswith(".py"))
    text = members[name][0].decode()
    head = re.search(r"  def forward\(self.*?\) -> [^\n]*:\n", text, re.S)
    text = f"{text[: head.end()]}    {line}\n{text[head.end() :]}"

    def edit(claims):
        claims["members"][name] = hashlib.sha256(text.encode()).hexdigest()

    return rewrite(source, target, members={name: text.encode()}, edit=edit)


@pytest.mark.parametrize("case", BAD_CODE)
def test_code_that_does_not_compute_is_refused_before_it_is_opened(driver, tmp_path, pair_model_path, case):
    victim = tmp_path / "victim"
    path = with_code(pair_model_path, tmp_path / "bad.pt", BAD_CODE[case].replace("{path}", str(victim)))
    with pytest.raises(
        ModelFileError, match=r"`code/__torch__/.*` uses .*remove it from the network"
    ) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)
    with pytest.raises(RuntimeError, match=r"`code/__torch__/.*` uses .*remove it from the network"):
        driver.create(path)
    assert not victim.exists()


class Loads(torch.nn.Module):
    """Its state is set by code of its own."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)

    def forward(self, species: Tensor) -> Tensor:
        return species


def test_opening_a_file_does_run_its_code_and_so_it_is_read_first(tmp_path):
    """The first half is why the second is needed."""
    victim, foreign = tmp_path / "victim", tmp_path / "foreign.pt"
    _torchscript.save(_torchscript.script(Loads(str(victim))), str(foreign))
    victim.unlink(missing_ok=True)
    _torchscript.load(str(foreign))
    assert victim.exists(), "libtorch ran the file's code while it opened it"
    victim.unlink()
    members = {name: content for name, (content, _) in archive.strip(foreign.read_bytes()).items()}
    with pytest.raises(ModelFileError, match="uses the name `(save|__setstate__|__getstate__)`"):
        model_code.check_code(members)
    assert not victim.exists()


class Writes(torch.nn.Module):
    """A network that keeps what it sees."""

    species = (8, 14)
    cutoff = 4.0

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        torch.save(species, "seen.pt")
        energies = torch.zeros(species.size(0), dtype=edge_vectors.dtype)
        return {"energies": energies.index_add(0, edge_index[0], edge_vectors.square().sum(1))}


def test_such_a_network_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="uses the name `save`"):
        export_toy(tmp_path / "a.pt", Writes())
    assert not list(tmp_path.iterdir())


def test_every_operator_that_names_a_file_is_forbidden():
    """Of the torch that is installed: a new one would be found here."""
    known = {"einsum", "_linalg_check_errors"}  # a path of contractions; the name of a function
    for schema in torch._C._jit_get_all_schemas():
        namespace, _, name = schema.name.partition("::")
        if namespace in model_code.NAMESPACES and name not in known:
            arguments = [
                argument.name for argument in schema.arguments if argument.name != "names"
            ]  # of axes
            named = any(re.search("file|path|name|address|url", argument) for argument in arguments)
            assert not named or name in model_code.FORBIDDEN, str(schema)
            assert "rpc" not in name or name in model_code.FORBIDDEN, str(schema)


def test_pickles_hold_no_classes_of_libtorch():
    for content in (b"c__torch__.torch.classes.c10d\nWork\n", b"c__torch__.torch\nclasses.c10d.Work\n"):
        with pytest.raises(ModelFileError, match="an object of `torch.classes`"):
            model_code.check_code({"data.pkl": content})


def test_words_that_only_look_like_it_are_allowed():
    text = (
        'saved = self.from_files\nx = getattr(self.layers, "0")\ny = ops.prim.NumToTensor(x)\nself.ops.add\n'
    )
    model_code.check_code({"code/a.py": text.encode(), "data/0": b"torch.classes"})


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_potentials_only_compute(name):
    members = archive.strip(find_model(name).read_bytes())
    model_code.check_code({key: content for key, (content, _) in members.items()})
