"""What the benchmarks of reallocations share: the methods, and the time of a reallocation."""

import statistics
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

import keras_dsr as dsr
from keras_dsr.weights.reallocation import Outcome, Reallocation


class Moved(NamedTuple):
    """A method with the numbers of its paper for a network of CIFAR-10's size, in a training that lasts.

    Attributes:
        method: what decides.
        period: steps between its actions, of the paper, at first where they change; None: it never acts.
        begins_dense: whether it prunes a network that has every weight at first.
    """

    method: dsr.methods.Method
    period: int | None = 100
    begins_dense: bool = False


LAST = 10**6
EPOCH = 390  # steps of 128 examples
METHODS = {
    "static": Moved(dsr.methods.Static(), None),
    "SET": Moved(dsr.methods.SET(fraction=0.138)),
    "DSR": Moved(dsr.methods.DSR(target=20_000)),
    "MEST": Moved(dsr.methods.MEST(end_step=LAST)),
    "RigL": Moved(dsr.methods.RigL(end_step=LAST)),
    "ITOP": Moved(dsr.methods.RigL(fraction=0.5, end_step=LAST), 1500),
    "SNFS": Moved(dsr.methods.SNFS(end_step=LAST), EPOCH),
    "straight-through": Moved(dsr.methods.StraightThrough(), 1),
    "Top-KAST": Moved(dsr.methods.TopKAST(backward_sparsity=0.8)),
    "gradual pruning": Moved(dsr.methods.GradualPruning(final_sparsity=0.9, end_step=LAST), 100, True),
    "GraNet": Moved(dsr.methods.GraNet(final_sparsity=0.9, end_step=LAST), 100, True),
    "AC/DC": Moved(dsr.methods.ACDC(0.9, begin_step=0, phase=5 * EPOCH, end_step=LAST), 5 * EPOCH, True),
    "movement pruning": Moved(dsr.methods.MovementPruning(final_sparsity=0.9, end_step=LAST), 1, True),
    "DeepR": Moved(dsr.methods.DeepR(temperature=1e-5), 1),
}


def take_a_step(model: keras.Model, rng: np.random.Generator) -> None:
    """Stand in for training between two reallocations: move every active weight, grown weights too, a little."""
    for weight in dsr.sparse_weights(model):
        change = ops.convert_to_tensor(rng.standard_normal(weight.shape, dtype="float32") * np.float32(0.01))
        value, mask = ops.convert_to_tensor(weight.variable), ops.convert_to_tensor(weight.mask)
        weight.variable.assign(ops.where(mask, value + change, 0.0))
    model.optimizer.iterations.assign_add(1000)


def wait_for(model: keras.Model) -> None:
    """Return when the device has done all that it was asked to do to the model."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready([variable.value for variable in [*model.variables, *model.optimizer.variables]])
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
    elif backend == "torch":
        import torch

        if torch.accelerator.is_available():
            torch.accelerator.synchronize()


def timed(reallocation: Reallocation) -> tuple[float, Outcome]:
    """The seconds of one reallocation, to the last weight written, and what it did."""
    wait_for(reallocation.model)
    start = time.perf_counter()
    outcome = reallocation()
    wait_for(reallocation.model)
    return time.perf_counter() - start, outcome


def typical_seconds(reallocation: Reallocation, rounds: int, rng: np.random.Generator) -> float:
    """The median seconds of a reallocation once it is compiled, the weights having moved before each."""
    seconds = []
    for _ in range(rounds + 1):
        take_a_step(reallocation.model, rng)
        seconds.append(timed(reallocation)[0])
    return statistics.median(seconds[1:])
