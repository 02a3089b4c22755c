"""Symmetric tensors: the part of a tensor that is one, and Voigt's order of its six components as ASE has it.

The order is xx, yy, zz, yz, xz, xy. :mod:`ase.stress` converts arrays; here is what it has not.
"""

NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")
ROWS = (0, 1, 2, 1, 0, 0)
COLUMNS = (0, 1, 2, 2, 2, 1)
PAIRS = tuple(zip(ROWS, COLUMNS, strict=True))  # (row, column) of each component
INDEX = ((0, 5, 4), (5, 1, 3), (4, 3, 2))  # the component at each row and column


def symmetric(tensors):
    """The symmetric part of [..., n, n], an array or a torch tensor."""
    return 0.5 * (tensors + tensors.swapaxes(-1, -2))


def antisymmetric(tensors):
    """The antisymmetric part of [..., n, n], an array or a torch tensor."""
    return 0.5 * (tensors - tensors.swapaxes(-1, -2))
