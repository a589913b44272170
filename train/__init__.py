"""The experiments: one run trains one network by one method, and leaves one folder of results."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes would bury the progress
