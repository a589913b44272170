"""How long a step of training takes on this machine with one layer or another, measured by training them."""

import math
import time

import keras
import numpy as np
from keras import ops


def step_seconds(
    layers: dict[str, keras.layers.Layer], input_shape: tuple[int, ...], rounds: int = 15, seconds: float = 1.0
) -> dict[str, float]:
    """The seconds of a step of training with each of some layers, the fastest of several in turn.

    A step is one of SGD with momentum through Keras, with the gradients of the weights and of the inputs, as inside a
    network.

    Args:
        layers: layers that have not been built, by name.
        input_shape: of a batch, all sizes known.
        rounds: int, how often each takes a step at most, after two that do not count.
        seconds: float, after how long no further round is begun; at least 3 are done.
    """
    steps = {}
    for name, layer in layers.items():
        inputs = np.ones(input_shape, layer.compute_dtype)
        model = keras.Sequential(
            [keras.Input(input_shape[1:], dtype=inputs.dtype), _Scaled(dtype=layer.compute_dtype), layer]
        )
        model.compile(keras.optimizers.SGD(0.0, momentum=0.9), lambda _, outputs: ops.mean(outputs))
        steps[name] = model, inputs, np.zeros((len(inputs), 1))
        for _ in range(2):  # traces and compiles
            model.train_on_batch(*steps[name][1:])
    fastest = dict.fromkeys(steps, math.inf)
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, (model, *batch) in steps.items():
            start = time.perf_counter()
            model.train_on_batch(*batch)
            fastest[name] = min(fastest[name], time.perf_counter() - start)
    return fastest


class _Scaled(keras.layers.Layer):
    """Its inputs times a number that is trained, so that what follows has to compute their gradient."""

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale
