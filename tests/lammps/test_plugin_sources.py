"""The folders of ``lammps_plugin/``: what each may include, and which library its sources belong to."""

import re

import pytest

from ase_mlip.building import _build
from ase_mlip.lammps import _build_lammps

SOURCES = _build.source_folder("lammps_plugin")
MOST_MODULES = 12  # of a folder; a header and its source are one


def read_layers() -> dict[str, int]:
    """The layer of each folder, from the table in CONTRIBUTING.md."""
    text = (SOURCES.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return {name: int(layer) for name, layer in re.findall(r"^\| `(\w+)/` \| (\d) \|", text, re.MULTILINE)}


LAYERS = read_layers()


def files_of(folder: str) -> list:
    return sorted(path for path in (SOURCES / folder).iterdir() if path.suffix in (".h", ".cpp"))


def included_by(path) -> list[str]:
    return re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_table_lists_the_folders_that_there_are():
    assert LAYERS.keys() == {path.name for path in SOURCES.iterdir() if path.is_dir()}
    assert not [path.name for path in SOURCES.iterdir() if path.suffix in (".h", ".cpp")]


@pytest.mark.parametrize("folder", LAYERS)
def test_a_folder_includes_what_is_below_it(folder):
    for path in files_of(folder):
        others = {name.split("/")[1] for name in included_by(path) if re.match(r"\.\./\w+/", name)}
        assert all(LAYERS[other] < LAYERS[folder] for other in others), (path.name, others)


@pytest.mark.parametrize("folder", LAYERS)
def test_a_folder_is_small_enough_to_be_read(folder):
    assert len({path.stem for path in files_of(folder)}) <= MOST_MODULES


WAYS = (
    "network/network_evaluation", "network/direct_forces", "network/respa_levels",
    "native_snnp/native_evaluation", "spread/spread", "extrapolation/extrapolation_watch",
    "leverage/leverage_watch",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_done_in_a_step_knows_nothing_of_the_rest(way):
    included = {name for ending in ("h", "cpp") for name in included_by(SOURCES / f"{way}.{ending}")}
    others = {f"{other.split('/')[1]}.h" for other in (*WAYS, "pair_style/pair_mlip") if other != way}
    assert not others & {name.rpartition("/")[2] for name in included}


@pytest.mark.parametrize("folder", sorted({way.partition("/")[0] for way in WAYS}))
def test_nor_does_its_folder(folder):
    """Beyond the objects that a step is made of: not even their parts."""
    included = {name for path in files_of(folder) for name in included_by(path)}
    others = {way.partition("/")[0] for way in WAYS} - {folder}
    assert not others & {name.split("/")[1] for name in included if name.startswith("../")}


def test_every_source_belongs_to_one_side():
    lammps_side, torch_side = _build_lammps.split_sources(SOURCES)
    assert sorted([*lammps_side, *torch_side]) == sorted(SOURCES.rglob("*.cpp"))
    assert not {path.parent for path in lammps_side} & {path.parent for path in torch_side}
    for path in lammps_side:
        assert "#include <torch/" not in path.read_text(), path.name
    for path in torch_side:
        assert "mpi.h" not in path.read_text(), path.name


def test_objects_of_one_build_have_different_names(fake_installation):
    from fake_lammps import calls, found

    _build_lammps.find_or_build(found())
    objects = [line.split()[-1] for line in calls(fake_installation) if " -c " in line]
    assert len(objects) > 20
    assert len(set(objects)) == len(objects)
