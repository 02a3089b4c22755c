"""Blocks of rows of many candidates, stored together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import MLIPError

_CHUNK = 1 << 20  # numbers worked on together: 8 MB stay near the cache


class Blocks(Sequence):
    """Blocks of rows in one array; a sequence of views [m_j, p] of it.

    Functions that take ``blocks`` accept this, a list of arrays, or one array [n, m, p]. This form saves the
    copy.

    Parameters
    ----------
    rows : array
        [R, p], the rows of all candidates, one candidate after the other, converted to float64
    counts : sequence of int
        [n], how many of them belong to each candidate, at least one

    Raises
    ------
    MLIPError
        wrong shapes, no candidate, a candidate without rows, or a number that is not finite
    """

    def __init__(self, rows: np.ndarray, counts: Sequence[int]):
        self.rows = as_rows(rows, "rows")
        self.counts = np.asarray(counts, dtype=np.int64)
        if self.counts.ndim != 1 or not len(self.counts) or self.counts.min() < 1:
            raise MLIPError(
                "`counts`: expected at least one candidate with at least one row each, got another list"
            )
        if self.counts.sum() != len(self.rows):
            raise MLIPError(
                f"`counts`: expected a sum of {len(self.rows)}, the number of `rows`, got {self.counts.sum()}"
            )
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def columns(self) -> int:
        """p, the number of coefficients."""
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index`: expected less than {len(self)}, got {index}")
        index = index % len(self)
        return self.rows[self.starts[index] : self.starts[index + 1]]


def as_rows(rows, name: str, columns: int | None = None) -> np.ndarray:
    """Rows as a finite float64 array [m, p]; one row may come as [p].

    Raises
    ------
    MLIPError
        the shape is another, there are no rows, or a number is not finite
    """
    array = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    expected = "[m, p]" if columns is None else f"[m, {columns}]"
    if array.ndim != 2 or not array.size or (columns is not None and array.shape[1] != columns):
        raise MLIPError(
            f"`{name}`: expected an array {expected} with at least one row, got the shape "
            f"{list(np.shape(rows))}; the columns are the coefficients, the same for all rows"
        )
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise MLIPError(
            f"`{name}`: expected finite numbers, got NaN or infinity in row {row}; leave that structure out"
        )
    return array


def as_blocks(blocks, name: str = "blocks") -> Blocks:
    """Blocks of any accepted form, checked and stored together.

    Raises
    ------
    MLIPError
        no block, a block of another shape than [m, p], or a number that is not finite
    """
    if isinstance(blocks, Blocks):
        return blocks
    if isinstance(blocks, np.ndarray) and blocks.ndim == 3 and blocks.size:
        count, rows, columns = blocks.shape
        return Blocks(blocks.reshape(count * rows, columns), np.full(count, rows))
    if not len(blocks):
        raise MLIPError(f"`{name}`: expected at least one block, got none; the pool of candidates is empty")
    columns = np.shape(blocks[0])[-1] if np.ndim(blocks[0]) else None
    checked = [as_rows(block, f"{name}[{index}]", columns) for index, block in enumerate(blocks)]
    return Blocks(np.concatenate(checked), [len(block) for block in checked])


class Pool:
    """Blocks padded with zero rows to few shapes, for batched products. Zero rows add nothing to an
    information.

    Attributes
    ----------
    groups: pairs of candidates [b] and their rows [b, m, p]; every candidate is in one group
    group_of, place_of: the group of each candidate and its place there, [n]
    widest: rows of the longest
    numbers: in all rows
    """

    def __init__(self, groups: list[tuple[np.ndarray, np.ndarray]]):
        self.groups = groups
        self.count = sum(len(index) for index, _ in groups)
        self.columns = groups[0][1].shape[2] if groups else 0
        self.widest = max((rows.shape[1] for _, rows in groups), default=0)
        self.numbers = sum(rows.size for _, rows in groups)
        self.group_of = np.zeros(self.count, dtype=np.int64)
        self.place_of = np.zeros(self.count, dtype=np.int64)
        for number, (index, _) in enumerate(groups):
            self.group_of[index] = number
            self.place_of[index] = np.arange(len(index))

    def __len__(self) -> int:
        return self.count

    @classmethod
    def from_blocks(cls, blocks: Blocks, transform: np.ndarray | None = None) -> Pool:
        """The pool of ``blocks``; their rows times ``transform`` [p, p] if there is one.

        A block of more rows than columns is replaced by the triangle of its QR decomposition: XᵀX is the
        same.
        """
        columns = blocks.columns
        widths = np.minimum(blocks.counts, columns)
        padded = np.minimum(2 ** np.ceil(np.log2(widths)).astype(int), widths.max())
        groups = []
        for width in np.unique(padded):
            index = np.flatnonzero(padded == width)
            rows = np.zeros((len(index), width, columns))
            for place, candidate in enumerate(index):
                block = blocks[int(candidate)]
                if len(block) > columns:
                    block = np.linalg.qr(block, mode="r")
                rows[place, : len(block)] = block
            if transform is not None:
                flat = rows.reshape(-1, columns)
                for part in _parts(len(flat), columns):
                    flat[part] = flat[part] @ transform
            groups.append((index, rows))
        return cls(groups)

    def subset(self, chosen: np.ndarray) -> Pool:
        """A pool of copies of these candidates, in their order."""
        groups = []
        for number, (_, rows) in enumerate(self.groups):
            index = np.flatnonzero(self.group_of[chosen] == number)
            if len(index):
                groups.append((index, rows[self.place_of[chosen[index]]]))
        return Pool(groups)

    def gather(self, chosen: np.ndarray) -> np.ndarray:
        """Rows of these candidates, [b, m, p] with the largest m among them."""
        chosen = np.asarray(chosen)
        numbers = np.unique(self.group_of[chosen])
        if len(numbers) == 1:
            return self.groups[numbers[0]][1][self.place_of[chosen]]
        width = max(self.groups[number][1].shape[1] for number in numbers)
        gathered = np.zeros((len(chosen), width, self.columns))
        for number in numbers:
            index = np.flatnonzero(self.group_of[chosen] == number)
            rows = self.groups[number][1]
            gathered[index, : rows.shape[1]] = rows[self.place_of[chosen[index]]]
        return gathered

    def squares(self, factor: np.ndarray) -> np.ndarray:
        """tr(F Fᵀ X_jᵀX_j) of every candidate, [n], for ``factor`` F [p, r]."""
        result = np.empty(self.count)
        for index, rows in self.groups:
            for part in self.batches(rows):
                product = rows[part].reshape(-1, self.columns) @ factor
                sums = np.einsum("ij,ij->i", product, product)
                result[index[part]] = sums.reshape(-1, rows.shape[1]).sum(axis=1)
        return result

    def squares_along(self, directions: np.ndarray) -> np.ndarray:
        """‖X_j u‖² of every candidate and direction u, [n, r], for ``directions`` [p, r]."""
        result = np.empty((self.count, directions.shape[1]))
        for index, rows in self.groups:
            for part in self.batches(rows):
                product = rows[part].reshape(-1, self.columns) @ directions
                np.square(product, out=product)
                result[index[part]] = product.reshape(-1, rows.shape[1], directions.shape[1]).sum(axis=1)
        return result

    def times(self, factor: np.ndarray) -> Pool:
        """The same candidates with the rows X_j F, for ``factor`` F [p, r]."""
        groups = []
        for index, rows in self.groups:
            product = np.empty((*rows.shape[:2], factor.shape[1]))
            for part in self.batches(rows):
                product[part] = (rows[part].reshape(-1, self.columns) @ factor).reshape(product[part].shape)
            groups.append((index, product))
        return Pool(groups)

    def information(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Σ w_j X_jᵀX_j, [p, p]; weights [n] may be negative, and are one if there are none."""
        total = np.zeros((self.columns, self.columns))
        for index, rows in self.groups:
            if weights is not None:
                used = np.flatnonzero(weights[index])
                if len(used) < len(index):
                    index, rows = index[used], rows[used]
            for part in self.batches(rows):
                flat = rows[part].reshape(-1, self.columns)
                if weights is None:
                    total += flat.T @ flat
                else:
                    scale = np.repeat(weights[index[part]], rows.shape[1])
                    total += (flat * scale[:, None]).T @ flat
        return total

    def batches(self, rows: np.ndarray) -> Iterator[slice]:
        """Slices of a group's candidates that are worked on together."""
        return _parts(len(rows), rows.shape[1] * rows.shape[2])


def _parts(count: int, width: int) -> Iterator[slice]:
    """Slices of a range that hold about ``_CHUNK`` numbers each."""
    step = max(1, _CHUNK // max(width, 1))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
