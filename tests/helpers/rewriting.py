"""Saves and exports two models in turn, in children that are killed: `python -m tests.helpers.rewriting FOLDER ROUNDS`.

What each kill has left is moved into a folder of its round. Nothing of TensorFlow runs in the parent, so that it can be
forked: a child is quickly there.
"""

import os
import pathlib
import random
import shutil
import signal
import sys
import time

import keras

import keras_dsr as dsr


def models() -> list[keras.Model]:
    """Two models whose outputs for ones differ."""
    return [
        keras.Sequential(
            [
                keras.Input((64,)),
                dsr.SparseDense(400, sparsity=sparsity, mask_seed=1, kernel_initializer="ones", activation="relu"),
                dsr.SparseDense(1, sparsity=0.5, mask_seed=2, kernel_initializer="ones", use_bias=False),
            ]
        )
        for sparsity in (0.8, 0.9)
    ]


def rewrite(folder: pathlib.Path, begun: int) -> None:
    written = 0
    both = models()
    while True:
        for model in both:
            dsr.save(model, folder / "plain.keras")
            dsr.save(model, folder / "resumable.keras", resumable=True)
            dsr.export(model, folder / "packed")
            if not written:
                os.write(begun, b"1")
            written += 1


def main(folder: pathlib.Path, rounds: int) -> None:
    choice = random.Random(0)
    for number in range(rounds):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            rewrite(folder, writer)
        os.read(reader, 1)
        time.sleep(choice.uniform(0, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for name in ("plain.keras", "resumable.keras", "packed"):
            copy = shutil.copytree if (folder / name).is_dir() else shutil.copy
            (folder.parent / str(number)).mkdir(exist_ok=True)
            copy(folder / name, folder.parent / str(number) / name)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
