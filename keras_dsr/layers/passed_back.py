"""What passes back to a sparse weight of a layer: the gradient of active weights, or more, if a method wants that."""

import keras
from keras import ops

from keras_dsr.arguments import PASSED_BACK
from keras_dsr.backend.dense_gradient import DenseGradient
from keras_dsr.backend.distribution import replicas
from keras_dsr.backend.masked_read import read_masked
from keras_dsr.ops.masking import mask_weights

# The names of the states of a layer by which a method asks for it: a mean of the gradient at all positions, and which
# pruned weights the gradient trains (bool).
GRADIENT, TRAINED = PASSED_BACK


class PassedBack:
    """What is seen of a weight's gradient as it passes back, and which part of it the weight gets.

    Attributes:
        seen: what keeps the gradient at all positions; None: nothing does.
        trained: the bool Keras variable of the weight's shape, true where it is trained though it is pruned; None:
            nowhere.
        decay: float, of these weights.
    """

    def __init__(self) -> None:
        self.seen: DenseGradient | None = None
        self.trained: keras.Variable | None = None
        self.decay = 0.0
        self._uses = 0

    def add(self, name: str, variable: keras.Variable) -> None:
        """Take up a state of the layer, if it is one of these."""
        if name == GRADIENT:
            self.seen = DenseGradient(variable)
        elif name == TRAINED:
            self.trained = variable

    def settle(self) -> None:
        """Have variables hold what was seen."""
        if self.seen is not None:
            self.seen.settle()

    def masked(self, weight, mask):
        """The weight with 0 where it is pruned. What passes back after this is another pass."""
        self._uses = 0
        passes = mask if self.trained is None else mask | ops.convert_to_tensor(self.trained)
        return read_masked(weight, mask, passes, self._gradient)

    def _gradient(self, upstream, weight, mask, passes):
        use, self._uses = self._uses, self._uses + 1
        if self.seen is not None:
            self.seen.keep(use, upstream)
        gradient = mask_weights(upstream, passes)
        if self.decay and use == 0:
            decay = self.decay / replicas()  # whose gradients add up
            gradient += mask_weights(ops.multiply(weight, decay), passes & ~mask)
        return gradient
