"""Cubic splines on uniform knots, as sums of B-splines.

With n intervals of length h from x_0 to x_n, a spline that has two continuous derivatives is a sum of n + 3
cardinal cubic B-splines (C. de Boor, A Practical Guide to Splines, 1978). On interval k, u = (x - x_k)/h,

    6 s = (c_k + 4c_{k+1} + c_{k+2}) + 3(c_{k+2} - c_k) u + 3(c_k - 2c_{k+1} + c_{k+2}) u²
          + (c_{k+3} - 3c_{k+2} + 3c_{k+1} - c_k) u³.

Any end conditions are therefore values of the coefficients: knots with clamped or natural ends give theirs
exactly, and c_n = c_{n+1} = c_{n+2} = 0 makes value, slope and curvature vanish at x_n. Outside the knots a
spline goes on as the straight line that touches its end.
"""

from typing import Final

import torch
from torch import Tensor

ZERO_TAIL = 3  # coefficients that vanish when value, slope and curvature do


def coefficients_from_knots(
    values: Tensor, step: float, first: tuple[int, float], last: tuple[int, float]
) -> Tensor:
    """The coefficients of the spline through equidistant knots with given end conditions.

    Parameters
    ----------
    values : Tensor
        float64 [n + 1], at the knots
    step : float
        distance of neighbouring knots
    first, last : tuple
        (order, value) of a derivative at the first and the last knot, order 1 or 2, as in
        ``scipy.interpolate.CubicSpline(bc_type=(first, last))``

    Returns
    -------
    Tensor
        float64 [n + 3]

    Raises
    ------
    ValueError
        fewer than two knots, a step that is not positive, or another order
    """
    n = values.size(0) - 1
    if values.dim() != 1 or n < 1:
        raise ValueError(f"`values`: a spline needs at least two knots, got {list(values.shape)}")
    if not step > 0:
        raise ValueError(f"`step`: the distance of the knots must be positive, got {step}")
    matrix = torch.zeros(n + 3, n + 3, dtype=torch.float64)
    right = torch.zeros(n + 3, dtype=torch.float64)
    for k in range(n + 1):
        matrix[k + 1, k : k + 3] = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64) / 6.0
    right[1:-1] = values.to(torch.float64)
    for name, row, start, (order, value) in (("first", 0, 0, first), ("last", n + 2, n, last)):
        if order not in (1, 2):
            raise ValueError(f"`{name}`: a derivative of order 1 or 2 is fixed at the end, got {order}")
        stencil = [-0.5, 0.0, 0.5] if order == 1 else [1.0, -2.0, 1.0]
        matrix[row, start : start + 3] = torch.tensor(stencil, dtype=torch.float64)
        right[row] = value * step**order
    return torch.linalg.solve(matrix, right)


class SplineBank(torch.nn.Module):
    """C splines for each of M cases (species, pairs of species); the splines of a case share their knots.

    Parameters
    ----------
    origins, steps : list of float
        M first knots and distances of knots, in the unit of the argument
    counts : list of int
        M numbers of intervals; the coefficients of shorter splines are padded
    channels : int
        C
    vanishing : bool
        whether the last three coefficients are zero and no parameters
    before : int, optional
        number of intervals before the first knot. Their coefficients are no parameters: the coefficients
        behind go on as on a straight line, and ``core`` [M, C, before] is added

    Raises
    ------
    ValueError
        fewer than two knots, or a step that is not positive
    """

    vanishing: Final[bool]
    grid: Tensor
    core: Tensor

    def __init__(
        self,
        origins: list[float],
        steps: list[float],
        counts: list[int],
        channels: int,
        vanishing: bool,
        before: int = 0,
    ):
        super().__init__()
        if min(counts, default=0) < 1:
            raise ValueError(f"`counts`: a spline needs at least two knots (one interval), got {counts}")
        if not min(steps) > 0:
            raise ValueError(f"`steps`: the distance of the knots must be positive, got {steps}")
        self.vanishing = vanishing
        self.channels = channels
        self.before = before
        self.counts = [n + before for n in counts]
        # First knot, distance of knots and number of intervals, [M, 3]. An attribute rather than a buffer: it
        # stays float64 when the network is cast.
        starts = [origin - before * step for origin, step in zip(origins, steps, strict=True)]
        rows = [starts, steps, [float(n) for n in self.counts]]
        self.grid = torch.tensor(rows, dtype=torch.float64).t().contiguous()
        size = max(counts) + (0 if vanishing else 3)
        self.coefficients = torch.nn.Parameter(torch.zeros(len(counts), channels, size))
        self.register_buffer("core", torch.zeros(len(counts), channels, before))

    @torch.jit.unused
    def end(self, case: int) -> float:
        """The last knot of a case, in the unit of the argument."""
        origin, step, count = self.grid[case].tolist()
        return origin + step * count

    def all_coefficients(self) -> Tensor:
        """[M, C, n + 3], with those of the intervals before the first knot and those that are always zero."""
        every = self.coefficients
        if self.before > 0:
            first, second = every[:, :, :1], every[:, :, 1:2]
            steps = torch.arange(self.before, 0, -1, device=every.device).to(every.dtype)
            every = torch.cat([first + steps * (first - second) + self.core, every], dim=2)
        if self.vanishing:
            return torch.nn.functional.pad(every, [0, 3])
        return every

    def pieces(self) -> Tensor:
        """Powers of u on each interval, with the straight lines before and behind: [M, n + 2, 4, C].

        u counts in knots from the left end of the piece; that of the first line ends at the first knot.
        """
        every = self.all_coefficients()
        a, b = every[:, :, :-3], every[:, :, 1:-2]
        c, d = every[:, :, 2:-1], every[:, :, 3:]
        cubic = (d - a) / 6.0 + (b - c) / 2.0
        powers = [(a + 4.0 * b + c) / 6.0, (c - a) / 2.0, (a + c) / 2.0 - b, cubic]
        inner = torch.stack(powers, dim=3).permute(0, 2, 3, 1)
        nothing = torch.zeros_like(inner[:, 0, 0])
        slope = inner[:, 0, 1]
        before = torch.stack([inner[:, 0, 0] - slope, slope, nothing, nothing], dim=1)
        # From the coefficients and not from the powers at u = 1: exactly zero for a vanishing spline.
        values, slopes = (b + 4.0 * c + d) / 6.0, (d - b) / 2.0
        ends: list[Tensor] = []
        for m, n in enumerate(self.counts):
            value, slope = values[m, :, n - 1], slopes[m, :, n - 1]
            ends.append(torch.stack([value, slope, torch.zeros_like(value), torch.zeros_like(value)]))
        behind = torch.stack(ends)
        # The line stands behind the last interval of its case; what a shorter case leaves over is never read.
        table = torch.cat([before[:, None], inner], dim=1)
        rows: list[Tensor] = []
        for m, n in enumerate(self.counts):
            rows.append(torch.cat([table[m, : n + 1], behind[m, None].expand(inner.size(1) - n + 1, -1, -1)]))
        return torch.stack(rows)

    def forward(self, x: Tensor, cases: Tensor) -> Tensor:
        """Values of the splines; differentiable twice by ``x``.

        Parameters
        ----------
        x : Tensor
            [E], arguments
        cases : Tensor
            int64 [E], the case of each

        Returns
        -------
        Tensor
            [E, C]
        """
        pieces = self.pieces()
        grid = self.grid.to(x.device)
        origins, steps = grid[:, 0].to(x.dtype)[cases], grid[:, 1].to(x.dtype)[cases]
        counts = grid[:, 2].to(torch.int64)[cases]
        u = (x - origins) / steps + 1.0
        piece = torch.minimum(torch.floor(u.detach()).to(torch.int64).clamp(min=0), counts + 1)
        u = (u - piece.to(x.dtype))[:, None]
        p = pieces.flatten(0, 1).index_select(0, cases * pieces.size(1) + piece)
        return p[:, 0] + u * (p[:, 1] + u * (p[:, 2] + u * p[:, 3]))

    def roughness(self) -> Tensor:
        """Mean over all splines of ∫ s″(u)² du, u counted in knots; a scalar.

        The second derivative is linear between the knots, so the integral is exact. Coefficients that pad a
        shorter case count as if they were its own; intervals before the first knot are left out.
        """
        c = self.all_coefficients()[:, :, self.before :]
        curvature = c[:, :, :-2] - 2.0 * c[:, :, 1:-1] + c[:, :, 2:]
        left, right = curvature[:, :, :-1], curvature[:, :, 1:]
        return (left * left + left * right + right * right).sum(dim=2).mean() / 3.0

    @torch.jit.unused
    def set_from_knots(
        self,
        case: int,
        channel: int,
        values: Tensor,
        first: tuple[int, float],
        last: tuple[int, float],
    ) -> None:
        """Give a spline values at its knots.

        Parameters
        ----------
        case, channel : int
            which spline
        values : Tensor
            float64 [n + 1]
        first, last : tuple
            end conditions of :func:`coefficients_from_knots`

        Raises
        ------
        ValueError
            another number of knots, or in a bank that is ``vanishing`` a spline that does not vanish
        """
        expected = self.counts[case] + 1
        if values.size(0) != expected:
            raise ValueError(f"`values`: expected {expected} knots, got {values.size(0)}")
        found = coefficients_from_knots(values, float(self.grid[case, 1]), first, last)
        if self.vanishing:
            if found[-ZERO_TAIL:].abs().max() > 1e-12 * found.abs().max():
                raise ValueError(
                    "`values`: expected a spline whose value, slope and curvature vanish at the last knot; "
                    "use a bank that is not `vanishing`"
                )
            found = found[:-ZERO_TAIL]
        with torch.no_grad():
            self.coefficients[case, channel, : found.size(0)] = found.to(self.coefficients.dtype)
