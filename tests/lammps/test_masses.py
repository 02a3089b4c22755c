"""Elements in a wrong order are warned of, since nothing else would say so; isotopes are not."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from harness import Case

from ase_mlip.model_file.model import export_model

PLUGIN = Path(__file__).parents[2] / "lammps_plugin"
WARNING = r"WARNING: pair_style mlip: (.*) \(.*mass_check"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that knows many elements."""
    from networks import Morse

    species = [atomic_numbers[s] for s in ("H", "Li", "Be", "B", "C", "N", "O", "Fe", "Mn", "Cu", "Zn")]
    path = tmp_path_factory.mktemp("masses") / "many.pt"
    document = {"name": "many", "species": species, "cutoff": 3.0, "license": "BSD-3-Clause"}
    document |= {"message_passing_layers": 1, "interaction_range": 3.0, "equivariant": True}
    export_model(Morse(species, 3.0), path, document)
    return path


def warnings_of(lammps, model, folder, elements, masses, commands="run 0", **changes) -> list[str]:
    """``elements`` as in pair_coeff, ``masses`` by type; the warnings about masses."""
    symbols = [element for element in elements for _ in range(2)]
    positions = [[2.0 * k, 0.5, 0.5] for k in range(len(symbols))]
    atoms = Atoms(symbols, positions=positions, cell=[2.0 * len(symbols), 9.0, 9.0], pbc=True)
    case = Case(atoms, elements=list(dict.fromkeys(elements)), per_atom=False, commands=commands, **changes)
    lines = "\n".join(f"mass {k} {mass}" for k, mass in enumerate(masses, start=1))
    case.middle += "\n" + lines
    case.pair = f"pair_style mlip device cpu\npair_coeff * * {model} {' '.join(elements)}"
    case.write(folder)
    lammps.run(case.script(), folder)
    return re.findall(WARNING, " ".join((folder / "log.lammps").read_text().split("\n")))


QUIET = {
    "right": (("H", "O"), (1.008, 15.999)),
    "rounded": (("H", "O"), (1.0, 16.0)),
    "heavy water": (("H", "O"), (2.014, 17.999)),
    "tritium beside lithium": (("H", "Li"), (3.016, 6.015)),
    "repartitioned": (("C", "H"), (5.963, 3.024)),
    "hydrogen of four": (("H", "Li"), (4.0, 6.94)),
    "light isotopes": (("B", "Be", "C", "N"), (10.013, 9.0122, 13.003, 15.0)),
    "isotopes near other elements": (("Fe", "Mn", "Cu", "Zn"), (53.94, 54.938, 63.546, 63.929)),
    "as heavy as an element that is not here": (("H", "Fe"), (12.011, 100.0)),
}
SAID = {
    "swapped": (
        ("H", "O"),
        (15.999, 1.008),
        ["type 1 is H, but its mass 15.999 is that of O", "type 2 is O"],
    ),
    "swapped, rounded": (("O", "H"), (1.0, 16.0), ["type 1 is O, but its mass 1 is that of H"]),
    "one of three": (("H", "C", "N"), (1.008, 14.007, 12.011), ["type 2 is C, but its mass 14.007"]),
    "heavy water, swapped": (("H", "O"), (15.999, 2.014), ["type 1 is H, but its mass 15.999"]),
}


@pytest.mark.parametrize(
    "what",
    [q if q in ("heavy water", "repartitioned") else pytest.param(q, marks=pytest.mark.slow) for q in QUIET],
)
def test_isotopes_are_quiet(lammps, model, tmp_path, what):
    assert warnings_of(lammps, model, tmp_path, *QUIET[what]) == []


@pytest.mark.parametrize(
    "what", [s if s == "swapped" else pytest.param(s, marks=pytest.mark.slow) for s in SAID]
)
def test_the_mass_of_another_element_is_said_once(lammps, model, tmp_path, what):
    elements, masses, texts = SAID[what]
    (found,) = warnings_of(lammps, model, tmp_path, elements, masses, commands="run 0\nrun 0")
    assert all(text in found for text in texts)


def test_masses_of_atoms(parallel, model, tmp_path):
    """Where each atom has its own, the mean of a type's."""
    changes = {"before": "atom_modify map yes\nfix mass all property/atom rmass ghost yes"}
    own = "set type 1 mass 15.999\nset type 2 mass 1.008"
    found = warnings_of(parallel, model, tmp_path, ("H", "O"), (1.008, 15.999), middle=own, **changes)
    assert len(found) == 1 and "type 1 is H, but its mass 15.999 is that of O" in found[0]


def test_the_table_is_that_of_ase():
    text = (PLUGIN / "both_sides" / "elements.h").read_text()
    table = re.search(r"kMasses = \{(.*?)\}", text, re.DOTALL)[1]
    found = np.array([float(number) for number in table.split(",")])
    np.testing.assert_allclose(found[1:], atomic_masses[1:119], rtol=1e-8)
