"""A program that sees several devices of TensorFlow: `python -m tests.train.on_devices 2 train.run ...`."""

import runpy
import sys

from tests.devices.devices import make_tensorflow_devices

if __name__ == "__main__":
    _, count, module, *arguments = sys.argv
    make_tensorflow_devices(int(count))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
