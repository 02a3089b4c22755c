"""MACE in float64 with exact coupling coefficients.

mace-torch stores Wigner 3j symbols and the polynomials' coefficients as buffers, in the precision of the
model. A model trained in float32 has them rounded, so that its forces in float64 change by some 1e-8 eV/Å
under rotation. They are constants, and are computed again here.
"""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor

ROUNDING = 1e-6  # largest difference from the stored ones at which they are taken for the same constants


def exact_copy(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64, in evaluation mode; weights are the checkpoint's, coupling coefficients exact.

    Coefficients that are not those of e3nn or mace-torch's own recursion are left as they are.
    """
    from e3nn import o3

    exact = copy.deepcopy(model).double().eval()
    for name, buffer in exact.named_buffers():
        degrees = re.search(r"_w3j_(\d+)_(\d+)_(\d+)$", name)
        if degrees:
            _replace(buffer, o3.wigner_3j(*map(int, degrees.groups()), dtype=torch.float64))
    for product in exact.products:
        contraction = product.symmetric_contractions
        for (_, irrep), part in zip(contraction.irreps_out, contraction.contractions, strict=True):
            for degree in range(1, part.correlation + 1):
                _replace(part.U_tensors(degree), _polynomials(part.coupling_irreps, irrep, degree))
    return exact


def _polynomials(irreps: object, irrep: object, degree: int) -> Tensor:
    from e3nn import o3
    from mace.tools.cg import U_matrix_real

    out = o3.Irreps(str(irrep))
    return U_matrix_real(irreps, out, degree, use_cueq_cg=False, dtype=torch.float64)[-1]


def _replace(stored: Tensor, exact: Tensor) -> None:
    if stored.shape == exact.shape and torch.allclose(stored, exact, rtol=0.0, atol=ROUNDING):
        with torch.no_grad():
            stored.copy_(exact)
