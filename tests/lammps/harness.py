"""Runs LAMMPS on a structure and gives back what it computed, to be compared with the ASE calculator.

Everything is compared on the positions that LAMMPS itself writes, in its frame: the energy of an
unconstrained network depends on the frame.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

# Constants of LAMMPS' update.cpp and force.cpp, so that conversions cost no digits.
PRESSURE = {"metal": 1.6021765e6, "real": 68568.415}  # nktv2p: energy/Å^3 to bar or atm
ENERGY = {"metal": 1.0, "real": 23.060549}  # per eV, as `pair_style` converts
COLUMNS = {
    "atomic": "{id} {type} {x}",
    "charge": "{id} {type} {q} {x}",
    "molecular": "{id} 1 {type} {x}",
    "full": "{id} 1 {type} {q} {x}",
}
VIRIAL = " ".join(f"c_virial[{k}]" for k in range(1, 7))


# ---- running -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Output:
    """How a process ended and what it wrote."""

    status: int
    text: str  # standard output and error
    folder: Path

    @property
    def errors(self) -> list[str]:
        """LAMMPS' error messages, each as one line, of which ranks may have written several."""
        return [" ".join(found.split()) for found in re.findall(r"^ERROR.*", self.text, re.MULTILINE)]


@dataclass(frozen=True)
class Lammps:
    """The installed program, started without its Python wrapper, with the plugin of this checkout."""

    program: str
    mpirun: str | None
    environment: dict[str, str]

    def start(
        self,
        script: str,
        folder: Path,
        ranks: int = 1,
        arguments: Sequence[str] = (),
        timeout: float = 300.0,
        environment: dict[str, str] | None = None,
    ) -> Output:
        """Run ``script`` in ``folder``. A run that does not end in ``timeout`` seconds is an error."""
        (folder / "in.lammps").write_text(script)
        launcher = [self.mpirun, "-np", str(ranks)] if ranks > 1 else []
        command = [*launcher, self.program, "-in", "in.lammps", *arguments]
        variables = {**self.environment, **(environment or {})}
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
            raise AssertionError(f"LAMMPS still ran after {timeout} s:\n{text[-3000:]}") from None
        return Output(process.returncode, text, folder)

    def run(self, script: str, folder: Path, **options) -> Output:
        """As :meth:`start`, but the run has to succeed."""
        output = self.start(script, folder, **options)
        assert output.status == 0, f"exit status {output.status}\n{script}\n{output.text[-5000:]}"
        return output


# ---- input ---------------------------------------------------------------------------------------


def in_lammps_frame(atoms: Atoms) -> Atoms:
    """The structure rotated so that its cell is lower triangular with a positive diagonal."""
    cell, rotation = atoms.cell.standard_form()
    rotated = atoms.copy()
    rotated.set_cell(cell)
    rotated.positions = atoms.positions @ rotation.T
    return rotated


def write_data(
    path: Path,
    atoms: Atoms,
    elements: Sequence[str],
    atom_style: str = "atomic",
    ids: Sequence[int] | None = None,
    bonds: Sequence[tuple[int, int]] = (),
    general: bool = False,
    triclinic: bool = False,
) -> None:
    """LAMMPS' data file of a structure in LAMMPS' frame, or in any with ``general``.

    ``elements`` are those of the types in order; ``bonds`` pairs of indices; ``ids`` of the atoms.
    """
    ids = list(range(1, len(atoms) + 1)) if ids is None else list(ids)
    cell = np.asarray(atoms.cell)
    lines = ["structure of a test", "", f"{len(atoms)} atoms", f"{len(elements)} atom types"]
    if bonds:
        lines += [f"{len(bonds)} bonds", "1 bond types"]
    if general:
        lines += [" ".join(map(_number, row)) + f" {name}vec" for row, name in zip(cell, "abc", strict=True)]
        lines += ["0 0 0 abc origin"]
    else:
        assert np.abs(np.triu(cell, 1)).max() < 1e-12, "rotate the structure into LAMMPS' frame first"
        lines += [f"0 {_number(cell[k, k])} {axis}lo {axis}hi" for k, axis in enumerate("xyz")]
        if triclinic or np.abs(np.tril(cell, -1)).max() > 1e-12:
            lines += [" ".join(map(_number, (cell[1, 0], cell[2, 0], cell[2, 1]))) + " xy xz yz"]
    lines += ["", f"Atoms # {atom_style}", ""]
    for number, symbol, position in zip(ids, atoms.symbols, atoms.positions, strict=True):
        values = {"id": number, "type": elements.index(symbol) + 1, "q": 0.5 - elements.index(symbol)}
        lines.append(COLUMNS[atom_style].format(x=" ".join(map(_number, position)), **values))
    if bonds:
        lines += ["", "Bonds", ""]
        lines += [f"{k} 1 {ids[i]} {ids[j]}" for k, (i, j) in enumerate(bonds, start=1)]
    path.write_text("\n".join(lines) + "\n")


def _number(value: float) -> str:
    return f"{value:.17g}"


@dataclass
class Case:
    """An input file in parts; each test changes the parts it is about."""

    atoms: Atoms
    pair: str = ""  # lines with pair_style and pair_coeff
    commands: str = "run 0"
    before: str = ""  # lines before the box: newton, processors, comm_style
    middle: str = ""  # lines between the box and the pair style
    fixes: str = ""  # lines after the pair style and before the output is defined
    units: str = "metal"
    atom_style: str = "atomic"
    elements: list[str] = field(default_factory=list)
    ids: Sequence[int] | None = None
    bonds: Sequence[tuple[int, int]] = ()
    every: int = 1
    general: bool = False
    triclinic: bool = False
    per_atom: bool = True  # per-atom energies too

    def __post_init__(self) -> None:
        self.elements = self.elements or sorted(set(self.atoms.symbols))

    def script(self) -> str:
        bonded = "bond_style zero\nbond_coeff *\n" if self.bonds else ""
        return (
            f"units {self.units}\natom_style {self.atom_style}\n{self._boundary()}\n{self.before}\n"
            f"read_data structure.data{' ' if self.bonds else ''}\n{bonded}{masses(self.elements)}"
            f"{self.middle}\n{self.pair}\n{self.fixes}\n{self.output()}\n{self.commands}\n"
        )

    def output(self) -> str:
        """Commands that write what :func:`read_frames` reads."""
        return (
            ("compute energies all pe/atom\n" if self.per_atom else "")
            + "compute virial all pressure NULL virial\n"
            f"thermo {self.every}\nthermo_style custom step pe vol {VIRIAL}\n"
            f"thermo_modify format float %.17g norm no flush yes\n{self._dump()}"
        )

    def go_on_at(self, step: int) -> str:
        """Commands after which steps count from ``step``, and frames come behind those of before."""
        return f"undump frames\nreset_timestep {step}\n{self._dump()} append yes"

    def _dump(self) -> str:
        general = " triclinic/general yes" if self.general else ""
        order = "" if "id no" in self.before else " sort id"
        energies = " c_energies" if self.per_atom else ""
        return (
            f"dump frames all custom {self.every} frames.dump type x y z fx fy fz{energies}\n"
            f"dump_modify frames format float %.17g{order}{general}"
        )

    def write(self, folder: Path) -> None:
        write_data(
            folder / "structure.data",
            self.atoms,
            self.elements,
            self.atom_style,
            self.ids,
            self.bonds,
            self.general,
            self.triclinic,
        )

    def _boundary(self) -> str:
        return "boundary " + " ".join("p" if periodic else "f" for periodic in self.atoms.pbc)


def masses(elements: Sequence[str]) -> str:
    from ase.data import atomic_masses, atomic_numbers

    return "".join(f"mass {k} {atomic_masses[atomic_numbers[s]]}\n" for k, s in enumerate(elements, start=1))


# ---- output --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """What LAMMPS computed at one step: eV, eV/Å; the virial [3, 3] in eV has LAMMPS' sign."""

    step: int
    atoms: Atoms
    energy: float
    forces: np.ndarray
    virial: np.ndarray
    energies: np.ndarray | None


def read_frames(
    case: Case, output: Output, dump: str = "frames.dump", log: str = "log.lammps"
) -> list[Frame]:
    thermo = read_thermo((output.folder / log).read_text())
    frames = []
    for step, atoms, columns in read_dump(output.folder / dump, case.elements):
        if step not in thermo:
            continue
        energy, volume, *pressure = thermo[step]
        unit = ENERGY[case.units]
        xx, yy, zz, xy, xz, yz = np.array(pressure) * volume / PRESSURE[case.units] / unit
        virial = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        if case.general:  # LAMMPS writes pressures in its own frame always
            _, rotation = atoms.cell.standard_form()
            virial = rotation.T @ virial @ rotation
        energies = columns[:, 3] / unit if columns.shape[1] > 3 else None
        frames.append(Frame(step, atoms, energy / unit, columns[:, :3] / unit, virial, energies))
    return frames


def read_thermo(log: str) -> dict[int, list[float]]:
    """Numbers of the thermo tables by step; a later line of the same step wins."""
    lines, table = {}, False
    for line in log.splitlines():
        words = line.split()
        if words[:2] == ["Step", "PotEng"]:
            table, width = True, len(words)
        elif line.startswith("Loop time"):
            table = False
        elif table and len(words) == width and re.fullmatch(r"\d+", words[0]):
            lines[int(words[0])] = [float(word) for word in words[1:]]
    return lines


def read_dump(path: Path, elements: Sequence[str]):
    """Step, structure and further columns [N, ...] of every frame of a dump with type, x, y, z, more."""
    lines = iter(path.read_text().splitlines())
    for line in lines:
        if not line.startswith("ITEM: TIMESTEP"):
            raise ValueError(f"`{path.name}`: expected `ITEM: TIMESTEP`, got `{line}`")
        step = int(next(lines))
        next(lines)
        count = int(next(lines))
        cell, origin, pbc = _read_box(next(lines), [next(lines).split() for _ in range(3)])
        next(lines)
        rows = np.array([next(lines).split() for _ in range(count)], dtype=float).reshape(count, -1)
        symbols = [elements[int(kind) - 1] for kind in rows[:, 0]] if count else []
        positions = rows[:, 1:4] - origin if count else np.zeros((0, 3))
        yield step, Atoms(symbols, positions=positions, cell=cell, pbc=pbc), rows[:, 4:]


def _read_box(header: str, rows: list[list[str]]):
    """Cell, origin and periodicity of the three forms in which LAMMPS writes a box."""
    pbc = [word[0] == "p" for word in header.split()[-3:]]
    values = np.array(rows, dtype=float)
    if "abc origin" in header:
        return values[:, :3], values[:, 3], pbc
    low, high = values[:, 0], values[:, 1]
    xy, xz, yz = values[:, 2] if values.shape[1] > 2 else (0.0, 0.0, 0.0)
    # with tilts the bounds are those of the box around the tilted one
    low = low - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = high - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    lengths = high - low
    return np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]]), low, pbc


# ---- comparing -----------------------------------------------------------------------------------


def expected_frame(frame: Frame, calculator, only: Sequence[str] | None = None) -> Frame:
    """The calculator's numbers on the positions of a frame; ``only``: elements it sees, others get zeros."""
    seen = np.array([only is None or symbol in only for symbol in frame.atoms.symbols], dtype=bool)
    atoms = frame.atoms[seen]
    names = ("energy", "energies", "forces", "stress")
    results = calculator.evaluate([atoms], names)[0]
    forces, energies = np.zeros((len(seen), 3)), np.zeros(len(seen))
    forces[seen], energies[seen] = results["forces"], results["energies"]
    xx, yy, zz, yz, xz, xy = -results["stress"] * atoms.get_volume()
    virial = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return Frame(frame.step, frame.atoms, results["energy"], forces, virial, energies)


def assert_same(frame: Frame, expected: Frame, relative=1e-9, forces=1e-8, virial=1e-8) -> None:
    """Energy relative, forces in eV/Å, virial in eV; per-atom energies as the energy."""
    where = f"step {frame.step}"
    np.testing.assert_allclose(frame.energy, expected.energy, rtol=relative, err_msg=f"energy, {where}")
    if frame.energies is not None:
        scale = max(1.0, np.abs(expected.energies).max())
        message = f"per-atom energies, {where}"
        np.testing.assert_allclose(
            frame.energies, expected.energies, atol=relative * scale, rtol=0, err_msg=message
        )
    np.testing.assert_allclose(frame.forces, expected.forces, atol=forces, rtol=0, err_msg=f"forces, {where}")
    np.testing.assert_allclose(frame.virial, expected.virial, atol=virial, rtol=0, err_msg=f"virial, {where}")


def check_case(
    lammps: Lammps, case: Case, folder: Path, calculator, only: Sequence[str] | None = None, **options
) -> list[Frame]:
    """Run a case, compare every frame it wrote with the calculator, return the frames."""
    case.write(folder)
    frames = read_frames(case, lammps.run(case.script(), folder, **options))
    assert frames, "no frame was written"
    for frame in frames:
        assert_same(frame, expected_frame(frame, calculator, only))
    return frames
