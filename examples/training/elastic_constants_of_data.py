"""Elastic constants of a cubic crystal from the stresses of strained frames in a data set.

Run it as ``python elastic_constants_of_data.py FILE... [--group Elastic] [--largest 0.03]``. Frames are
supercells of one conventional cell with atoms at their ideal places, so that the constants are those of
clamped ions; in a Bravais lattice symmetry clamps them anyway. The stress is fitted as σ = σ₀ + C e by least
squares.
"""

import argparse

import numpy as np
from ase import Atoms, units
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress


def strain_and_rotation(cell: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voigt strain (xx, yy, zz, yz, xz, xy; engineering shears) of a cell, [6], and its rotation after it."""
    gradient = np.linalg.solve(reference, cell).T
    left, stretches, right = np.linalg.svd(gradient)
    strain = right.T @ np.diag(stretches) @ right - np.eye(3)
    voigt = [*np.diag(strain), 2 * strain[1, 2], 2 * strain[0, 2], 2 * strain[0, 1]]
    return np.array(voigt), left @ right


def stress_of(atoms: Atoms, rotation: np.ndarray) -> np.ndarray:
    """Stress in the frame before the rotation, GPa, Voigt, [6]."""
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress()) / units.GPa
    return full_3x3_to_voigt_6_stress(rotation.T @ stress @ rotation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--group", default="Elastic", help="value of `group` of the frames to take")
    parser.add_argument("--largest", type=float, default=0.045, help="leave out larger strains")
    options = parser.parse_args()
    frames = [a for file in options.files for a in read(file, ":") if a.info.get("group") == options.group]
    if not frames:
        parser.error(f"no frame of the group {options.group!r} in {', '.join(options.files)}")
    ground = frames[int(np.argmin([np.abs(atoms.get_stress()).max() for atoms in frames]))]
    per_atom = ground.cell.array / len(ground) ** (1 / 3)
    found = [strain_and_rotation(a.cell.array, per_atom * len(a) ** (1 / 3)) for a in frames]
    strains = np.array([strain for strain, _ in found])
    stresses = np.array([stress_of(a, rotation) for a, (_, rotation) in zip(frames, found, strict=True)])

    used = np.abs(strains).max(axis=1) < options.largest
    design = np.column_stack([strains[used], np.ones(used.sum())])
    if np.linalg.matrix_rank(design) < 7:
        parser.error(f"the {used.sum()} frames with smaller strains do not determine C; raise --largest")
    stiffness = np.linalg.lstsq(design, stresses[used], rcond=None)[0][:6]
    c11 = np.diag(stiffness)[:3].mean()
    c12 = stiffness[:3, :3][~np.eye(3, dtype=bool)].mean()
    c44 = np.diag(stiffness)[3:].mean()
    print(f"{used.sum()} of {len(frames)} frames, strains below {options.largest}")
    print(f"C11 {c11:.1f}, C12 {c12:.1f}, C44 {c44:.1f}, bulk modulus {(c11 + 2 * c12) / 3:.1f} GPa")


if __name__ == "__main__":
    main()
