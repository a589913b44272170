"""Work on a CPU that several threads do together: as many as the backend uses, and on torch its own.

torch's threads wait for work by running; others would share the processors with them.
"""

import concurrent.futures
import ctypes
import functools
import itertools
import os
from collections.abc import Callable, Sequence

import keras

SMALL = 2**15  # numbers, with which one thread does not keep another waiting


@functools.lru_cache(maxsize=1)
def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """Threads that the backend uses for an operation."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return min(processors(), torch.get_num_threads())
    return min(processors(), _threads_of_tensorflow()) if backend == "tensorflow" else processors()


@functools.lru_cache(maxsize=1)
def _threads_of_tensorflow() -> int:
    """They are fixed when TensorFlow runs its first operation, and TensorFlow is slow to tell them."""
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or processors()


def shares_of(size: int, alone: int = SMALL, work: int = 2 * SMALL) -> list[tuple[int, int]]:
    """For each thread a part of so many pieces of work, at least `alone`; one part if there is little work in all."""
    parts = max(1, min(workers(), size // alone)) if work >= 2 * SMALL else 1
    ends = [size * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(ends))


def together(function: Callable, shares: Sequence[tuple], *arguments) -> list:
    """The results of `function(*share, *arguments)` for every share, each in a thread, of which there are as many.

    Raises:
        Exception: what the function raises for one of them.
    """
    if len(shares) == 1:
        return [function(*shares[0], *arguments)]
    of_torch = _team_of_torch() if keras.backend.backend() == "torch" else None
    if of_torch is None:
        *others, own = shares
        futures = [_pool().submit(function, *share, *arguments) for share in others]
        try:
            result = function(*own, *arguments)
        finally:
            concurrent.futures.wait(futures)  # whatever happens here, they write to the same arrays
        return [*(future.result() for future in futures), result]
    results: list = [None] * len(shares)
    errors: list[BaseException] = []
    numbers = iter(range(len(shares)))  # of which each thread takes the next

    def one(_):
        try:
            for number in numbers:
                results[number] = function(*shares[number], *arguments)
        except BaseException as error:  # nothing may leave a function that C has called
            errors.append(error)

    run, callback = of_torch
    run(callback(one), None, len(shares), 0)
    one(None)  # what a smaller team than was asked for has left
    if errors:
        raise errors[0]
    return results


@functools.lru_cache(maxsize=1)
def _team_of_torch():
    """The function of torch's OpenMP that has its threads call another, and that one's type; None: there is none."""
    import torch

    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    try:
        run = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (AttributeError, OSError):
        return None
    run.argtypes, run.restype = [callback, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return run, callback


@functools.lru_cache(maxsize=1)
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(max(1, processors() - 1), "keras_dsr")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a process has no threads of the one that it was forked from
