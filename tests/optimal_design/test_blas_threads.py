"""The number of threads of NumPy's and SciPy's BLAS, which is the process's."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  its BLAS is another one than NumPy's
from threadpoolctl import threadpool_info, threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent))
from designs import pool

from ase_mlip import design
from ase_mlip.errors import DataError


def blas_threads() -> set[int]:
    found = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert found, "the BLAS is found"
    return found


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


def test_a_design_takes_one_thread_and_gives_the_others_back():
    during = set()
    design(pool(), 3, progress=lambda done, total, stage: during.update(blas_threads()))
    assert during == {1}
    assert blas_threads() == {2}


def test_threads_are_given_back_after_an_error():
    def fail(done, total, stage):
        raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        design(pool(), 3, progress=fail)
    assert blas_threads() == {2}


def test_designs_in_two_threads_give_the_threads_back():
    """Each begins before the other ends."""
    both = threading.Barrier(2, timeout=60)

    def one(number: int) -> list[int]:
        waited = []

        def wait(done, total, stage):
            if not waited:
                waited.append(both.wait())

        return [pick.place for pick in design(pool(), 3 + number, progress=wait).picks]

    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(one, range(2)))
    assert found == [[pick.place for pick in design(pool(), number).picks] for number in (3, 4)]
    assert blas_threads() == {2}


def test_the_selection_does_not_depend_on_the_caller_s_number_of_threads():
    two = design(pool(), 5)
    with threadpool_limits(1, user_api="blas"):
        one = design(pool(), 5)
    assert [pick.place for pick in one.picks] == [pick.place for pick in two.picks]
    np.testing.assert_array_equal(one.curve, two.curve)
