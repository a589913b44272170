"""Data sets that fit in memory, as streams whose order and augmentation depend on (seed, epoch, position) alone."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from train import prepared
from train.augmentation import crop_and_flip, normalize
from train.imagenet import ImageNet

TEST_BATCH_SIZE = 250


class Data(Protocol):
    """What a run needs of a data set."""

    input_shape: tuple[int, int, int]
    classes: int
    train_examples: int

    def train(self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int) -> tf.data.Dataset:
        """The batches of epochs `first_epoch` to `epochs - 1`, `steps` an epoch, `(images, labels)`.

        Each epoch is a permutation of the examples, short of a remainder, that is a function of (seed, epoch): a stream
        that starts at epoch e is the tail of the one that starts at 0.
        """

    def test(self) -> tf.data.Dataset:
        """The test set, in batches, always in the same order."""


@dataclasses.dataclass(frozen=True)
class InMemory:
    """Images held as they are stored (uint8), and normalized when they are read. See `Data`.

    Attributes:
        train_images: uint8 array of shape `(examples, height, width, channels)`.
        train_labels: int array of shape `(examples,)`.
        test_images, test_labels: likewise.
        mean, std: one number a channel, in the units of the pixels.
        augment: a function of a batch of images and a seed, for training; None: images as they are.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None
    classes: int = 10

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.train_images.shape[1:]

    @property
    def train_examples(self) -> int:
        return len(self.train_images)

    def train(self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int) -> tf.data.Dataset:
        with tf.device("CPU:0"):
            images, labels = tf.constant(self.train_images), tf.constant(self.train_labels)

        def batches(epoch):
            epoch_seed = tf.stack((tf.constant(seed, tf.int64), epoch))
            order = tf.random.experimental.stateless_shuffle(tf.range(self.train_examples), seed=epoch_seed)
            order = tf.reshape(order[: steps * batch_size], (steps, batch_size))
            seeds = tf.map_fn(lambda step: tf.random.fold_in(epoch_seed, step), tf.range(steps, dtype=tf.int64))
            return tf.data.Dataset.from_tensor_slices((order, seeds))

        def read(order, seed):
            batch = tf.gather(images, order)
            if self.augment is not None:
                batch = self.augment(batch, seed)
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
        data_dir: a folder of prepared TensorFlow Datasets; None: where TFDS keeps them. `"digits"` needs none.

    Raises:
        FileNotFoundError: the data set has not been prepared there; the message says how to.
    """
    if name == "digits":
        return digits()
    builder = prepared.find_builder(name, data_dir)
    if name == "imagenet2012":
        return ImageNet(builder)
    return InMemory(*prepared.read_split(builder, "train"), *prepared.read_split(builder, "test"), **PREPARATION[name])


PREPARATION = {
    "mnist": {"mean": (33.32,), "std": (78.57,)},
    "fashion_mnist": {"mean": (72.94,), "std": (90.02,)},
    "cifar10": {"mean": (125.31, 122.95, 113.87), "std": (62.99, 62.09, 66.70), "augment": crop_and_flip},
}
DATASETS = ("digits", *PREPARATION, "imagenet2012")
