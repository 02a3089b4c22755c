"""Comment lines of extended XYZ as ASE reads them, but with whole stresses and virials."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from ase.io.extxyz import key_val_str_to_dict
from ase.stress import voigt_6_to_full_3x3_stress

from ..voigt import symmetric
from .units import STRESS_ORDERS

# ASE takes nine numbers for these, and of a stress only the upper triangle.
_TENSORS = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")


def read_comment_line(line: str, order: str) -> dict[str, Any]:
    """ASE's reading of a comment line, but a stress or virial may have six numbers, and of nine the symmetric
    part is kept: 3x3 arrays in either case.
    """
    info = key_val_str_to_dict(_TENSORS.sub(r"_tensor_\1", line))
    for name in ("stress", "virial"):
        value = info.pop(f"_tensor_{name}", None)
        if isinstance(value, np.ndarray) and value.shape == (6,):
            value = voigt_6_to_full_3x3_stress(value[list(STRESS_ORDERS[order])].astype(float))
        elif isinstance(value, np.ndarray) and value.shape == (9,):
            value = symmetric(value.reshape(3, 3))
        elif value is not None:
            raise ValueError(f"`{name}` is not six or nine numbers but {value}")
        if value is not None:
            info[name] = value
    return info
