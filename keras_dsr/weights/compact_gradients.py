"""The gradients of weights in compact storage, also where they are pruned, for a method that grows by them."""

import numpy as np
from keras import ops

from keras_dsr.backend.distribution import replicas, strategy_of
from keras_dsr.backend.plane_compilation import is_available
from keras_dsr.backend.seen_gradients import largest_gradients
from keras_dsr.methods.base import Method
from keras_dsr.ops.positions import nowhere, position_dtype
from keras_dsr.weights.compact_weight import CompactWeight


class CompactGradients:
    """What layers in compact storage see of the gradient of the last step before a reallocation.

    Args:
        method: that needs it.
        weights: of a reallocation, some of them in compact storage.

    Raises:
        ValueError: layers in compact storage cannot tell what the method needs.
    """

    def __init__(self, method: Method, weights: list):
        self._method = type(method).__name__
        self._weights = {index: weight for index, weight in enumerate(weights) if isinstance(weight, CompactWeight)}
        self._batches = 0
        self.watch(False)
        reason = self._obstacle(method.gradient_decay)
        if reason is not None:
            raise ValueError(
                f"{self._method} needs gradients where weights are pruned, and {self._name!r} is in compact storage: "
                f"{reason}, or use DSR, SET, DeepR, GradualPruning or Static."
            )

    @property
    def _name(self) -> str:
        return next(iter(self._weights.values())).name

    def _obstacle(self, decay: float | None) -> str | None:
        weight = next(iter(self._weights.values()))
        with strategy_of(weight.variable):
            are_several = replicas() > 1
        if decay:
            return "a moving average of them is as large as the dense kernel. Build the layer with storage='masked'"
        if not is_available():
            return "without numba the layer does not see them. Install keras-dsr[fast]"
        if are_several:
            return "each replica sees those of its own examples. Train on one device"
        return None

    def watch(self, is_due: bool) -> None:
        """Have the layers keep what passes in the next batches, or not: if a reallocation may follow them."""
        for weight in self._weights.values():
            seen = weight.layer.seen_gradients
            if is_due != seen.wanted:
                seen.forget()
                self._batches = 0
            seen.wanted = is_due

    def passed(self, batches: int) -> None:
        """So many batches have passed."""
        self._batches += batches

    def take(self) -> dict[int, tuple]:
        """For each weight in compact storage, by its index, its gradients, and positions and magnitudes of others.

        Raises:
            RuntimeError: none was seen, or it cannot be told which is that of the last step.
        """
        self._check()
        found = {}
        for index, weight in self._weights.items():
            seen, room = weight.layer.seen_gradients, weight.capacity // weight.unit_size
            largest = largest_gradients(weight.layer.window, seen.calls, weight.positions(), weight.unit_size, room)
            seen.forget()
            missing = 0, room - len(largest.positions)
            positions = np.pad(largest.positions, missing, constant_values=nowhere()).astype(position_dtype())
            of_existing = np.pad(largest.of_existing, (0, weight.capacity - weight.count()))
            arrays = of_existing, positions, np.pad(largest.magnitudes, missing)
            found[index] = tuple(map(ops.convert_to_tensor, arrays))
        return found

    def _check(self) -> None:
        seen = [weight.layer.seen_gradients for weight in self._weights.values()]
        passes = max(of_it.passes for of_it in seen)
        if not passes:
            raise RuntimeError(
                f"{self._method} grows weights where the gradient of the last step is largest, and no layer in compact "
                f"storage, such as that of {self._name!r}, has kept one. Expected: `Reallocator.step()` after each "
                "batch, or the callback, which ask for it in time. Received: a reallocation at another time. Nothing "
                "was changed."
            )
        if passes > self._batches or any(of_it.is_differentiated_again for of_it in seen):
            raise self._ambiguous(
                f"gradients passed {passes} times in {self._batches} batches, or were differentiated again"
            )

    def of_several_optimizers(self) -> RuntimeError:
        """What to raise where other optimizers train than the one that the model is compiled with."""
        return self._ambiguous("another optimizer takes steps than the one that the model is compiled with")

    def _ambiguous(self, received: str) -> RuntimeError:
        return RuntimeError(
            f"{self._method} grows weights where the gradient of the loss is largest, and a layer in compact storage, "
            f"such as that of {self._name!r}, sees all that passes back through it. Expected: one pass in each batch. "
            f"Received: {received}. Which gradient is that of the loss cannot be told, as in a GAN or with a penalty "
            "on gradients. Build the layers with storage='masked', or use DSR or SET. Nothing was changed."
        )
