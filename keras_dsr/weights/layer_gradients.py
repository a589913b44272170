"""What layers see of the gradients that pass back through them, for methods that grow weights by them."""

import abc

from keras_dsr.methods.base import Method


class LayerGradients(abc.ABC):
    """The gradients that some sparse layers of a reallocation see, of all that passes back through them.

    Args:
        method: that needs them.
        weights: dict, the sparse weights by their index in the reallocation.
    """

    def __init__(self, method: Method, weights: dict):
        self._method = type(method).__name__
        self._weights = weights
        self._batches = 0

    @property
    def _name(self) -> str:
        return next(iter(self._weights.values())).name

    def watch(self, is_due: bool) -> None:  # noqa: B027 (what is always kept need not be told)
        """Whether a reallocation may follow the next batches."""

    def passed(self, batches: int) -> None:
        """So many batches have passed."""
        self._batches += batches

    @abc.abstractmethod
    def take(self) -> dict[int, tuple]:
        """What was seen in the last step, by the index of the weight, beside what variables hold.

        Raises:
            RuntimeError: none was seen, or it cannot be told which is that of the last step.
        """

    def settle(self) -> None:  # noqa: B027 (what is kept in variables is there)
        """Have the variables hold what was seen."""

    def of_several_optimizers(self) -> RuntimeError:
        """What to raise where other optimizers train than the one that the model is compiled with."""
        return self._ambiguous("another optimizer takes steps than the one that the model is compiled with")

    def _ambiguous(self, received: str) -> RuntimeError:
        return RuntimeError(
            f"{self._method} grows weights where the gradient of the loss is largest, and a sparse layer, such as that "
            f"of {self._name!r}, sees all that passes back through it. Expected: one pass in each batch. Received: "
            f"{received}. Which gradient is that of the loss cannot be told, as in a GAN or with a penalty on "
            "gradients. Compile a model of stock layers with keras_dsr.SparseOptimizer, or use DSR or SET. Nothing was "
            "changed."
        )
