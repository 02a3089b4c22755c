"""Split the 400 frames of DeePMD-kit's water example along time, so that the test set is new to the model.

    python prepare_water.py ../../../shared/data/water/data OUT_FOLDER

The frames of data_0 .. data_3 are one trajectory in shuffled order: the median frame of data_3, the customary
test set, has a frame in data_0 .. data_2 that is only 0.3 Å (root mean square over atoms) away, the nearest
is 0.01 Å away. Errors on such frames flatter a model. Here the order in time is restored first: the oxygen
atoms diffuse, so frames near in time are near in space, and the second eigenvector of the similarity graph's
Laplacian sorts them (spectral seriation: Atkins, Boman, Hendrickson, SIAM J. Comput. 28, 297, 1998).
Contiguous stretches become the three sets, with unused frames between them.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from convert import read_deepmd

SIMILARITY_LENGTH = 0.5  # Å; the longest step between neighbours in time is 0.7 Å
STRETCHES = {"train": slice(0, 272), "validation": slice(280, 312), "test": slice(320, 400)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", type=Path, help="folder with data_0 .. data_3")
    parser.add_argument(
        "output", type=Path, help="folder for water_train.xyz, water_validation.xyz, water_test.xyz"
    )
    arguments = parser.parse_args()
    frames = [frame for system in sorted(arguments.systems.glob("data_*")) for frame in read_deepmd(system)]
    distances = oxygen_distances(frames)
    order = time_order(distances)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, stretch in STRETCHES.items():
        file = arguments.output / f"water_{name}.xyz"
        write(file, [frames[index] for index in order[stretch]], format="extxyz")
        nearest = distances[np.ix_(order[stretch], order[STRETCHES["train"]])]
        closest = "" if name == "train" else f"; nearest training frame {nearest.min():.2f} Å away"
        print(f"{file}: {len(order[stretch])} frames{closest}")


def oxygen_distances(frames: list[Atoms]) -> np.ndarray:
    """Root mean square displacement of the oxygen atoms between any two frames, Å, nearest images: [F, F]."""
    fractional = np.array([frame[frame.numbers == 8].get_scaled_positions(wrap=False) for frame in frames])
    cell = np.array(frames[0].cell)
    rows = []
    for reference in fractional:
        steps = fractional - reference
        vectors = (steps - np.round(steps)) @ cell
        rows.append(np.sqrt(np.mean(np.sum(vectors**2, axis=-1), axis=-1)))
    return np.array(rows)


def time_order(distances: np.ndarray) -> np.ndarray:
    """Frames from one end of the trajectory to the other (which is first is not known): int [F]."""
    similarity = np.exp(-((distances / SIMILARITY_LENGTH) ** 2))
    laplacian = np.diag(similarity.sum(axis=1)) - similarity
    fiedler = np.linalg.eigh(laplacian)[1][:, 1]
    return np.argsort(fiedler * np.sign(fiedler[0]), kind="stable")


if __name__ == "__main__":
    main()
