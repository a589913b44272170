"""What a masked layer writes to files, and how it takes them: the weight as the network sees it, and all beside it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_dsr.backend.keras_layers import track_not_trainable, unlocked, untrack
from keras_dsr.layers.record import Record, checked_mask, checked_threshold, loaded_record

STORED = "stored"  # in files, beside a weight as the network sees it, all its values, where pruned ones are trained


class SavedWithMasks:
    """Mixin for a masked layer, which has the weights, masks and states that this saves and loads."""

    @contextlib.contextmanager
    def _state_set_aside(self) -> Iterator[None]:
        """Inside the block Keras finds the variables of the stock class alone in the layer."""
        state = list(self.state_variables.values())
        with unlocked(self):
            untrack(self, state)
            try:
                yield
            finally:
                track_not_trainable(self, state)

    def save_own_variables(self, store):
        entries: dict[str, Any] = {}
        for passed_back in self.passed_back.values():
            passed_back.settle()
        with self._state_set_aside() if self.built else contextlib.nullcontext():
            super().save_own_variables(entries)
        masked = {id(self.variable_of(role)): getattr(self, role) for role in self.sparse_roles}
        for name, value in {**entries, **self.state_variables}.items():
            store[name] = masked.get(id(value), value)
        for role, passed_back in self.passed_back.items():
            if passed_back.trained is not None:  # beside what the network sees
                store[f"{role}_{STORED}"] = self.variable_of(role)

    def load_own_variables(self, store):
        if not self.built:
            return super().load_own_variables(store)
        entries = {name: store[name] for name in store.keys()}  # noqa: SIM118 (no mapping)
        state = {name: entries.pop(name) for name in list(entries) if not name.isdigit()}
        self._check_masks_of(state)
        records = {f"{role}_record": self._checked_record(role, state) for role in self.sparse_roles}
        stored = {role: state.pop(f"{role}_{STORED}", None) for role in self.sparse_roles}
        for name in sorted(state):  # weights of a model that a method has used bring its state along
            if name not in self.state_variables:
                role = max((role for role in self.sparse_roles if name.startswith(f"{role}_")), key=len)
                self.add_state(name.removeprefix(f"{role}_"), str(state[name].dtype))
        raw = {role: self.variable_of(role) for role in self.sparse_roles}
        with self._state_set_aside(), self._reading(raw):  # Keras assigns to some by their attributes
            super().load_own_variables(entries)
        for role, value in stored.items():
            if value is not None:
                raw[role].assign(value)
        state |= {name: record.array() for name, record in records.items()}
        for name, variable in self.state_variables.items():  # others have none of it: the method begins anew
            variable.assign(state[name] if name in state else np.zeros(tuple(variable.shape), variable.dtype))

    def _checked_record(self, role: str, state: dict) -> Record:
        """The record of a weight whose mask and threshold are loaded, which are checked."""
        owner = f"{role!r} of {type(self).__name__} {self.name!r}"
        stored, own = np.shape(state[f"{role}_mask"]), tuple(self.variable_of(role).shape)
        if stored != own:
            raise ValueError(
                f"The weights that are loaded into {owner} have another shape: {stored} there, {own} here. Build the "
                "model as the one that was saved."
            )
        mask = checked_mask(state[f"{role}_mask"], self.units_of_role(role), owner)
        checked_threshold(state[f"{role}_threshold"], owner)
        own = Record.of(getattr(self, f"{role}_record"))
        return loaded_record(state.get(f"{role}_record"), own, int(mask.sum()), owner)

    def _check_masks_of(self, state: dict) -> None:
        stored, own = (
            sorted(name.removesuffix("_mask") for name in names if name.endswith("_mask"))
            for names in (state, self.state_variables)
        )
        if "kernel_rows" in state:
            raise ValueError(
                f"The weights that are loaded into {type(self).__name__} {self.name!r} are of a layer in compact "
                "storage, and this one is masked. Build it with storage='compact'."
            )
        if stored != own:
            raise ValueError(
                f"The weights that are loaded into {type(self).__name__} {self.name!r} have masks for "
                f"{', '.join(stored) or 'no weight'}, and the layer has sparse weights: {', '.join(own) or 'none'}. "
                "Build and sparsify the model as the one that was saved. (Weights of a dense model load into the dense "
                "model: load first, then call `keras_dsr.sparsify(model, mask='magnitude')`.)"
            )
