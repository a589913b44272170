"""How long a step of training takes on this machine with one layer or another, measured by training them."""

import math
import time

import keras
import numpy as np
from keras import ops

CLEAR = 3  # how many times slower the slowest is than the fastest, where one round says enough


def step_seconds(
    layers: dict[str, keras.layers.Layer], input_shape: tuple[int, ...], rounds: int = 15, seconds: float = 1.0
) -> dict[str, float]:
    """The seconds of a step of training with each of some layers, the fastest of several in turn.

    A step is one of SGD with momentum through Keras, with the gradients of the weights and of the inputs, as inside a
    network.

    Args:
        layers: layers that have not been built, by name.
        input_shape: of a batch, all sizes known.
        rounds: int, how often each takes a step at most, after one that does not count.
        seconds: float, after how long no further round is begun; at least 3 are done, or one where it is clear.
    """
    steps = {}
    for name, layer in layers.items():
        inputs = np.ones(input_shape, layer.compute_dtype)
        model = keras.Sequential(
            [keras.Input(input_shape[1:], dtype=inputs.dtype), _Scaled(dtype=layer.compute_dtype), layer]
        )
        model.compile(keras.optimizers.SGD(0.0, momentum=0.9), lambda _, outputs: ops.mean(outputs))
        steps[name] = model, inputs, np.zeros((len(inputs), 1))
        model.train_on_batch(*steps[name][1:])  # traces and compiles
    fastest = dict.fromkeys(steps, math.inf)
    end = time.perf_counter() + seconds
    for number in range(rounds):
        for name, (model, *batch) in steps.items():
            start = time.perf_counter()
            model.train_on_batch(*batch)
            fastest[name] = min(fastest[name], time.perf_counter() - start)
        is_late = time.perf_counter() > end
        if is_late and (number >= 2 or max(fastest.values()) > CLEAR * min(fastest.values())):
            break
    return fastest


class _Scaled(keras.layers.Layer):
    """Its inputs times a number that is trained, so that what follows has to compute their gradient."""

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale
