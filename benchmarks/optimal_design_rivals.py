"""Other ways of choosing structures, for the study of optimal design."""

from __future__ import annotations

import sys

import numpy as np
from optimal_design_element import Frames


def stratified(groups: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Random, of every group its share, and at least one while there is room (largest remainders)."""
    generator = np.random.default_rng(seed)
    names = list(dict.fromkeys(groups))
    counts = np.array([(groups == name).sum() for name in names])
    wanted = size * counts / counts.sum()
    taken = np.maximum(np.floor(wanted).astype(int), 1 if size >= len(names) else 0)
    while taken.sum() > size:
        taken[np.argmax(np.where(taken > 1, taken - wanted, -np.inf))] -= 1
    while taken.sum() < size:
        taken[np.argmax(np.where(taken < counts, wanted - taken, -np.inf))] += 1
    chosen = [
        generator.permutation(np.flatnonzero(groups == n))[:k] for n, k in zip(names, taken, strict=True)
    ]
    return np.concatenate(chosen)


def rivals(pool: Frames, size: int) -> dict[str, np.ndarray]:
    """Selections by other packages, where they are installed, and by counting, by name."""
    features = pool.energy[0]
    used = features.std(axis=0) > 0
    scaled = (features[:, used] - features[:, used].mean(axis=0)) / features[:, used].std(axis=0)
    found = {"most extrapolating atoms": counting(pool, size)}
    try:
        from skmatter.sample_selection import CUR, FPS
    except ImportError as missing:
        print(f"farthest points and CUR are left out: {missing}", file=sys.stderr)
    else:
        found["farthest points"] = FPS(n_to_select=size, initialize=0).fit(scaled).selected_idx_
        found["CUR"] = CUR(n_to_select=size).fit(scaled).selected_idx_
    try:
        found["QUESTS"] = quests(pool, size)
    except ImportError as missing:
        print(f"QUESTS is left out: {missing}", file=sys.stderr)
    return found


def quests(pool: Frames, size: int) -> np.ndarray:
    """Maximum set coverage of QUESTS with its default descriptors and bandwidth.

    Schwalbe-Koda et al., Nature Communications 16, 4014 (2025).
    """
    from quests.compression.fps import fps
    from quests.descriptor import get_descriptors
    from quests.entropy import entropy

    descriptors = [get_descriptors([atoms]) for atoms in pool.atoms]
    entropies = np.array([entropy(values) for values in descriptors])
    return np.array(fps(descriptors, entropies, size, method="msc"))


def counting(pool: Frames, size: int) -> np.ndarray:
    """Structures with the most atoms whose forces lie outside what was chosen, one after the other.

    In the manner of D-optimal active sets of atoms (Lysogorskiy et al., Phys. Rev. Materials 7, 043801
    (2023)), with force rows instead of per-atom energies: an atom counts where its forces' predicted variance
    exceeds the median of all atoms'.
    """
    blocks = [rows for rows, _ in pool.forces]
    total = sum(block.T @ block for block in blocks)
    diagonal = np.diag(total)
    matrix = np.diag(1e-6 * np.where(diagonal > 0, diagonal, diagonal.max()))
    free, chosen = set(range(len(blocks))), []
    for _ in range(size):
        inverse = np.linalg.inv(matrix)
        variances = {
            k: np.einsum("ij,jk,ik->i", blocks[k], inverse, blocks[k]).reshape(-1, 3).sum(1) for k in free
        }
        limit = np.median(np.concatenate(list(variances.values())))
        best = max(sorted(free), key=lambda k: (variances[k] > limit).sum())
        chosen.append(best)
        free.remove(best)
        matrix = matrix + blocks[best].T @ blocks[best]
    return np.array(chosen)
