"""What a `SparseOptimizer` writes to files beside its wrapped optimizer, and how it takes it."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_dsr.layers.record import Record, checked_mask, checked_threshold, loaded_record
from keras_dsr.optimizers.checks import check_masks
from keras_dsr.optimizers.sparse_variable import SparseVariable

RESERVED = ("mask", "record", "gradient")  # roles of variables that no state may be named after


class SavedWithMasks:
    """Mixin for `SparseOptimizer`, which has the masks and states that this saves and loads."""

    def save_own_variables(self, store):
        """Write what is not the wrapped optimizer's, which Keras saves by itself."""
        for name, variable in self._named_variables().items():
            store[name] = ops.convert_to_numpy(variable)
        if self.gradient_decay is not None:
            store["gradient_decay"] = np.float64(self.gradient_decay)

    def load_own_variables(self, store):
        """Read what `save_own_variables` wrote; states that this optimizer does not have yet come along.

        Raises:
            ValueError: the masks in the file are not of the variables that this optimizer makes sparse.
        """
        stored = {name: store[name] for name in store.keys()}  # noqa: SIM118 (no mapping)
        if not self.built:
            warnings.warn(
                f"The masks of {self.name!r} were not loaded, because it has not been built: call "
                "`optimizer.build(model.trainable_variables)` before you load, or training will draw other masks.",
                stacklevel=2,
            )
            return
        if not stored:  # it was saved before its first step, with a dense model: it begins here
            self._begin()
            return
        check_masks(self.name, self._named_variables(), stored)
        decay = stored.pop("gradient_decay", self.gradient_decay)
        stored |= self._checked_records(stored)
        for name in sorted(stored):
            role = name.rpartition("_")[0]
            if role not in ("", *RESERVED, *self.state):
                self.add_state(role, str(stored[name].dtype))
        if decay is not None:
            self.remember_gradients(float(np.asarray(decay)))
        for name, variable in self._named_variables().items():
            if name in stored:
                variable.assign(stored[name])
            else:  # a method that the file knows nothing of begins anew
                variable.assign(np.zeros(tuple(variable.shape), variable.dtype))

    def _checked_records(self, stored: dict) -> dict[str, np.ndarray]:
        """The records of the masks that are loaded, which are checked; earlier versions stored none."""
        checked_threshold(stored["threshold"], repr(self.name))
        records = {}
        for index, sparse in self._numbered().items():
            owner = f"{sparse.name!r} in {self.name!r}"
            mask = checked_mask(stored[f"mask_{index}"], sparse.units, owner)
            own, active = Record.of(sparse.record), int(mask.sum())
            records[f"record_{index}"] = loaded_record(stored.get(f"record_{index}"), own, active, owner).array()
        return records

    def _numbered(self) -> dict[int, SparseVariable]:
        """What is trained, by its number among the variables that are: a loaded optimizer is built for those alone."""
        trained = {id(sparse.variable): sparse for sparse in self._trained}
        numbers = enumerate(variable for variable in self._built_for if variable.trainable)
        return {number: trained[id(variable)] for number, variable in numbers if id(variable) in trained}

    def _named_variables(self) -> dict[str, keras.Variable]:
        """What is saved, by role and number of the variable: the paths of variables differ between models."""
        named = {"threshold": self.sparse_variables[0].threshold} if self.sparse_variables else {}
        for index, sparse in self._numbered().items():
            named[f"mask_{index}"], named[f"record_{index}"] = sparse.mask, sparse.record
            named |= {f"{name}_{index}": variable for name, variable in sparse.state.items()}
            if sparse.gradient is not None:
                named[f"gradient_{index}"] = sparse.gradient
        return named
