"""Files that were written, what damages them, and a reader that has no keras_dsr."""

import subprocess
import sys

import numpy as np


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def run_without_keras_dsr(code, folder):
    """Run code in a process in which `import keras_dsr` fails."""
    begin = "import sys; sys.modules['keras_dsr'] = None\n"
    result = subprocess.run(
        [sys.executable, "-c", begin + code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def damaged(whole: bytes, flips: int, cuts: int):
    """Versions of a file with one bit flipped, then cut short, at random positions."""
    random = np.random.default_rng(0)
    for bit in random.integers(8 * len(whole), size=flips):
        version = bytearray(whole)
        version[bit // 8] ^= 1 << bit % 8
        yield version
    for length in random.integers(len(whole), size=cuts):
        yield whole[:length]
