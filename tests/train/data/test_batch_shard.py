"""The parts of a batch that several processes read, one after the other, are the batch that one process reads."""

import numpy as np
import pytest

from train.data.augmentation import crop_and_flip
from train.data.batch_shard import WHOLE, Part
from train.data.captions import Captions
from train.data.in_memory import InMemory, digits
from train.data.speech import Speech

pytestmark = pytest.mark.backends("tensorflow")  # reading knows nothing of Keras's backend


def colored() -> InMemory:
    """40 images of 8 x 8 pixels in 3 colors, augmented as those of CIFAR-10."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype("uint8")
    return InMemory(images, np.arange(40), images, np.arange(40), (120.0,) * 3, (60.0,) * 3, augment=crop_and_flip)


def captions() -> Captions:
    features, classes = np.random.default_rng(0).normal(size=(40, 6)).astype("float32"), np.arange(40) % 10
    return Captions(features, classes, features, classes)


def speech() -> Speech:
    frames = np.random.default_rng(0).normal(size=(40, 5, 4)).astype("float32")
    labels = np.arange(80, dtype="int32").reshape(40, 2)
    return Speech(frames, labels, frames, labels)


def arrays(batch) -> list[np.ndarray]:
    """The arrays of `(inputs, targets)`, where the inputs may be a dict."""
    inputs, targets = batch
    return [*(inputs.values() if isinstance(inputs, dict) else [inputs]), targets]


@pytest.mark.parametrize("make", [digits, colored, captions, speech])
@pytest.mark.parametrize("count", [2, 4])
def test_the_parts_put_together_are_the_whole(make, count):
    data = make()
    streams = [
        data.train(3, 8, 5, 1, 3, part).as_numpy_iterator() for part in [WHOLE, *(Part(i, count) for i in range(count))]
    ]
    batches = list(zip(*streams, strict=True))
    assert len(batches) == 10
    for whole, *parts in batches:
        for expected, *found in zip(arrays(whole), *map(arrays, parts), strict=True):
            assert {len(rows) for rows in found} == {8 // count}
            np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("make", [digits, colored, captions, speech])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(make):
    message = r"divisible by 3, the number of processes .* Received: batch_size=8\. 6 would do\."
    with pytest.raises(ValueError, match=message):
        make().train(3, 8, 5, 0, 1, Part(0, 3))


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_does_not_exist_is_refused(index, count):
    with pytest.raises(ValueError, match=rf"0 <= index < count.* Received: index={index}, count={count}"):
        Part(index, count)


def test_rows_are_worked_out_by_hand():
    assert [Part(i, 3).rows(12) for i in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert WHOLE.rows(7) == slice(0, 7)
