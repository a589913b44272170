"""The gradient of a masked weight at all its positions, kept as it passes back, for methods that grow by it."""

import functools

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.distribution import strategy_of
from keras_dsr.ops.masking import mask_weights


class DenseGradient:
    """A running mean m <- decay * m + (1 - decay) * g of the gradients that pass back to a weight.

    g is that of one pass: the sum over all that read the weight before; in a mean, with 0 where it is not finite. On
    JAX, where nothing may be assigned to while a gradient passes back, the host keeps the mean until `settle`.

    Args:
        variable: float32 Keras variable of the shape of the weight, which holds m.

    Attributes:
        decay: float in [0, 1), 0 at first.
    """

    def __init__(self, variable: keras.Variable):
        self._variable = variable
        self.decay = 0.0
        self._on_host: dict[int, np.ndarray] = {}
        self._passes: int | keras.Variable = 0
        if keras.backend.backend() == "tensorflow":  # which counts where it computes
            with strategy_of(variable):
                self._passes = keras.Variable(0, dtype="int32", trainable=False, name="passes")

    def keep(self, use: int, gradient) -> None:
        """Take in what passes back.

        Args:
            use: int, of the weight in this pass, from 0 on.
            gradient: tensor of its shape.
        """
        gradient = ops.cast(ops.stop_gradient(gradient), "float32")
        if keras.backend.backend() == "jax":
            from jax.experimental import io_callback

            io_callback(functools.partial(self._receive, use), None, gradient)
        else:
            self._assign(use, gradient)

    def _assign(self, use: int, gradient) -> None:
        if self.decay:
            gradient = mask_weights(gradient, ops.isfinite(gradient))  # or the mean would never be finite again
            before = self.decay * self._variable if use == 0 else ops.convert_to_tensor(self._variable)
            gradient = before + ops.multiply(gradient, 1 - self.decay)
        elif use:
            gradient = self._variable + gradient
        self._variable.assign(gradient)
        if use == 0:
            self._count()

    def _count(self) -> None:
        if isinstance(self._passes, int):
            self._passes += 1
        else:
            self._passes.assign_add(1)

    def _receive(self, use: int, gradient) -> None:
        """On JAX, on the host: of each use the mean by itself, as they may come in any order."""
        gradient = np.array(gradient)
        if self.decay:
            gradient = np.where(np.isfinite(gradient), gradient, np.float32(0))
            before = self._on_host.get(use, np.float32(0))
            gradient = np.float32(self.decay) * before + np.float32(1 - self.decay) * gradient
        self._on_host[use] = gradient
        if use == 0:
            self._count()

    def begin(self, decay: float) -> None:
        """Go on from what the variable holds, with this decay."""
        self.decay = decay
        self.take_passes()
        self._on_host = {}
        if keras.backend.backend() == "jax" and self.decay:
            self._on_host[0] = ops.convert_to_numpy(self._variable)

    def take_passes(self) -> int:
        """How many gradients have passed since the last call."""
        self._wait()
        if isinstance(self._passes, int):
            passes, self._passes = self._passes, 0
        else:
            passes = int(ops.convert_to_numpy(self._passes))
            self._passes.assign(0)
        return passes

    def settle(self) -> None:
        """Have the variable hold what has been seen."""
        if keras.backend.backend() == "jax" and self._on_host:
            self._wait()
            self._variable.assign(functools.reduce(np.add, self._on_host.values()))

    def _wait(self) -> None:
        """Until the host has received all."""
        if keras.backend.backend() == "jax":
            import jax

            jax.effects_barrier()
