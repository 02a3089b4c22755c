"""Voigt's order of the six components of a symmetric tensor, as ASE has it: xx, yy, zz, yz, xz, xy."""

NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")
ROWS = (0, 1, 2, 1, 0, 0)
COLUMNS = (0, 1, 2, 2, 2, 1)
PAIRS = tuple(zip(ROWS, COLUMNS, strict=True))  # (row, column) of each component
INDEX = ((0, 5, 4), (5, 1, 3), (4, 3, 2))  # the component at each row and column
