"""Data sets that fit in memory, as streams whose order and augmentation depend on (seed, epoch, position) alone."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from train.data import tfds
from train.data.augmentation import crop_and_flip, normalize
from train.data.batch_shard import WHOLE, Part
from train.data.captions import cifar10_captions
from train.data.imagenet import ImageNet
from train.data.keywords import keywords
from train.data.shuffling import epoch_seed, shuffled
from train.data.speech import read_recordings, speech
from train.data.tasks import Task, classification
from train.data.text import python_documentation

TEST_BATCH_SIZE = 250


class Data(Protocol):
    """What a run needs of a data set."""

    train_examples: int
    test_examples: int

    @property
    def dimensions(self) -> dict:
        """The arguments of a network's builder that follow from the data, such as `input_shape` and `classes`."""

    @property
    def task(self) -> Task:
        """What a network is to do with the examples."""

    def train(
        self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int, part: Part = WHOLE
    ) -> tf.data.Dataset:
        """The batches of epochs `first_epoch` to `epochs - 1`, `steps` an epoch, `(inputs, targets)`.

        Each epoch is a permutation of the examples, short of a remainder, that is a function of (seed, epoch): a stream
        that starts at epoch e is the tail of the one that starts at 0. Of each batch of `batch_size` examples there are
        the rows of `part`, the very ones that the whole batch has there.

        Raises:
            ValueError: `batch_size` is not divisible by the number of parts.
        """

    def test(self) -> tf.data.Dataset:
        """The test set, in batches, always in the same order."""


@dataclasses.dataclass(frozen=True)
class InMemory:
    """Images held as they are stored, and normalized when they are read. See `Data`.

    Attributes:
        train_images: array of uint8 or float32 of shape `(examples, height, width, channels)`.
        train_labels: int array of shape `(examples,)`.
        test_images, test_labels: likewise.
        mean, std: one number a channel, in the units of the pixels.
        augment: a function of images, a seed and the part of the batch that they are, for training; None: as they are.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Callable[[tf.Tensor, tf.Tensor, Part], tf.Tensor] | None = None
    classes: int = 10

    def first(self, examples: int) -> "InMemory":
        """These data, with so many examples to train on, the first ones.

        Raises:
            ValueError: there are not so many.
        """
        if not 1 <= examples <= self.train_examples:
            raise ValueError(
                f"--train_examples must be from 1 to {self.train_examples:,}, which there are. "
                f"Received: --train_examples={examples}"
            )
        return dataclasses.replace(
            self, train_images=self.train_images[:examples], train_labels=self.train_labels[:examples]
        )

    def with_wrong_labels(self, share: float, seed: int) -> "InMemory":
        """These data, with labels to train on that are wrong: another class, each as likely.

        Args:
            share: float in [0, 1], how many of them.
            seed: int, which ones and which classes.
        """
        random = np.random.default_rng((seed, 0x1ABE1))
        labels = self.train_labels.copy()
        wrong = random.permutation(len(labels))[: round(share * len(labels))]
        labels[wrong] = (labels[wrong] + random.integers(1, self.classes, len(wrong))) % self.classes
        return dataclasses.replace(self, train_labels=labels)

    @property
    def dimensions(self) -> dict:
        return {"input_shape": self.train_images.shape[1:], "classes": self.classes}

    @property
    def task(self) -> Task:
        return classification(self.classes)

    @property
    def train_examples(self) -> int:
        return len(self.train_images)

    @property
    def test_examples(self) -> int:
        return len(self.test_images)

    def train(
        self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int, part: Part = WHOLE
    ) -> tf.data.Dataset:
        rows = part.rows(batch_size)
        with tf.device("CPU:0"):
            images, labels = tf.constant(self.train_images), tf.constant(self.train_labels)

        def batches(epoch):
            of_epoch = epoch_seed(seed, epoch)
            order = tf.reshape(shuffled(self.train_examples, of_epoch)[: steps * batch_size], (steps, batch_size))
            seeds = tf.map_fn(lambda step: tf.random.fold_in(of_epoch, step), tf.range(steps, dtype=tf.int64))
            return tf.data.Dataset.from_tensor_slices((order[:, rows], seeds))

        def read(order, seed):
            batch = tf.gather(images, order)
            if self.augment is not None:
                batch = self.augment(batch, seed, part)
            return normalize(batch, self.mean, self.std), tf.gather(labels, order)

        stream = tf.data.Dataset.range(first_epoch, epochs).flat_map(batches)
        return stream.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    def test(self) -> tf.data.Dataset:
        stream = tf.data.Dataset.from_tensor_slices((self.test_images, self.test_labels)).batch(TEST_BATCH_SIZE)
        return stream.map(lambda images, labels: (normalize(images, self.mean, self.std), labels)).prefetch(2)


def digits() -> InMemory:
    """The 1,797 digits of 8 x 8 pixels that come with scikit-learn: 1,440 to train, 357 to test, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = bunch.images[..., np.newaxis].astype("uint8"), bunch.target.astype("int64")
    split = train_test_split(images, labels, test_size=357, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = split
    return InMemory(train_images, train_labels, test_images, test_labels, mean=(4.88,), std=(6.02,))


@functools.cache
def load_data(name: str, data_dir: str | None = None) -> Data:
    """A data set by name, read once in a process. Nothing is ever downloaded.

    Args:
        name: one of `DATASETS`.
        data_dir: a folder of prepared TensorFlow Datasets; None: where TFDS keeps them. `"digits"` and
            `"python_documentation"` need none.

    Raises:
        FileNotFoundError: the data set has not been prepared there; the message says how to.
    """
    if name == "digits":
        return digits()
    if name == "python_documentation":
        return python_documentation()
    builder = tfds.find_builder(STORED_AS.get(name, name), data_dir)
    if name == "cifar10_captions":
        return cifar10_captions(builder)
    if name == "keywords":
        return InMemory(**keywords(read_recordings(builder)), mean=(0.0,), std=(1.0,))
    if name == "spoken_digit":
        return speech(read_recordings(builder))
    if name == "imagenet2012":
        return ImageNet(builder)
    return InMemory(*tfds.read_split(builder, "train"), *tfds.read_split(builder, "test"), **PREPARATION[name])


PREPARATION = {
    "mnist": {"mean": (33.32,), "std": (78.57,)},
    "fashion_mnist": {"mean": (72.94,), "std": (90.02,)},
    "cifar10": {"mean": (125.31, 122.95, 113.87), "std": (62.99, 62.09, 66.70), "augment": crop_and_flip},
}
STORED_AS = {"cifar10_captions": "cifar10", "keywords": "spoken_digit"}
DATASETS = (
    "digits",
    *PREPARATION,
    "imagenet2012",
    "cifar10_captions",
    "spoken_digit",
    "keywords",
    "python_documentation",
)
