"""A sample of the training frames in which every part of them is represented."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..crystals import is_whole
from ..data.references import Sample
from ..errors import ArgumentError


def stratified(samples: Sequence[Sample], n: int, seed: int = 0) -> tuple[list[Sample], str]:
    """``n`` of the samples in their order, and a sentence that says how they were chosen.

    The frames are sorted by group, then by number of atoms, then by energy per atom, cut into n strata of
    equal size, and one is drawn from each: every group has its share to within one frame.

    Raises
    ------
    ArgumentError
        n is below two
    """
    if not is_whole(n) or n < 2:
        raise ArgumentError(f"`sample`: expected at least two frames, got {n!r}")
    total = len(samples)
    if n >= total:
        return list(samples), f"all {total} frames were taken: there are no more"
    sizes = [len(sample.atoms) for sample in samples]
    energies = [(sample.energy or 0.0) / size for sample, size in zip(samples, sizes, strict=True)]
    order = sorted(range(total), key=lambda k: (samples[k].group, sizes[k], energies[k], k))
    generator = np.random.default_rng(seed)
    ends = np.arange(n + 1) * total // n
    chosen = sorted(order[int(generator.integers(a, b))] for a, b in zip(ends[:-1], ends[1:], strict=True))
    groups = len({sample.group for sample in samples})
    by = f"of {groups} groups, then of size and energy" if groups > 1 else "of size and energy per atom"
    text = f"{n} of {total} frames were taken, one at random from each of {n} equal strata {by} (seed {seed})"
    return [samples[k] for k in chosen], text


def frame_hash(sample: Sample) -> str:
    """SHA-256 of what the losses depend on: atoms, positions, cell, periodicity and references."""
    atoms = sample.atoms
    digest = hashlib.sha256()
    for values, dtype in (
        (atoms.numbers, np.int64),
        (atoms.positions, np.float64),
        (atoms.cell.array, np.float64),
        (atoms.pbc, np.int64),
        ([sample.energy], np.float64),
        (sample.forces, np.float64),
    ):
        digest.update(np.ascontiguousarray(values, dtype=dtype).tobytes())
    return digest.hexdigest()
