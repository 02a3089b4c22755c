"""The leverage inside a model file: how far an atom is from what the model was trained on.

With φ the numbers that an atom's energy is made of (the last-layer ``features`` of a network, the
least-squares basis of an s-NNP) and A the information of the training data, the leverage of an atom is

    φᵀ A⁻¹ φ / scale = |W φ|² / scale,          Wᵀ W = A⁻¹,

the posterior variance of its energy in the Gaussian model with these rows (Bigi et al., Mach. Learn. Sci.
Technol. 5, 045018 (2024), for networks), in units of the 99 % quantile of the training atoms, each left out
together with its structure. W lies in the archive, its description in the document, under
``training["leverage"]``; :mod:`ase_mlip.optimal_design.leverage.attach` makes both.
"""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelFileError
from ..provenance import write_atomically
from . import archive
from .document_checks import is_positive
from .info import SCHEMA_VERSION, ModelInfo, parse_document

MEMBER = "extra/ase_mlip_leverage.bin"
VERSION = 1
BASES = ("features", "snnp")  # what φ is: the output of the network, or the least-squares basis
ATTACH = "attach one with `ase-mlip design --attach MODEL DATA -o NEW`"


@dataclass(frozen=True)
class Leverage:
    """Whitening matrices and their description.

    Attributes
    ----------
    whitening: float64 [B, F, F], W of each block, lower triangular; |W φ|² is a variance in eV²
    block_of: int64 [119], block of an atomic number; -1 where the data hold no atom of it
    record: ``training["leverage"]`` of the document (docs/artifact.md)
    """

    whitening: Tensor
    block_of: Tensor
    record: dict[str, Any]

    @classmethod
    def of(
        cls, record: dict[str, Any], whitening: np.ndarray, device: torch.device | str = "cpu"
    ) -> Leverage:
        """From the description and float64 [B, F, F]."""
        block_of = torch.full((119,), -1, dtype=torch.int64)
        for block, numbers in enumerate(record["blocks"]):
            block_of[torch.tensor(numbers)] = block
        matrices = torch.from_numpy(np.array(whitening, dtype=np.float64))
        return cls(matrices.to(device), block_of.to(device), record)

    @property
    def basis(self) -> str:
        """``"features"`` or ``"snnp"``."""
        return self.record["basis"]

    def of_atoms(self, features: Tensor, species: Tensor) -> Tensor:
        """The leverage of each atom, float64 [N]; infinite for an element that the data do not hold.

        Parameters
        ----------
        features: [N, F] of any floating dtype, φ of each atom
        species: int64 [N], atomic numbers
        """
        return self._squares(features.to(torch.float64), self.block_of[species]) / self.record["scale"]

    def of_structures(
        self, features: Tensor, species: Tensor, structure: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """The leverage of structures, and the standard deviation of their energies.

        Parameters
        ----------
        features, species: as of :meth:`of_atoms`
        structure: int64 [N], the structure that an atom belongs to
        count: number of structures B

        Returns
        -------
        float64 [B], of the energy per atom, whose φ is the mean of the atoms'; 1 is the 99 % quantile of the
        training structures, each left out. Float64 [B], standard deviation of the whole energy before
        calibration, eV
        """
        features, blocks = features.to(torch.float64), self.block_of[species]
        n_blocks, size = self.whitening.shape[:2]
        sums = features.new_zeros(count * n_blocks, size)
        sums.index_add_(0, structure * n_blocks + blocks.clamp(min=0), features)
        of_block = torch.arange(n_blocks, device=features.device).repeat(count)
        variances = self._squares(sums, of_block).view(count, n_blocks).sum(dim=1)
        strange = torch.zeros_like(variances).index_add_(0, structure, (blocks < 0).to(torch.float64))
        variances = torch.where(strange > 0, math.inf, variances)
        atoms = torch.bincount(structure, minlength=count).clamp(min=1)
        return variances / atoms**2 / self.record["structure_scale"], variances.sqrt()

    def _squares(self, rows: Tensor, blocks: Tensor) -> Tensor:
        """|W φ|² of rows [n, F] and their blocks [n], eV²."""
        squares = torch.full((len(rows),), math.inf, dtype=torch.float64, device=rows.device)
        for block, matrix in enumerate(self.whitening):
            own = (blocks == block).nonzero().squeeze(1)
            squares[own] = (rows[own] @ matrix.T).square().sum(dim=1)
        return squares


def write_leverage(
    path: str | os.PathLike, output: str | os.PathLike, record: dict[str, Any], whitening: np.ndarray
) -> ModelInfo:
    """Write a model file once more with a leverage, in the place of the one it may have.

    Everything else stays what it is, to the byte but for the document. The matrices are a member of the
    archive like the weights: their SHA-256 stands among the document's ``members``, so that versions of
    ase_mlip that know no leverage load the file and take no notice.

    Parameters
    ----------
    path: the model file
    output: the new one; it is replaced in one step, and may be the same
    record: ``training["leverage"]`` (docs/artifact.md)
    whitening: float64 [B, F, F]

    Raises
    ------
    ModelFileError
        a file of schema 1, or what does not make a leverage of this model
    OSError
        the file cannot be read or written
    """
    info = parse_document(archive.read_document(path), path)
    if info.schema_version < SCHEMA_VERSION:
        raise ModelFileError(
            f"`{path}` has schema {info.schema_version}, expected {SCHEMA_VERSION} for a leverage; write it "
            f"anew with `ase-mlip export --from model-file {path} -o NEW`"
        )
    data = Path(path).read_bytes()
    archive.verify_members(data, info.members, path)
    members = archive.strip(data)
    for name in (archive.DOCUMENT, archive.DIGEST):
        members.pop(name)
    members[MEMBER] = (np.ascontiguousarray(whitening, dtype="<f8").tobytes(), zipfile.ZIP_STORED)
    info.members = archive.digests(members)
    info.training = {**info.training, "leverage": record}
    document = info.to_json()
    read_leverage(info, members[MEMBER][0], path, "cpu")
    write_atomically(output, archive.compose(members, document))
    return info


def read_leverage(
    info: ModelInfo, content: bytes | None, path, device: torch.device | str
) -> Leverage | None:
    """The leverage of a model file; None where it has none.

    Parameters
    ----------
    info: the document
    content: the archive's member ``MEMBER``, whose SHA-256 was verified, or None
    path: of the file, for messages
    device: where it is evaluated

    Raises
    ------
    ModelFileError
        what the document says of it and the matrices do not belong together, or are none of a leverage
    """
    record = info.training.get("leverage")
    if record is None:
        return None
    try:
        check_record(record, info)
        whitening = _matrices(record, content)
    except ModelFileError as error:
        raise ModelFileError(f"`{path}`: {error}") from None
    return Leverage.of(record, whitening, device)


def check_record(record: Any, info: ModelInfo) -> None:
    """Raise ModelFileError, naming the value, unless the description is one that can be evaluated."""
    if not isinstance(record, dict):
        raise ModelFileError(f"`training.leverage` must be an object, got {record!r}")
    version = record.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ModelFileError(
            f"`training.leverage.version` must be {VERSION}, got {version!r}; upgrade ase_mlip to read it"
        )
    if record.get("basis") not in BASES:
        raise ModelFileError(
            f"`training.leverage.basis` must be one of {', '.join(BASES)}, got {record.get('basis')!r}"
        )
    if record["basis"] == "features" and "features" not in info.outputs:
        raise ModelFileError(
            f"`training.leverage` needs the output `features`, got {', '.join(info.outputs)}; {ATTACH}"
        )
    size = record.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size < 2**16:
        raise ModelFileError(f"`training.leverage.size` must be between 1 and 65535, got {size!r}")
    for name in ("scale", "structure_scale"):
        if not is_positive(record.get(name)):
            raise ModelFileError(
                f"`training.leverage.{name}` must be a positive number, got {record.get(name)!r}"
            )
    calibration = record.get("calibration")
    factor = calibration.get("factor") if isinstance(calibration, dict) else calibration
    if factor is not None and not is_positive(factor):
        raise ModelFileError(
            f"`training.leverage.calibration` must be null or have a positive `factor`, got {calibration!r}"
        )
    _check_blocks(record.get("blocks"), info)


def _check_blocks(blocks: Any, info: ModelInfo) -> None:
    right = isinstance(blocks, list) and len(blocks) > 0 and all(isinstance(b, list) and b for b in blocks)
    numbers = [number for block in blocks for number in block] if right else []
    known = all(isinstance(n, int) and not isinstance(n, bool) and n in info.species for n in numbers)
    if not right or not known or len(numbers) != len(set(numbers)):
        raise ModelFileError(
            f"`training.leverage.blocks` must be lists of the model's species {info.species}, each once, "
            f"got {blocks!r}"
        )


def _matrices(record: dict[str, Any], content: bytes | None) -> np.ndarray:
    shape = (len(record["blocks"]), record["size"], record["size"])
    expected = 8 * math.prod(shape)
    if content is None or len(content) != expected:
        got = "none" if content is None else f"{len(content)}"
        raise ModelFileError(
            f"`training.leverage` needs the member `{MEMBER}` of {expected} bytes, got {got}; {ATTACH}"
        )
    found = np.frombuffer(content, dtype="<f8").reshape(shape)
    if not np.isfinite(found).all():
        raise ModelFileError(f"`{MEMBER}` must hold finite numbers, got others; {ATTACH}")
    return found
