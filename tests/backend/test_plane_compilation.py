"""Loops are compiled once on a machine, and who waits for it is told."""

import os
import subprocess
import sys
import time

import pytest

from keras_dsr.backend.plane_compilation import announced


def test_compilation_that_takes_more_than_a_second_is_announced_once(capsys):
    for kind, seconds in (("quick", 0.0), ("slow", 1.2), ("slow", 1.2)):
        with announced(kind, "float32"):
            time.sleep(seconds)
    assert capsys.readouterr().out == "Compiling sparse products for float32, once on this machine.\n"


COMPILED_TWICE = """
import numpy as np
from keras_dsr.backend.plane_kernels import forward_of_images
from keras_dsr.backend.plane_convolution import Convolution
from keras_dsr.backend.planes import Window
convolution = Convolution(Window(1, 1, (3,), (1,), (1,), "same"), (4, 5, 1))
structure = convolution.structure(np.zeros((1, 2), "int64"), 1)
convolution.forward(np.ones((4, 5, 1), "float32"), np.ones(1, "float32"), structure)
print(*(sum(getattr(forward_of_images.stats, which).values()) for which in ("cache_hits", "cache_misses")))
"""


@pytest.mark.backends("torch")
def test_what_one_process_compiles_the_next_reads_from_disk(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILED_TWICE]
    first, second = (subprocess.run(command, env=environment, check=True, capture_output=True) for _ in range(2))
    assert [run.stdout.splitlines()[-1] for run in (first, second)] == [b"0 1", b"1 0"]
