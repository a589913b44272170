"""Two machines that this one is not, to run LiteRT files on: an emulated ARM64, and a browser's WebAssembly.

`make machines` sets them up, in .machines; where it was not run, what needs them is skipped.
"""

import json
import os
import pathlib
import subprocess
from typing import NamedTuple

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[2] / ".machines"
ARM_PYTHON = FOLDER / "arm/root/usr/bin/python3.11"
PROCESSOR = "cortex-a76"  # of phones; with SVE, qemu's own default, products in int8 come out wrong
PACKAGE = FOLDER / "browser/node_modules/@litertjs/core"


class Ran(NamedTuple):
    """The first output of the last of some files, flat, and of each file the processor milliseconds of each round."""

    output: np.ndarray
    milliseconds: list[list[float]]


needs_machines = pytest.mark.skipif(not (FOLDER / "ready").exists(), reason="make machines was not run")


def on_arm(paths: list[pathlib.Path], inputs: np.ndarray, folder: pathlib.Path, rounds: int = 1) -> Ran:
    """Run files of one input by LiteRT's wheel for ARM64, emulated: its time stands for instructions.

    Raises:
        RuntimeError: one of them does not run there.
    """
    np.save(folder / "inputs.npy", inputs)
    files = [folder / "inputs.npy", folder / "output.npy", *paths]
    command = ["qemu-aarch64-static", "-L", FOLDER / "arm/root", ARM_PYTHON, HERE / "run.py", str(rounds), *files]
    printed = _run(command, {**os.environ, "PYTHONPATH": str(FOLDER / "arm/site"), "QEMU_CPU": PROCESSOR})
    return Ran(np.load(folder / "output.npy").reshape(-1), json.loads(printed.splitlines()[-1]))


def in_browser(paths: list[pathlib.Path], inputs: np.ndarray, folder: pathlib.Path, rounds: int = 1) -> Ran:
    """Run files of one input in LiteRT.js, under node.

    Raises:
        RuntimeError: one of them does not run there.
    """
    inputs.astype("<f4").tofile(folder / "inputs.bin")
    shape = ",".join(map(str, inputs.shape))
    command = ["node", "--experimental-wasm-relaxed-simd", HERE / "run.mjs", PACKAGE, str(rounds)]
    printed = _run([*command, folder / "inputs.bin", folder / "output.bin", shape, *paths])
    if "ERROR:" in printed:  # which LiteRT.js says, and goes on
        raise RuntimeError(printed[-1000:])
    return Ran(np.fromfile(folder / "output.bin", "<f4"), json.loads(printed.splitlines()[-1]))


def _run(command: list, environment: dict | None = None) -> str:
    process = subprocess.run(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if process.returncode:
        raise RuntimeError(process.stdout[-1000:])
    return process.stdout
