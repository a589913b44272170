"""The experiments: one run trains one network by one method, and leaves one folder of results."""

import os
import sys

from train.backend import choose_backend

# Before TensorFlow is imported: its start-up notes would bury the progress.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
choose_backend(sys.argv)
