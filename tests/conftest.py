"""What every test has: a quiet TensorFlow, fixed random numbers, and property tests that repeat exactly."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the models are small, and the tests run in several processes

import hypothesis
import keras
import pytest

hypothesis.settings.register_profile("keras_dsr", deadline=None, derandomize=True, max_examples=15, database=None)
hypothesis.settings.load_profile("keras_dsr")
# `pytest --hypothesis-profile=thorough` looks further than there is time for at every change.
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300, database=None)


@pytest.fixture(autouse=True)
def fixed_random_numbers():
    keras.utils.set_random_seed(0)
