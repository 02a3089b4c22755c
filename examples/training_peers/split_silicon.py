"""Split mlearn's silicon as the recipes of pet-si and snnp-si do, for trainers of other programs.

    python split_silicon.py DATA/mlearn/Si_training.xyz OUT

writes ``OUT/train.xyz`` and ``OUT/validation.xyz``: 193 and 21 frames, the latter a tenth of every group.
"""

import argparse
from pathlib import Path

from ase.io import write

from ase_mlip.data.training_data import DataConfig, load_data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("training", type=Path, help="Si_training.xyz of mlearn")
    parser.add_argument("output", type=Path, help="a folder, made if it does not exist")
    arguments = parser.parse_args()
    config = DataConfig(train=str(arguments.training), split_seed=1, group_key="group")
    split = load_data(config)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in ("train", "validation"):
        frames = [sample.to_atoms() for sample in getattr(split, name)]
        write(arguments.output / f"{name}.xyz", frames, format="extxyz")
        print(f"{arguments.output / name}.xyz: {len(frames)} structures")


if __name__ == "__main__":
    main()
