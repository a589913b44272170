"""The order of the examples in an epoch: a function of (seed, epoch) alone."""

import tensorflow as tf


def epoch_seed(seed: int, epoch) -> tf.Tensor:
    """The seed of an epoch, an int64 tensor of shape `(2,)`."""
    return tf.stack((tf.constant(seed, tf.int64), epoch))


def shuffled(examples: int, seed: tf.Tensor) -> tf.Tensor:
    """A permutation of the numbers of the examples, an int32 tensor of shape `(examples,)`."""
    return tf.random.experimental.stateless_shuffle(tf.range(examples), seed=seed)
