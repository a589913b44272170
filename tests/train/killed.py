"""`train.run` that is killed in mid-epoch: `python -m tests.train.killed EPOCH --method=dsr ...`.

It gets its SIGKILL at the first end of a batch in the second half of that epoch, counted from 0.
"""

import os
import signal

import keras
from absl import app
from rich.console import Console

from train.distributed.cluster import joined
from train.flags import cluster_from_flags, define_cluster_flags, define_flags, quiet_libraries, settings_from_flags
from train.run import execute, prepare


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch: int):
        super().__init__()
        self._last = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params["steps"]
        if self._epoch == self._last and steps // 2 <= batch + 1 < steps:
            os.kill(os.getpid(), signal.SIGKILL)


def main(argv):
    quiet_libraries()
    with joined(**cluster_from_flags()) as cluster:
        execute(prepare(settings_from_flags(), cluster), Console(), Kill(int(argv[1])))


if __name__ == "__main__":
    define_flags()
    define_cluster_flags()
    app.run(main)
