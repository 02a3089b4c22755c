"""Training data that mean something else than they seem: units, signs, tensors, energies, unread keys.

It also tests `comment_line`, `references`, `units`.
"""

import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress

from ase_mlip.data.frames import numbered_frames
from ase_mlip.data.references import ReferenceKeys
from ase_mlip.data.training_data import DataConfig, load_data
from ase_mlip.errors import DataError

VASP_ORDER = [0, 1, 2, 5, 3, 4]  # of ASE's xx yy zz yz xz xy: xx yy zz xy yz zx


def strained(n=8, seed=0) -> list[Atoms]:
    """Copper strained at random, up to 4 %, with EMT's energies, forces and stresses."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        strain = rng.uniform(-0.04, 0.04, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        emt = atoms.copy()
        emt.calc = EMT()
        results = {key: emt.calc.get_property(key, emt) for key in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def as_text(frames, **entries) -> str:
    """Extended XYZ by hand; an entry is a function of the frame that gives numbers."""
    lines = []
    for atoms in frames:
        cell = " ".join(map(repr, atoms.cell.array.ravel().tolist()))
        given = {"energy": lambda atoms: [atoms.calc.results["energy"]], **entries}
        words = [f'{key}="{" ".join(map(repr, np.ravel(f(atoms)).tolist()))}"' for key, f in given.items()]
        lines += [
            str(len(atoms)),
            f'Lattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 {" ".join(words)}',
        ]
        for symbol, r, f in zip(atoms.symbols, atoms.positions, atoms.calc.results["forces"], strict=True):
            lines.append(f"{symbol} {' '.join(map(repr, [*r.tolist(), *f.tolist()]))}")
    return "\n".join(lines) + "\n"


def load(tmp_path, text: str, **config):
    (tmp_path / "a.xyz").write_text(text)
    return load_data(DataConfig(train="a.xyz", validation_fraction=0.2, **config), tmp_path)


def check_stresses(split, frames):
    for sample in split.train + split.validation:
        frame = frames[int(sample.source.split()[-1])]
        np.testing.assert_allclose(sample.stress, frame.get_stress(voigt=False), atol=1e-9)


# units, sign and order of a stress


@pytest.mark.parametrize("sign", ["ase", "vasp"])
@pytest.mark.parametrize(("unit", "size"), [("GPa", units.GPa), ("kbar", units.GPa / 10), ("eV/Å^3", 1.0)])
@pytest.mark.parametrize("numbers", ["6 ase", "6 vasp", 9])
def test_a_stress_of_any_unit_sign_and_form_is_that_of_the_calculator(tmp_path, unit, size, sign, numbers):
    """Warnings are errors: strained frames whose energies follow from their stresses cause none."""
    frames = strained()

    def entry(atoms):
        stress = atoms.calc.results["stress"] / size * (1 if sign == "ase" else -1)
        if numbers == 9:
            return stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
        return stress[VASP_ORDER] if numbers == "6 vasp" else stress

    order = "vasp" if numbers == "6 vasp" else "ase"
    settings = {"units": {"stress": unit}, "stress_sign": sign, "stress_order": order}
    check_stresses(load(tmp_path, as_text(frames, stress=entry), **settings), frames)
    text = as_text(frames, dft_stress=entry)  # under another key, which ASE does not know
    check_stresses(load(tmp_path, text, stress_key="dft_stress", **settings), frames)


@pytest.mark.parametrize("sign", ["ase", "vasp"])
@pytest.mark.parametrize("count", [6, 9])
def test_a_virial_is_minus_volume_times_stress(tmp_path, sign, count):
    frames = strained()

    def entry(atoms):
        virial = -atoms.get_volume() * atoms.calc.results["stress"] * (1 if sign == "ase" else -1)
        return virial if count == 6 else virial[[0, 5, 4, 5, 1, 3, 4, 3, 2]]

    text = as_text(frames, virial=entry)
    check_stresses(load(tmp_path, text, virial_key="virial", stress_sign=sign), frames)


def test_nine_numbers_keep_their_symmetric_part(tmp_path):
    """ASE's reader takes the upper triangle alone."""
    frames = strained()
    rng = np.random.default_rng(1)
    twists = [rng.uniform(-0.1, 0.1, (3, 3)) for _ in frames]
    places = {id(frame): twist - twist.T for frame, twist in zip(frames, twists, strict=True)}
    text = as_text(frames, stress=lambda atoms: atoms.get_stress(voigt=False) + places[id(atoms)])
    check_stresses(load(tmp_path, text), frames)
    for (_, read), frame in zip(
        numbered_frames("a.xyz", tmp_path), frames, strict=True
    ):  # of `evaluate`, too
        np.testing.assert_allclose(read.get_stress(), frame.get_stress(), atol=1e-9)


@pytest.mark.parametrize("unit", ["GPa", "kbar"])
def test_stresses_that_cannot_be_in_ev_per_cubic_angstrom_are_refused(tmp_path, unit):
    size = units.GPa / (10 if unit == "kbar" else 1)
    frames = strained()
    largest = max(range(8), key=lambda k: abs(frames[k].calc.results["stress"]).max())
    text = as_text(frames, stress=lambda atoms: atoms.calc.results["stress"] / size)
    with pytest.raises(DataError) as caught:
        load(tmp_path, text)
    number = abs(frames[largest].calc.results["stress"]).max() / size
    for part in (f"`a.xyz`, frame {largest}:", f"{number:.4g} eV/Å^3", 'stress = "GPa"', '"kbar"'):
        assert part in str(caught.value)


def test_an_extreme_pressure_is_read_where_its_unit_is_named(tmp_path):
    frames = strained()
    for frame in frames:
        frame.calc.results["stress"] *= 0
        frame.calc.results["stress"][:3] = -2.0  # 320 GPa
    text = as_text(frames, stress=lambda atoms: atoms.calc.results["stress"])
    with pytest.raises(DataError, match=re.escape('`units = { stress = "eV/Å^3" }`')):
        load(tmp_path, text)
    with pytest.warns(RuntimeWarning, match="contradict"):  # EMT's energies are others
        split = load(tmp_path, text, units={"stress": "eV/Å^3"})
    assert split.train[0].stress[0, 0] == -2.0


@pytest.mark.parametrize(
    ("factor", "advice"),
    [
        (-1.0, 'write `stress_sign = "vasp"`'),
        (1 / units.GPa, 'write `units = { stress = "GPa" }` and `stress_sign = "ase"`'),
        (-10 / units.GPa, 'write `units = { stress = "kbar" }` and `stress_sign = "vasp"`'),
    ],
)
def test_stresses_that_contradict_energies_of_strained_frames_are_warned_of(tmp_path, factor, advice):
    """A tenth of the strain, so that the magnitude alone would pass."""
    frames = strained()
    for frame in frames:
        cell = bulk("Cu", cubic=True).cell.array
        frame.set_cell(cell + 0.02 * (frame.cell.array - cell), scale_atoms=True)
        emt = frame.copy()
        emt.calc = EMT()
        frame.calc = SinglePointCalculator(
            frame,
            energy=emt.get_potential_energy(),
            forces=emt.get_forces(),
            stress=factor * emt.get_stress(),
        )
        frame.calc.results["stress"] -= factor * np.array([1, 1, 1, 0, 0, 0]) * 0.001  # not at equilibrium
        frame.calc.results["energy"] -= 0.001 * frame.get_volume()
    text = as_text(frames, stress=lambda atoms: atoms.calc.results["stress"])
    with pytest.warns(RuntimeWarning, match="28 pairs of frames differ by a strain alone") as caught:
        load(tmp_path, text, **({"units": {"stress": "eV/Å^3"}} if abs(factor) > 100 else {}))
    assert advice in str(caught[0].message)


def displaced(n=6) -> list[Atoms]:
    """Copper with small displacements: energies follow from forces to the third order."""
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.03, seed=seed)
        emt = atoms.copy()
        emt.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=emt.get_potential_energy(), forces=emt.get_forces())
        frames.append(atoms)
    return frames


@pytest.mark.parametrize(
    ("energy", "forces", "message"),
    [
        (1 / units.Hartree, 1.0, "differ by 0.036"),
        (1 / units.Hartree, units.Bohr / units.Hartree, r"differ by 1\.[89]"),
        (1.0, -1.0, "their sign is that of gradients"),
    ],
)
def test_forces_that_contradict_energies_are_warned_of(tmp_path, energy, forces, message):
    """All in Hartree, or in Hartree and Hartree/Bohr, or gradients: no frame differs from the others."""
    frames = displaced()
    for frame in frames:
        frame.calc.results["energy"] *= energy
        frame.calc.results["forces"] *= forces
    write(tmp_path / "b.xyz", frames)
    with pytest.warns(RuntimeWarning, match=f"forces contradict energies: 15 pairs .*{message}") as caught:
        load_data(DataConfig(train="b.xyz"), tmp_path)
    assert len(caught) == 1


def test_displaced_frames_cause_no_warning(tmp_path):
    write(tmp_path / "b.xyz", displaced())
    assert load_data(DataConfig(train="b.xyz"), tmp_path).train


def test_strained_frames_on_disk_cause_no_warning(tmp_path):
    frames = strained()
    text = as_text(frames, stress=lambda atoms: full_3x3_to_voigt_6_stress(atoms.get_stress(voigt=False)))
    assert load(tmp_path, text).description["references"] == ["energy", "forces", "stress"]


# which energy


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
 <atominfo><atoms>2</atoms><array name="atoms"><set>
  <rc><c>Cu</c><c>1</c></rc><rc><c>Cu</c><c>1</c></rc></set></array></atominfo>
 <structure name="initialpos">{structure}</structure>
 <calculation>
  <scstep><energy><i name="e_fr_energy">{free}</i><i name="e_wo_entrp">-7.0</i>
   <i name="e_0_energy">{zero}</i></energy></scstep>
  <structure>{structure}</structure>
  <varray name="forces"><v>0.1 0.0 -2.5</v><v>-0.1 0.0 2.5</v></varray>
  <varray name="stress"><v>50.0 0.0 1.0</v><v>0.0 20.0 0.0</v><v>1.0 0.0 30.0</v></varray>
  <energy><i name="e_fr_energy">{free}</i><i name="e_wo_entrp">-7.0</i><i name="e_0_energy">0.0</i></energy>
 </calculation>
</modeling>
"""
STRUCTURE = """<crystal><varray name="basis"><v>3.6 0 0</v><v>0 3.6 0</v><v>0 0 4.0</v></varray></crystal>
<varray name="positions"><v>0 0 0</v><v>0.5 0.5 {z}</v></varray>"""


@pytest.fixture
def vaspruns(tmp_path):
    names = []
    for k in range(3):
        text = VASPRUN.format(
            structure=STRUCTURE.format(z=0.45 + 0.01 * k), free=-7.5 - 0.1 * k, zero=-7.48 - 0.1 * k
        )  # 2.5 eV/Å times 0.04 Å
        (tmp_path / f"vasprun-{k}.xml").write_text(text)
        names.append(f"vasprun-{k}.xml")
    return names


def test_vasprun_gives_the_energy_at_zero_broadening_and_says_that_forces_belong_to_the_other(
    tmp_path, vaspruns
):
    with pytest.warns(RuntimeWarning, match=r"3 of 3 frames hold a free energy.* by 10 meV/atom"):
        split = load_data(DataConfig(train=vaspruns), tmp_path)
    every = sorted(sample.energy for sample in split.train + split.validation)
    assert every == pytest.approx([-7.68, -7.58, -7.48])
    # VASP's kbar with the sign of a pressure; ASE converts both
    expected = -np.array([[50.0, 0, 1], [0, 20, 0], [1, 0, 30]]) * 0.1 * units.GPa
    np.testing.assert_allclose(split.train[0].stress, expected, rtol=1e-6)


def test_the_free_energy_is_a_key(tmp_path, vaspruns):
    split = load_data(DataConfig(train=vaspruns, energy_key="free_energy"), tmp_path)
    assert sorted(s.energy for s in split.train + split.validation) == pytest.approx([-7.7, -7.6, -7.5])
    assert split.description["keys"]["energy"] == "free_energy"


def test_an_equal_free_energy_is_no_matter(tmp_path):
    """ASE's own calculators store it beside the energy."""
    frames = strained(4)
    for frame in frames:
        frame.calc.results["free_energy"] = frame.calc.results["energy"]
    write(tmp_path / "b.xyz", frames)
    assert load_data(DataConfig(train="b.xyz"), tmp_path).train


# what nothing reads, and what cannot be


@pytest.mark.parametrize("name", ["virial", "virials", "REF_energy", "REF_forces", "REF_virial"])
def test_reference_data_that_nothing_reads_are_named(tmp_path, name):
    frames = strained(4)
    for frame in frames[1:]:
        if name == "REF_forces":
            frame.arrays[name] = frame.get_forces()
        else:
            virial = -frame.get_volume() * frame.get_stress(voigt=False)
            frame.info[name] = virial if "virial" in name else -3.0
        del frame.calc.results["stress"]
    del frames[0].calc.results["stress"]
    write(tmp_path / "b.xyz", frames)
    with pytest.warns(
        RuntimeWarning, match=rf"nothing reads `{name}` in 3 frames \(first: `b.xyz`, frame 1\)"
    ):
        load_data(DataConfig(train="b.xyz"), tmp_path)
    assert load_data(DataConfig(train="b.xyz@1:", **{
        "virial": {"virial_key": "virial"}, "virials": {"virial_key": "virials"},
        "REF_energy": {"energy_key": "REF_energy"}, "REF_forces": {"forces_key": "REF_forces"},
        "REF_virial": {"virial_key": "REF_virial"},
    }[name]), tmp_path).train  # fmt: skip


def test_a_virial_beside_a_stress_is_no_matter(tmp_path):
    frames = strained(4)
    for frame in frames:
        frame.info["virial"] = np.eye(3)
    write(tmp_path / "b.xyz", frames)
    assert load_data(DataConfig(train="b.xyz"), tmp_path).train


def test_atoms_without_an_element_are_refused_at_reading(tmp_path):
    frames = strained(3)
    frames[2].numbers[1] = frames[2].calc.atoms.numbers[1] = 0
    write(tmp_path / "b.xyz", frames)
    with pytest.raises(DataError, match=r"`b.xyz`, frame 2: expected elements, got X .* first atom 1"):
        load_data(DataConfig(train="b.xyz"), tmp_path)


@pytest.mark.parametrize(("unit", "size"), [("Hartree", units.Hartree), ("kcal/mol", units.kcal / units.mol)])
def test_frames_in_another_unit_are_warned_of_with_their_index(tmp_path, unit, size):
    frames = strained(10)
    for index, frame in enumerate(frames):
        frame.calc.results["energy"] -= 3.5 * len(frame)  # EMT's zero is the crystal
        if index in (3, 7):
            frame.calc.results["energy"] /= size
    for frame in frames:
        del frame.calc.results["stress"]
    write(tmp_path / "b.xyz", frames)
    pattern = rf"`b.xyz`, frame 3 .*`b.xyz`, frame 7 .* would fit the others if in {unit}"
    with pytest.warns(RuntimeWarning, match=pattern) as caught:
        load_data(DataConfig(train="b.xyz"), tmp_path)
    assert len(caught) == 1 and "frame 4" not in str(caught[0].message)


def test_absurd_forces_and_energies_are_warned_of_with_their_index(tmp_path):
    frames = strained(6)
    frames[4].calc.results["forces"][2] = [300.0, 0.0, 400.0]
    frames[1].calc.results["energy"] += 400.0
    for frame in frames:
        del frame.calc.results["stress"]
    write(tmp_path / "b.xyz", frames)
    with pytest.warns(RuntimeWarning) as caught:
        load_data(DataConfig(train="b.xyz"), tmp_path)
    messages = sorted(str(warning.message) for warning in caught)
    assert re.match(r"energies: `b.xyz`, frame 1 \(100 eV/atom\) from what", messages[0])
    assert messages[1].startswith("forces: `b.xyz`, frame 4 (500 eV/Å), above 100;") and len(messages) == 2


def test_an_isolated_atom_and_a_molecule_are_no_outliers(tmp_path):
    """Energies of atoms alone lie eV above those of bound ones, and belong in many data sets."""
    frames = strained(6)
    for frame in frames:
        frame.calc.results["energy"] -= 3.5 * len(frame)
        del frame.calc.results["stress"]
    alone = Atoms("Cu", cell=[9, 9, 9], pbc=True)
    alone.calc = SinglePointCalculator(alone, energy=-0.2, forces=np.zeros((1, 3)))
    pair = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.3]], cell=[9, 9, 9], pbc=True)
    pair.calc = SinglePointCalculator(pair, energy=-2.4, forces=np.zeros((2, 3)))
    write(tmp_path / "b.xyz", [*frames, alone, pair])
    assert load_data(DataConfig(train="b.xyz"), tmp_path).train


def test_the_scale_of_a_stress_follows_from_units_unless_named():
    hartree = ReferenceKeys(units={"energy": "Hartree", "length": "Bohr"})
    assert hartree.stress_scale() == pytest.approx(29421.02648438959 * units.GPa, rel=1e-6)  # CODATA
    assert ReferenceKeys(units={"energy": "Hartree", "stress": "kbar"}).stress_scale() == 0.1 * units.GPa
