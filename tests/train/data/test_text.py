"""A text is cut from another place in each epoch, and what comes next is what a network is to tell."""

import keras
import numpy as np
import pytest

from train.data.batch_shard import Part
from train.data.text import LENGTH, Text, of_texts, python_documentation

pytestmark = pytest.mark.once


@pytest.fixture
def data():
    """Each character is its place, so that a window shows where it begins."""
    return Text(np.arange(10 * LENGTH + 7, dtype="int32"), np.arange(3 * LENGTH + 1, dtype="int32"), 11 * LENGTH)


def windows(data, **settings):
    settings = {"seed": 1, "batch_size": 3, "steps": 3, "first_epoch": 0, "epochs": 1} | settings
    read = [np.concatenate(part) for part in zip(*data.train(**settings).as_numpy_iterator())]
    return read


def test_targets_are_the_characters_after_the_inputs(data):
    inputs, targets = windows(data)
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(LENGTH))


def test_an_epoch_has_every_part_once_from_a_place_of_its_own(data):
    assert data.train_examples == 9
    begins = [windows(data, first_epoch=epoch, epochs=epoch + 1)[0][:, 0] for epoch in range(3)]
    for begin in begins:
        assert len(set(begin.tolist())) == 9 and len(set((begin % LENGTH).tolist())) == 1
    assert len({int(begin[0] % LENGTH) for begin in begins}) > 1


def test_a_later_epoch_is_the_tail_of_the_stream(data):
    whole, _ = windows(data, epochs=3)
    np.testing.assert_array_equal(whole[9:], windows(data, first_epoch=1, epochs=3)[0])
    assert (windows(data, seed=2)[0] != whole[:9]).any()


def test_parts_of_a_batch_are_its_rows(data):
    whole, _ = windows(data, batch_size=4, steps=2)
    parts = [windows(data, batch_size=4, steps=2, part=Part(index, 2))[0].reshape(2, 2, LENGTH) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1).reshape(8, LENGTH), whole)


def test_the_test_is_read_in_order(data):
    ((inputs, targets),) = data.test().as_numpy_iterator()
    assert data.test_examples == 3
    np.testing.assert_array_equal(inputs.reshape(-1), np.arange(3 * LENGTH))
    np.testing.assert_array_equal(targets, inputs + 1)


def test_characters_are_numbered_by_their_order():
    text = of_texts("cab€", "bad")
    assert text.vocabulary == 5
    assert text.train_characters.tolist() == [2, 0, 1, 4] and text.test_characters.tolist() == [1, 0, 3]


def test_a_tenth_of_the_documentation_of_python_is_of_the_test():
    from pydoc_data.topics import topics

    data = python_documentation()
    sizes = len(data.train_characters), len(data.test_characters)
    assert sum(sizes) == sum(map(len, topics.values()))
    assert abs(sizes[1] / sum(sizes) - 0.1) < 0.001
    assert data.train_characters.min() >= 0 and data.train_characters.max() < data.vocabulary


def test_the_score_is_the_cross_entropy_in_nats(data):
    task = data.task
    (metric,) = task.metrics()
    assert (task.score, task.best) == (metric.name, "min")
    logits, targets = np.zeros((1, LENGTH, 8), "float32"), np.ones((1, LENGTH), "int32")
    assert abs(float(metric(targets, logits)) - np.log(8)) < 1e-5
    assert abs(float(keras.ops.convert_to_numpy(task.loss()(targets, logits))) - np.log(8)) < 1e-5
