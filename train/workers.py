"""Doing many runs, several at a time, each in a process with its fraction of the processors."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from rich.console import Console

from train.experiment.settings import Settings
from train.flags import quiet_libraries
from train.results.results import Result
from train.run import execute, prepare

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_messages = None  # in a worker: the queue to the parent


def do_runs(
    runs: list[Settings], jobs: int, waits_for: dict[int, int], epochs_done: Callable[[int, int], None]
) -> Iterator[tuple[int, Result]]:
    """Do every run, at most `jobs` of them at a time.

    Args:
        runs: settings that are checked (see `train.run.check`).
        jobs: int, at least 1.
        waits_for: by the index of a run, that of the run which must be finished before it.
        epochs_done: is called, from another thread, with the index of a run and the epochs that are complete.

    Yields:
        The index and the result of each run, in the order in which they end.

    Raises:
        ValueError, OSError: of a run that could not be done. The others stop too, after their last checkpoint.
    """
    # A network of small layers gains little from a second thread, much from a second run.
    os.environ.update(dict.fromkeys(_THREADS, str(max(1, (os.cpu_count() or 1) // jobs))))
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    threading.Thread(target=_listen, args=(messages, epochs_done), daemon=True).start()
    waiting = dict(waits_for)
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _begin_worker, (messages,)) as pool:
        futures = {pool.submit(_do, run, index): index for index, run in enumerate(runs) if index not in waiting}
        with _ending_workers_on_error(pool):
            while futures:
                done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    index = futures.pop(future)
                    yield index, future.result()
                    for ready in [later for later, needed in waiting.items() if needed == index]:
                        del waiting[ready]
                        futures[pool.submit(_do, runs[ready], ready)] = ready
    messages.put(None)


class _EpochsDone(keras.callbacks.Callback):
    """Tells the parent about each epoch that is complete."""

    def __init__(self, index: int):
        super().__init__()
        self._index = index

    def on_epoch_end(self, epoch, logs=None):
        _messages.put((self._index, epoch + 1))


def _do(settings: Settings, index: int) -> Result:
    return execute(prepare(settings), Console(quiet=True), _EpochsDone(index))


def _begin_worker(messages):
    global _messages
    _messages = messages
    quiet_libraries()
    tf.get_logger().setLevel("ERROR")  # it warns of functions traced again: each run has a network of its own
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """However the parent ends: a run must not go on unseen beside its own continuation."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _listen(messages, epochs_done: Callable[[int, int], None]):
    while (message := messages.get()) is not None:
        epochs_done(*message)


@contextlib.contextmanager
def _ending_workers_on_error(pool):
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
