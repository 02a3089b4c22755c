"""Functions that start together, each in a thread of its own."""

import threading
from collections.abc import Callable


def in_threads(functions: list[Callable]) -> list:
    """Results of functions that start together, each in a thread of its own."""
    start, results, errors = threading.Barrier(len(functions)), [None] * len(functions), []

    def work(k: int) -> None:
        try:
            start.wait()
            results[k] = functions[k]()
        except Exception as error:  # raised in the thread that asked
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
