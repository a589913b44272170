"""The gradients of weights in compact storage, also where they are pruned, for a method that grows by them."""

import numpy as np
from keras import ops

from keras_dsr.backend.distribution import replicas, strategy_of
from keras_dsr.backend.plane_compilation import is_available
from keras_dsr.backend.seen_gradients import largest_gradients
from keras_dsr.methods.base import Method
from keras_dsr.ops.positions import nowhere, position_dtype
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.layer_gradients import LayerGradients


class CompactGradients(LayerGradients):
    """What layers in compact storage see of the gradient of the last step before a reallocation.

    Raises:
        ValueError: layers in compact storage cannot tell what the method needs.
    """

    def __init__(self, method: Method, weights: dict[int, CompactWeight]):
        super().__init__(method, weights)
        self.watch(False)
        reason = self._obstacle(method.gradient_decay)
        if reason is not None:
            raise ValueError(
                f"{self._method} needs gradients where weights are pruned, and {self._name!r} is in compact storage: "
                f"{reason}, or use DSR, SET, DeepR, GradualPruning or Static."
            )

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
        """Have the layers keep what passes in the next batches, or not."""
        for weight in self._weights.values():
            seen = weight.layer.seen_gradients
            if is_due != seen.wanted:
                seen.forget()
                self._batches = 0
            seen.wanted = is_due

    def take(self) -> dict[int, tuple]:
        """For each weight its gradients, and positions and magnitudes of others."""
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
