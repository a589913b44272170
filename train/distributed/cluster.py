"""The devices, of one machine or of many, that train one network together: each step's batch is shared among them."""

import contextlib
import dataclasses
import hashlib
import json
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from train.data.batch_shard import Part
from train.distributed.watch import Watch, end_process

SECONDS_TO_HEAR_WHY = 5


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Who trains. Every process has its own, with its own index.

    Attributes:
        processes: int, how many programs train together.
        index: int, which one this is. Process 0 writes the files.
        devices: int, of all of them together.
        strategy: what spreads the work over the devices of a process: a `tf.distribute.Strategy`, or a
            `keras.distribution.DataParallel`; None: there is one device.
    """

    processes: int = 1
    index: int = 0
    devices: int = 1
    strategy: Any = None

    @property
    def writes(self) -> bool:
        """Whether it is this process that writes the files and says how far the run has come."""
        return self.index == 0

    @property
    def part(self) -> Part:
        """The rows of each batch that this process reads."""
        return Part(self.index, self.processes)

    @property
    def shards_batches(self) -> bool:
        """Whether batches must have a multiple of `devices` rows, the last of a test set too."""
        return isinstance(self.strategy, keras.distribution.DataParallel)

    def scope(self) -> contextlib.AbstractContextManager:
        """Where the network is built and trained."""
        return self.strategy.scope() if self.strategy is not None else contextlib.nullcontext()

    def check(self, batch_size: int, task) -> None:
        """Whether a run can be shared.

        Raises:
            ValueError: a batch that cannot be, or a task whose score needs one device.
        """
        if batch_size % self.devices:
            raise ValueError(
                f"--batch_size must be a multiple of {self.devices}, the number of devices that share each batch. "
                f"Received: --batch_size={batch_size}"
            )
        if self.devices > 1 and task.measure is not None:
            raise ValueError(
                f"The {task.score} of this data set is taken on one device. Received: {self.devices} devices. "
                "Pass --devices=1."
            )

    def test_set(self, data) -> tf.data.Dataset:
        """The test set for `evaluate`, where batches are sharded in equal ones: the last is filled up with rows that
        weigh nothing. Weights are such that the mean over all rows is the mean over the examples."""
        if not self.shards_batches:
            return data.test()
        stream = data.test().unbatch()
        size = -(-250 // self.devices) * self.devices
        batches = -(-data.test_examples // size)
        weight = batches * size / data.test_examples
        rows = self.part.rows(size)

        def filled(inputs, targets):
            lacking = size - tf.shape(targets)[0]
            fill = lambda x: tf.concat((x, tf.repeat(x[-1:], lacking, axis=0)), 0)  # noqa: E731
            weights = tf.where(tf.range(size) < size - lacking, weight, 0.0)
            return tuple(tf.ensure_shape(x, (size, *x.shape[1:]))[rows] for x in (fill(inputs), fill(targets), weights))

        stream = stream.batch(size).map(filled).prefetch(2)
        return stream.apply(tf.data.experimental.assert_cardinality(batches))  # Keras asks, and warns if it cannot know

    def check_settings(self, settings: dict) -> None:
        """Whether all processes were told to do the same.

        Raises:
            ValueError: they were not.
        """
        if self.processes == 1:
            return
        own = json.dumps(settings, default=str).encode()
        sizes = _gathered(np.array([len(own)]))[:, 0]
        texts = _gathered(np.frombuffer(own.ljust(sizes.max()), "uint8"))
        everyone = [json.loads(bytes(text)) for text in texts]
        different = [name for name in everyone[0] if len({str(one[name]) for one in everyone}) > 1]
        if different:
            received = "; ".join(
                f"process {index}: {', '.join(f'{name}={one[name]}' for name in different)}"
                for index, one in enumerate(everyone)
            )
            raise ValueError(
                f"All processes must be started with the same flags but --process_id. Received: {received}. Start them "
                "again, all alike."
            )

    def check_agreement(self, variables: list[keras.Variable], when: str) -> None:
        """That every process has the same bits.

        Raises:
            RuntimeError: they do not.
        """
        if self.processes == 1:
            return
        digest = hashlib.sha256()
        for variable in variables:
            digest.update(keras.ops.convert_to_numpy(variable).tobytes())
        digests = _gathered(np.frombuffer(digest.digest(), "uint8"))
        different = [index for index, other in enumerate(digests) if bytes(other) != digest.digest()]
        if different:
            raise RuntimeError(
                f"{when}, process {self.index} has other weights than process {different[0]}. "
                "Did all read the same checkpoint? --out must be a folder that every process sees."
            )


ALONE = Cluster()


@contextlib.contextmanager
def joined(
    devices: int | None = None,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    stop: Callable[[str], None] = end_process,
) -> Iterator[Cluster]:
    """Train with other devices, and with other processes: inside the block the end of any of them ends this one.

    Args:
        devices: int, how many devices train; None: every GPU of this machine, else one; of many processes, all.
        coordinator: `host:port`, where process 0 listens; None: this process is alone.
        num_processes: int, how many processes there are.
        process_id: int, which one this is, from 0 on.
        stop: called with the reason, in a thread of its own, when another process has ended.

    Raises:
        ValueError: what this backend, or this machine, cannot do.
        ConnectionError: the processes cannot meet.
    """
    if coordinator is None and num_processes is None and process_id is None:
        yield _of_this_machine(devices)
        return
    _check_meeting(devices, coordinator, num_processes, process_id)
    watch = _meet(coordinator, num_processes, process_id, stop)
    try:
        strategy = keras.distribution.DataParallel(auto_shard_dataset=False)
        yield Cluster(num_processes, process_id, strategy.device_mesh.devices.size, strategy)
    except BaseException as error:
        if isinstance(error, RuntimeError):  # perhaps the first sign of another's end: then the watch knows more
            time.sleep(SECONDS_TO_HEAR_WHY)
        if not isinstance(error, (SystemExit, KeyboardInterrupt)):
            traceback.print_exc()
        why = str(error) or type(error).__name__
        watch.fail(why)
        end_process(why)
    watch.end(_leave)


def _of_this_machine(devices: int | None) -> Cluster:
    _require(devices is None or devices >= 1, "devices", "at least 1", devices)
    backend = keras.backend.backend()
    if backend == "torch":
        _require(devices in (None, 1), "devices", "1 on torch, where Keras has no training on several devices", devices)
        return ALONE
    if backend == "jax":
        there = keras.distribution.list_devices()
        is_cpu = there[0].startswith("cpu")
    else:
        gpus = tf.config.list_logical_devices("GPU")
        is_cpu = not gpus
        there = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    count = devices or (1 if is_cpu else len(there))
    _require(count <= len(there), "devices", f"at most {len(there)}, the devices of this machine", devices)
    if count == 1:
        return ALONE
    if backend == "jax":
        strategy = keras.distribution.DataParallel(devices=there[:count])
    else:
        strategy = tf.distribute.MirroredStrategy(there[:count])
    return Cluster(devices=count, strategy=strategy)


def _check_meeting(devices, coordinator, num_processes, process_id) -> None:
    _require(devices is None, "devices", "left out beside --coordinator: all devices of every process train", devices)
    for flag, value in (("coordinator", coordinator), ("num_processes", num_processes), ("process_id", process_id)):
        _require(
            value is not None,
            flag,
            "given: a process among many needs --coordinator, --num_processes and --process_id",
            value,
        )
    host, _, port = coordinator.rpartition(":")
    _require(
        bool(host) and port.isdecimal() and int(port) < 2**16, "coordinator", "host:port of process 0", coordinator
    )
    _require(num_processes >= 1, "num_processes", "at least 1", num_processes)
    _require(0 <= process_id < num_processes, "process_id", f"from 0 to {num_processes - 1}", process_id)
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Keras trains in several processes on jax. Received: --coordinator={coordinator} on "
            f"{keras.backend.backend()}. Pass --backend=jax."
        )


def _meet(coordinator: str, num_processes: int, process_id: int, stop: Callable[[str], None]) -> Watch:
    import jax

    # Else JAX would abort a process that hears of another's end, with no word to the user.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_enable_preemption_service", False)  # it would have SIGTERM do nothing
    try:
        keras.distribution.initialize(coordinator, num_processes, process_id)
        port_of = lambda port: int(_gathered(np.array([port]))[0, 0])  # noqa: E731
        return Watch(num_processes, process_id, port_of, coordinator.rpartition(":")[0].strip("[]"), stop)
    except (RuntimeError, OSError) as error:
        raise ConnectionError(
            f"The {num_processes} processes did not meet at {coordinator}: {error}. All must be started with the same "
            "--coordinator and --num_processes, each with its own --process_id, within five minutes."
        ) from error


def _leave() -> None:
    import jax

    jax.distributed.shutdown()


def _gathered(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, in their order, one beside the other."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array))


def _require(condition: bool, flag: str, expected: str, received) -> None:
    if not condition:
        raise ValueError(f"--{flag} must be {expected}. Received: --{flag}={received}")
