"""What a run leaves after each epoch: a row of metrics, in the checkpoint, in metrics.csv and for TensorBoard."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_dsr as dsr
from train.data.tasks import Task
from train.experiment.network import Network
from train.storage import checkpoint
from train.storage.run_folder import clear, write_rows


class Measure(keras.callbacks.Callback):
    """Adds learning rate and sparsity to the logs of an epoch, and of sparse kernels the active weights of each kernel
    and `changed`: the fraction of the active weights that were not active when the epoch began.

    A score that no metric gives is taken too, on the test set. List it after the callback that moves weights and before
    those that read the logs.
    """

    def __init__(self, network: Network, task: Task):
        super().__init__()
        self._network = network
        self._task = task

    def on_epoch_begin(self, epoch, logs=None):
        self._learning_rate = float(self.model.optimizer.learning_rate)
        self._masks = self._read_masks()

    def on_epoch_end(self, epoch, logs=None):
        active = self._network.active()
        logs["learning_rate"] = self._learning_rate
        logs["sparsity"] = 1 - self._network.active_weights() / self._network.weights()
        if active:
            new = sum((now & ~before).sum() for now, before in zip(self._read_masks(), self._masks))
            logs["changed"] = float(new / sum(active.values()))
        if self._task.measure is not None:
            logs[f"val_{self._task.score}"] = self._task.measure(self.model)
        logs.update({f"active/{name}": count for name, count in active.items()})

    def _read_masks(self) -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(weight.mask) for weight in dsr.sparse_weights(self.model)]


class Record(keras.callbacks.Callback):
    """Keeps one row of metrics for each epoch, and writes all that a restart needs when an epoch ends.

    The checkpoint goes first and holds the rows: whatever else was not written when a run is killed is written again
    from it, so that no file lacks a row or has one twice.

    Args:
        folder: the folder of the run.
        progress: the epochs that are complete.
        writes: whether to write; else rows are kept only.
    """

    def __init__(self, folder: Path, progress: checkpoint.Progress, writes: bool = True):
        super().__init__()
        self.rows = list(progress.rows)
        self._folder = folder
        self._writes = writes

    def on_train_begin(self, logs=None):
        self._writers = {}
        if not self._writes:
            return
        clear(self._folder / "tensorboard")
        self._writers = {
            part: tf.summary.create_file_writer(str(self._folder / "tensorboard" / part)) for part in ("train", "test")
        }
        for row in self.rows:
            self._write_summary(row)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch, **{name: _plain(value) for name, value in logs.items()}})
        if not self._writes:
            return
        progress = checkpoint.Progress(epoch + 1, self.rows)
        checkpoint.save(self._folder / "checkpoint", self.model, progress)
        write_rows(self._folder / "metrics.csv", self.rows)
        self._write_summary(self.rows[-1])

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()

    def _write_summary(self, row: dict):
        for name, value in row.items():
            part, tag = ("test", name.removeprefix("val_")) if name.startswith("val_") else ("train", name)
            with self._writers[part].as_default(step=row["epoch"]):
                tf.summary.scalar(tag, value)
        for writer in self._writers.values():
            writer.flush()


def _plain(value) -> int | float:
    """A number of Python: counts as int, all else as float."""
    return value if isinstance(value, int) else float(value)
