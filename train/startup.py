"""Importing TensorFlow without its notes: each process of a comparison would begin with some lines of them."""

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator

PROGRAM = ("__main__", "__mp_main__")  # what a program is called as, and in the processes that it starts

# C++ writes to the file descriptor, before TensorFlow has set its level. A process of its own reads that, and passes on
# what is no note: a thread here would end with the program, and take along why TensorFlow ended it.
FILTER = r"""
import os, re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
has_gpu = os.path.exists("/proc/driver/nvidia")
note = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\)"
    r"|[IW]\d{4} \d\d:\d\d:"                              # information and warnings of abseil
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "        # those of earlier versions
    r"|To enable the following instructions"
    r"|.*Unable to register cu\w+ (factory|plugin)"       # TensorFlow and JAX or torch in one process
    + ("" if has_gpu else r"|.*failed call to cuInit")    # an error where there is a GPU
)
for line in sys.stdin:
    if not note.match(line):
        sys.stderr.write(line)
        sys.stderr.flush()
"""


def import_tensorflow() -> None:
    """Import TensorFlow, and with it Keras, whose backend must have been chosen, and look for GPUs.

    What libraries write to stderr meanwhile is passed on, but for notes that say nothing about what was asked for.
    """
    if "tensorflow" in sys.modules:
        return
    with _notes_left_out():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.list_physical_devices("GPU")


@contextlib.contextmanager
def _notes_left_out() -> Iterator[None]:
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    reader = subprocess.Popen([sys.executable, "-I", "-S", "-c", FILTER], stdin=subprocess.PIPE)
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)  # the end of what the reader reads
        os.close(stderr)
        reader.wait()
