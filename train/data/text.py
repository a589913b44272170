"""The documentation of Python that Python itself ships, as characters: which one comes next?"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from train.data.batch_shard import WHOLE, Part
from train.data.shuffling import epoch_seed, shuffled
from train.data.tasks import Task

LENGTH = 128
TEST_SHARE = 0.1
BATCH_SIZE = 50


@dataclasses.dataclass(frozen=True)
class Text:
    """A text to train with and one to test with. See `Data`; an example is `LENGTH` characters and those after them.

    An epoch cuts the text from another place on, which is, as the order, a function of (seed, epoch).

    Attributes:
        train_characters, test_characters: int32 arrays of shape `(characters,)`, numbers below `vocabulary`.
        vocabulary: int, the number of different characters.
    """

    train_characters: np.ndarray
    test_characters: np.ndarray
    vocabulary: int

    @property
    def dimensions(self) -> dict:
        return {"vocabulary": self.vocabulary, "length": LENGTH}

    @property
    def task(self) -> Task:
        """Tell the next character: judged by the cross-entropy, in nats a character, the lower the better."""

        def metrics():
            return [keras.metrics.SparseCategoricalCrossentropy(name="nats", from_logits=True)]

        return Task(lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True), "nats", "min", metrics)

    @property
    def train_examples(self) -> int:
        return len(self.train_characters) // LENGTH - 1  # one less, so that there is another place to begin at

    @property
    def test_examples(self) -> int:
        return (len(self.test_characters) - 1) // LENGTH

    def train(
        self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int, part: Part = WHOLE
    ) -> tf.data.Dataset:
        rows = part.rows(batch_size)
        with tf.device("CPU:0"):
            characters = tf.constant(self.train_characters)

        def batches(epoch):
            of_epoch = epoch_seed(seed, epoch)
            begin = tf.random.stateless_uniform((), of_epoch, 0, LENGTH, tf.int32)
            starts = begin + LENGTH * shuffled(self.train_examples, of_epoch)[: steps * batch_size]
            return tf.data.Dataset.from_tensor_slices(tf.reshape(starts, (steps, batch_size))[:, rows])

        def read(starts):
            windows = tf.gather(characters, starts[:, None] + tf.range(LENGTH + 1))
            return windows[:, :-1], windows[:, 1:]

        return tf.data.Dataset.range(first_epoch, epochs).flat_map(batches).map(read).prefetch(2)

    def test(self) -> tf.data.Dataset:
        starts = LENGTH * np.arange(self.test_examples)[:, None]
        windows = self.test_characters[starts + np.arange(LENGTH + 1)]
        return tf.data.Dataset.from_tensor_slices((windows[:, :-1], windows[:, 1:])).batch(BATCH_SIZE)


def python_documentation() -> Text:
    """The topics of `help()`, 465,000 characters in Python 3.11; other versions have others.

    The end of each topic, a tenth of it, is of the test.
    """
    from pydoc_data.topics import topics

    train, test = "", ""
    for _, text in sorted(topics.items()):
        cut = round((1 - TEST_SHARE) * len(text))
        train, test = train + text[:cut], test + text[cut:]
    return of_texts(train, test)


def of_texts(train: str, test: str) -> Text:
    """The characters of two texts, numbered by all that occur, in their order."""
    alphabet = np.unique(_codes(train + test))
    return Text(*(np.searchsorted(alphabet, _codes(text)).astype("int32") for text in (train, test)), len(alphabet))


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "uint32")
