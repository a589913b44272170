"""Single spoken digits: every recording once, of one second, those of the test in no training."""

import numpy as np
import pytest

from train.data.in_memory import InMemory
from train.data.keywords import keywords
from train.data.speech import RATE

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def recordings():
    """Tones: digit d is one of 200 + 300 d Hz, from 0.1 to 1.9 seconds long."""
    chance = np.random.default_rng(0)
    found = {}
    for speaker in ("ann", "bob"):
        for digit in range(10):
            for index in range(8):
                time = np.arange(int(RATE * chance.uniform(0.1, 1.9))) / RATE
                tone = np.sin(2 * np.pi * (200 + 300 * digit) * time) + 0.1 * chance.normal(size=len(time))
                found[speaker, digit, index] = (8000 * tone).astype("int16")
    return found


def test_every_recording_is_an_example_in_its_set(recordings):
    data = keywords(recordings)
    assert data["train_images"].shape == (2 * 10 * 3, 49, 32, 1) and data["test_images"].shape == (
        2 * 10 * 5,
        49,
        32,
        1,
    )
    assert data["train_images"].dtype == "float32"
    assert np.bincount(data["train_labels"]).tolist() == [6] * 10
    assert np.bincount(data["test_labels"]).tolist() == [10] * 10


def test_frames_are_normalized_by_those_to_train_with(recordings):
    images = keywords(recordings)["train_images"]
    np.testing.assert_allclose(images.mean((0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(images.std((0, 1)), 1, atol=1e-2)


def test_a_recording_is_cut_or_padded_with_silence(recordings):
    long = keywords({name: np.concatenate([wave] * 20) for name, wave in recordings.items()})
    short = keywords({name: wave[: RATE // 10] for name, wave in recordings.items()})
    assert long["train_images"].shape == short["train_images"].shape
    silent = short["train_images"][:, 10:]
    assert (silent == silent[:1, :1]).all()


def test_the_nearest_mean_tells_the_tones_apart(recordings):
    data = InMemory(**keywords(recordings), mean=(0.0,), std=(1.0,))
    first = data.train_images[:, :4].mean((1, 3))
    means = np.stack([first[data.train_labels == digit].mean(0) for digit in range(10)])
    found = np.square(data.test_images[:, :4].mean((1, 3))[:, None] - means).sum(-1).argmin(1)
    assert (found == data.test_labels).mean() > 0.9


def test_a_run_takes_it(recordings):
    data = InMemory(**keywords(recordings), mean=(0.0,), std=(1.0,))
    (images, labels), *_ = data.train(seed=0, batch_size=20, steps=3, first_epoch=0, epochs=1)
    assert images.shape == (20, 49, 32, 1) and labels.shape == (20,)
    assert data.dimensions == {"input_shape": (49, 32, 1), "classes": 10}
