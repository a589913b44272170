"""NeuralTalk (Karpathy & Fei-Fei 2015, arXiv 1412.2306; Vinyals et al. 2015, arXiv 1411.4555): captions of images."""

import math
from collections.abc import Callable

import keras
from keras import layers


def neural_talk(
    features: int = 4096,
    vocabulary: int = 2538,
    length: int = 20,
    dense: Callable[..., layers.Layer] = layers.Dense,
    recurrent: Callable[..., layers.Layer] = layers.LSTM,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """An LSTM that reads an image and then the words so far; it returns logits of the next word at each position.

    The image is the first step of the LSTM and the words follow, each in an embedding of as many numbers as the LSTM
    has units. The embedding of words is always dense, as in Han et al. 2017 (arXiv 1607.04381). They name 6.8M
    parameters for Flickr-8K. Our reading: 4096 features of VGG-16, 2,538 words and 512 units everywhere make
    6,798,314, that is 2,097,664 of the image's embedding, 1,299,456 of the words', 2,099,200 of the LSTM and 1,301,994
    of the output.

    Args:
        features: int, numbers that describe an image.
        vocabulary: int, the number of words, among them those that begin, end and pad a sentence.
        length: int, positions of a sentence.
        dense: builds the embedding of the image and the output layer, such as
            `functools.partial(keras_dsr.SparseDense, sparsity=0.8)`.
        recurrent: builds the recurrent layer, such as `functools.partial(keras_dsr.SparseLSTM, sparsity=0.8)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        width: positive number, the factor on the 512 units (rounded, at least one).

    Returns:
        An uncompiled functional model from `{"features": ..., "words": ...}`, of shapes `(batch, features)` and
        `(batch, length)`, words as int, to `(batch, length, vocabulary)`. Position t depends on the image and on words
        0 to t, so that greedy decoding fills in word t + 1 and calls the model again.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(
            "neural_talk(width=...) must be a positive number: the factor on the 512 units, such as 1 or 0.25. "
            f"Received: {width}"
        )
    units = max(1, round(512 * width))
    image = keras.Input((features,), name="features")
    words = keras.Input((length,), dtype="int32", name="words")
    first = layers.Reshape((1, units))(dense(units, kernel_regularizer=kernel_regularizer)(image))
    steps = layers.Concatenate(axis=1)([first, layers.Embedding(vocabulary, units)(words)])
    regularizers = {"kernel_regularizer": kernel_regularizer, "recurrent_regularizer": kernel_regularizer}
    states = recurrent(units, return_sequences=True, **regularizers)(steps)
    after_words = layers.Cropping1D((1, 0))(states)  # the first word, which begins the sentence, is given
    logits = dense(vocabulary, kernel_regularizer=kernel_regularizer)(after_words)
    outputs = layers.Activation("linear", dtype="float32", name="logits")(logits)
    return keras.Model({"features": image, "words": words}, outputs, name="neural_talk")
