"""What a layer in compact storage writes to files, and how it takes them: the weights that exist, and their places."""

from typing import Any

import numpy as np
from keras import ops

from keras_dsr.layers.compact_entries import check_entries
from keras_dsr.layers.record import Record, checked_threshold, loaded_record


class SavedAsList:
    """Mixin for a layer in compact storage, which has the lists that this saves and loads."""

    def save_own_variables(self, store):
        if not self.built:
            return
        count = int(ops.convert_to_numpy(self.kernel_count))
        for name, variable in self._lists.items():
            store[name] = ops.convert_to_numpy(variable)[:count]
        indices = ops.convert_to_numpy(self.kernel_indices)[:count]
        store["kernel_rows"], store["kernel_columns"] = indices[:, 0], indices[:, 1]
        store["kernel_threshold"], store["kernel_record"] = self.kernel_threshold, self.kernel_record
        if self.bias is not None:
            store["bias"] = self.bias

    def load_own_variables(self, store):
        if not self.built:
            return super().load_own_variables(store)
        entries: dict[str, Any] = {name: store[name] for name in store.keys()}  # noqa: SIM118 (no mapping)
        size, bias = self.kernel_values.shape[0], None if self.bias is None else tuple(self.bias.shape)
        owner = f"{type(self).__name__} {self.name!r}"
        record = entries.pop("kernel_record", None)
        checked = check_entries(entries, self.matrix_shape, size, bias, self.unit_size, owner)
        threshold = checked_threshold(entries["kernel_threshold"], owner)
        record = loaded_record(record, Record.of(self.kernel_record), len(checked["kernel_values"]), owner)
        own = {*self._lists, "kernel_rows", "kernel_columns", "kernel_threshold", "bias"}
        for name in sorted(set(entries) - own):
            self.add_state(name.removeprefix("kernel_"), str(entries[name].dtype))
        count = len(checked["kernel_values"])
        indices = np.stack([checked["kernel_rows"], checked["kernel_columns"]], axis=1)
        self.kernel_indices.assign(np.pad(indices, [(0, size - count), (0, 0)]).astype("int32"))
        for name, variable in self._lists.items():  # a method that left nothing there begins anew
            given = checked.get(name, np.zeros(count))
            variable.assign(np.pad(given, (0, size - count)).astype(variable.dtype))
        self.kernel_count.assign(count)
        self.kernel_threshold.assign(threshold)
        self.kernel_record.assign(record.array())
        if self.bias is not None:
            self.bias.assign(entries["bias"])
