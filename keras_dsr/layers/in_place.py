"""Turning a layer from its stock class into its masked one and back, in place: graph and optimizer stay as they are."""

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.keras_layers import remove_attributes, track_not_trainable, unlocked, untrack
from keras_dsr.layers.initial_scale import scaled
from keras_dsr.layers.masked_weight import OfActiveWeights
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import Pattern


class SwappedInPlace:
    """Mixin for a masked layer, which has the weights, masks and states that this moves."""

    @classmethod
    def convert(
        cls,
        layer: keras.layers.Layer,
        masks: dict[str, np.ndarray],
        pattern: Pattern,
        mask_seed: int,
        initial_scale: str,
    ) -> None:
        """Turn a built layer of the stock class into one of this class, with the given masks, in place.

        Weights keep their values where they are active, times a factor at active scale, and become 0 elsewhere. Graphs
        and optimizers stay as they are.

        Args:
            layer: a built layer whose class is `cls.stock_class`.
            masks: dict from names of weights to bool arrays of their shapes, drawn in whole units.
            pattern: of the masks.
            mask_seed: int, for the config.
            initial_scale: `"dense"`, or `"active"` for weights that are as the layer's initializers drew them.
        """
        layer.__class__ = cls
        vars(layer)["converted"] = True  # not by setattr: Keras tracks what is set
        units = {role: units_of(layer, role, mask.shape, pattern) for role, mask in masks.items()}
        sparsity = {role: 1 - float(units[role].active(mask, np).mean()) for role, mask in masks.items()}
        layer.configure(sparsity, pattern, mask_seed, None, initial_scale)
        with unlocked(layer):
            for role, mask in masks.items():
                variable = layer.variable_of(role)
                layer._add_mask(role, variable, mask)
                OfActiveWeights.wrap(layer, role, variable)
                values = scaled(ops.convert_to_tensor(variable), layer.scale_factor_of(role))
                variable.assign(mask_weights(values, mask))

    def to_stock(self) -> None:
        """Turn the layer into one of its stock class, in place, with zeros at pruned positions; see `to_sparse`."""
        trained = [role for role, passed_back in self.passed_back.items() if passed_back.trained is not None]
        vars(self)["_pruned_values"] = {role: ops.convert_to_numpy(self.variable_of(role)) for role in trained}
        for role in self.sparse_roles:
            variable = self.variable_of(role)
            mask = ops.convert_to_tensor(self.mask_of(role))
            variable.assign(mask_weights(ops.convert_to_tensor(variable), mask))
            OfActiveWeights.unwrap(variable)
        with unlocked(self):
            untrack(self, self.state_variables.values())
        self.__class__ = self.stock_class

    @classmethod
    def to_sparse(cls, layer: keras.layers.Layer) -> None:
        """Undo `to_stock`: masks and what methods keep are as they were, the values of pruned weights too."""
        layer.__class__ = cls
        with unlocked(layer):
            track_not_trainable(layer, layer.state_variables.values())
        for role in layer.sparse_roles:
            variable = layer.variable_of(role)
            OfActiveWeights.wrap(layer, role, variable)
        for role, values in vars(layer).pop("_pruned_values").items():
            layer.variable_of(role).assign(values)

    @classmethod
    def forget(cls, layer: keras.layers.Layer) -> None:
        """After `to_stock`: have the layer be of its stock class for good, without a trace of what it was."""
        roles = [role for role in cls.initializers if f"{role}_mask" in vars(layer)]
        kinds = ("mask", "threshold", "record", *layer.method_state)
        variables = [f"{role}_{kind}" for role in roles for kind in kinds]
        own = ("sparsity", "pattern", "mask_seed", "method_state", "initial_scale", "converted")
        remove_attributes(layer, [*variables, *own, "_passed_back", "_pruned_values"])
