"""Calls in threads: results in order, errors, an early end, and torch's own threads afterwards."""

import threading
import time

import pytest
import torch

from ase_mlip.optimal_design.rows.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_two_threads():
    together = threading.Barrier(2, timeout=20.0)

    def square(k: int) -> tuple[int, int]:
        together.wait()  # fails unless two calls run at a time
        time.sleep(0.01 * (k % 3))
        return k * k, torch.get_num_threads()

    assert list(side_by_side(square, range(8))) == [(k * k, 1) for k in range(8)]
    assert torch.get_num_threads() == 2


def test_one_thread_is_this_one_and_keeps_its_threads():
    here = threading.get_ident()

    def state(_: int) -> tuple[int, int]:
        return threading.get_ident(), torch.get_num_threads()

    assert list(side_by_side(state, range(2), threads=1)) == [(here, 2)] * 2


def test_an_error_comes_where_its_result_would():
    def fail(k: int) -> int:
        if k == 2:
            raise ValueError("two")
        return k

    results = side_by_side(fail, range(100))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert torch.get_num_threads() == 2


def test_whoever_stops_taking_results_stops_the_calls():
    begun = []
    results = side_by_side(begun.append, range(1000))
    next(results)
    results.close()
    assert len(begun) <= 8
    assert torch.get_num_threads() == 2
