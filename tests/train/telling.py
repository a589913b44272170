"""`train.run` that tells, when training ends, a digest of all that each of its devices holds of the model."""

import hashlib

import keras
import numpy as np
from absl import app
from rich.console import Console

from train.distributed.cluster import joined
from train.flags import cluster_from_flags, define_cluster_flags, define_flags, quiet_libraries, settings_from_flags
from train.results.results import describe
from train.run import execute, prepare


class Tell(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        held = [
            variable.value.addressable_shards for variable in [*self.model.variables, *self.model.optimizer.variables]
        ]
        for of_device in zip(*held, strict=True):
            digest = hashlib.sha256(b"".join(np.asarray(shard.data).tobytes() for shard in of_device))
            print("digest", digest.hexdigest(), flush=True)


def main(argv):
    quiet_libraries()
    with joined(**cluster_from_flags()) as cluster:
        result = execute(prepare(settings_from_flags(), cluster), Console(quiet=not cluster.writes), Tell())
        if result is not None:
            print(describe(result))


if __name__ == "__main__":
    define_flags()
    define_cluster_flags()
    app.run(main)
