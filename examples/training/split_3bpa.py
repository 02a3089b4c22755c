"""Label the mixed-temperature frames of 3BPA by temperature and leave out those of the 300 K training file.

    python split_3bpa.py ../../../shared/data/3bpa OUT.xyz

``train_mixedT.xyz`` does not say which frame has which temperature, but it is ordered in blocks: the energy
jumps by 1.2 eV from frame 166 to 167 and by 2.1 eV from 333 to 334. 31 frames of the first block are also in
``train_300K.xyz``, to the last digit. The temperature becomes ``info["group"]``.
"""

import argparse
from pathlib import Path

import numpy as np
from ase.io import read, write

BLOCKS = {"300K": range(0, 167), "600K": range(167, 334), "1200K": range(334, 500)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds train_300K.xyz and train_mixedT.xyz")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    frames = read(arguments.folder / "train_mixedT.xyz", ":")
    training = {frame.positions.tobytes() for frame in read(arguments.folder / "train_300K.xyz", ":")}
    kept = []
    for group, block in BLOCKS.items():
        for frame in (frames[index] for index in block):
            frame.info["group"] = group
        new = [frames[index] for index in block if frames[index].positions.tobytes() not in training]
        energies = [frame.get_potential_energy() for frame in new]
        print(f"{group}: {len(new)} of {len(block)} frames kept, mean energy {np.mean(energies):.3f} eV")
        kept += new
    write(arguments.output, kept, format="extxyz")
    print(f"{len(kept)} structures written to {arguments.output}")


if __name__ == "__main__":
    main()
