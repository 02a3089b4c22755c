"""The mathematics of optimal design, on blocks of rows. The public face of the modules beside it.

A candidate is a *block* X [m, p], float64: the rows φ/σ of everything that labelling it would give, each
divided by its standard deviation σ, so that rows have no unit. m may differ between candidates. The
information of a set S is A = A₀ + Σ X_jᵀX_j over S, where A₀ is the *prior*: an array [p] (a diagonal), [p,
p], or None for none. A⁻¹ is the covariance of the coefficients, x A⁻¹ xᵀ the predicted variance of a row x in
units of its σ². The package imports NumPy, SciPy and :mod:`ase_mlip.errors` only.

=========  ==========================================  =========  =====================
criterion  value                                       best       without full rank
=========  ==========================================  =========  =====================
``"d"``    log det A                                   largest    −∞
``"a"``    tr A⁻¹                                      smallest   +∞
``"i"``    tr A⁻¹M, M = TᵀT/m of the target T [m, p]   smallest   +∞
``"e"``    smallest eigenvalue of A                    largest    0
``"g"``    largest t A⁻¹ tᵀ of the target's rows t     smallest   +∞
=========  ==========================================  =========  =====================
"""

from .blocks import Blocks
from .continuous import ContinuousDesign, continuous_design
from .criteria import CRITERIA
from .information import Information
from .selection import Selection, select

__all__ = [
    "CRITERIA",
    "Blocks",
    "ContinuousDesign",
    "Information",
    "Selection",
    "continuous_design",
    "select",
]
