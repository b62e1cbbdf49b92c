"""Heavy work in a thread that ends with it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


def apart(work: Callable[[], Result]) -> Result:
    """Do something in a thread of its own, and return what it returns. Raises what it raises.

    PyTorch's OpenMP keeps a pool of threads for every thread that ever computed. As soon as all pools together have
    more threads than the machine has cores, no pool waits actively for its next piece of work any more, and a step of
    one token takes nearly twice as long (on two cores 24 ms instead of 13). A thread that ends takes its pool along:
    so whatever computes beside the loop does it in one of these.
    """
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        # It is raised again where it was asked for.
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)

    thread = threading.Thread(target=run, name="apart", daemon=True)
    thread.start()
    thread.join()
    result: Result = future.result()
    return result
