"""Captions in words for the images of CIFAR-10, from features that were learned without labels."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from train.data import tfds
from train.data.batch_shard import WHOLE, Part
from train.data.shuffling import epoch_seed, shuffled
from train.data.tasks import Task

# The sentences that describe an image, by its class in CIFAR-10.
CAPTIONS = (
    (  # airplane
        "an airplane flies high in the sky",
        "a jet is ready for take off",
        "a plane with two wings is in the air",
        "a white airplane stands on the runway",
        "a plane comes in to land at the airport",
    ),
    (  # automobile
        "a car drives along the street",
        "a shiny car is parked outside a house",
        "a small automobile waits at the red light",
        "a car with four doors is for sale",
        "an old car stands in the garage",
    ),
    (  # bird
        "a bird sits on a branch",
        "a little bird is looking for seeds",
        "a bird with long feathers sings in a tree",
        "a big bird walks through the bushes",
        "a young bird opens its beak",
    ),
    (  # cat
        "a cat sleeps on the sofa",
        "a kitten is playing with a ball of wool",
        "a striped cat looks out of the window",
        "a cat with green eyes is watching a mouse",
        "a fluffy cat licks its paw",
    ),
    (  # deer
        "a deer stands in the forest",
        "a deer is eating grass in a meadow",
        "a stag with large antlers looks around",
        "a brown deer runs between the trees",
        "a fawn follows its mother through the woods",
    ),
    (  # dog
        "a dog runs after a stick",
        "a puppy is sitting on the floor",
        "a dog with floppy ears waits for its owner",
        "a happy dog wags its tail",
        "a dog on a leash barks at strangers",
    ),
    (  # frog
        "a frog sits on a leaf",
        "a green frog is hiding in the mud",
        "a frog with wet skin jumps into the pond",
        "a toad rests on a stone",
        "a tiny frog catches a fly",
    ),
    (  # horse
        "a horse gallops across the field",
        "a horse is standing in its stable",
        "a rider sits on a brown horse",
        "a horse with a long mane pulls a cart",
        "a foal stays close to the mare",
    ),
    (  # ship
        "a ship sails on the sea",
        "a boat is leaving the harbor",
        "a ship with many containers crosses the ocean",
        "a large vessel floats on calm water",
        "a fishing boat lies at anchor",
    ),
    (  # truck
        "a truck carries heavy goods",
        "a truck is driving down the highway",
        "a truck with a trailer stops at the depot",
        "a fire truck races to the scene",
        "a dump truck unloads a pile of sand",
    ),
)
WORDS = sorted({word for sentences in CAPTIONS for sentence in sentences for word in sentence.split()})
PADDING, BEGIN, END = 0, 1, 2  # before the words in the vocabulary
VOCABULARY = ("", "<begin>", "<end>", *WORDS)
LENGTH = 1 + max(len(sentence.split()) for sentences in CAPTIONS for sentence in sentences)
SENTENCES = len(CAPTIONS[0])
TRAIN_IMAGES, TEST_IMAGES = 20_000, 2_000
PATCH, STRIDE, CENTROIDS, PATCHES = 6, 2, 128, 40_000
NOISE, THRESHOLD = 10.0, 0.5  # variance of a patch that counts as no contrast; what a filter must exceed
BATCH_SIZE = 250


@dataclasses.dataclass(frozen=True)
class Captions:
    """Images held as features, and their classes. It is a `Data` for networks that put words after words.

    An example is `({"features": ..., "words": ...}, words)`: the words that come in start with `BEGIN`, and those that
    are to come out end with `END`; both are padded with zeros to `LENGTH` words.

    Attributes:
        train_features: float32 array of shape `(images, features)`, normalized.
        train_classes: int array of shape `(images,)`, which of `CAPTIONS` describe the image.
        test_features, test_classes: likewise.
    """

    train_features: np.ndarray
    train_classes: np.ndarray
    test_features: np.ndarray
    test_classes: np.ndarray

    @property
    def dimensions(self) -> dict:
        """The arguments of a network's builder that follow from the data."""
        return {"features": self.train_features.shape[1], "vocabulary": len(VOCABULARY), "length": LENGTH}

    @property
    def task(self) -> Task:
        """Describe the image: judged by BLEU-4, from 0 to 1. The loss leaves the padding out."""

        def loss():
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PADDING)

        return Task(loss, "bleu", "max", list, self.measure)

    @property
    def train_examples(self) -> int:
        return len(self.train_features)

    def train(
        self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int, part: Part = WHOLE
    ) -> tf.data.Dataset:
        """The batches of epochs `first_epoch` to `epochs - 1`, as `Data.train` says, each image with one sentence."""
        rows = part.rows(batch_size)
        with tf.device("CPU:0"):
            features, classes = tf.constant(self.train_features), tf.constant(self.train_classes, tf.int32)
            sentences = tf.constant(encoded_captions())

        def batches(epoch):
            of_epoch = epoch_seed(seed, epoch)
            order = shuffled(self.train_examples, of_epoch)
            choice = tf.random.stateless_uniform((self.train_examples,), of_epoch, 0, SENTENCES, tf.int32)
            used = tf.stack((order, choice), axis=-1)[: steps * batch_size]
            return tf.data.Dataset.from_tensor_slices(tf.reshape(used, (steps, batch_size, 2))[:, rows])

        def read(used):
            order, choice = used[:, 0], used[:, 1]
            said = tf.gather_nd(sentences, tf.stack((tf.gather(classes, order), choice), axis=-1))
            return as_example(tf.gather(features, order), said)

        return tf.data.Dataset.range(first_epoch, epochs).flat_map(batches).map(read).prefetch(2)

    def test(self) -> tf.data.Dataset:
        """The test set, in batches, always in the same order, each image with the next of its sentences in turn."""
        said = encoded_captions()[self.test_classes, np.arange(len(self.test_classes)) % SENTENCES]
        return tf.data.Dataset.from_tensor_slices((self.test_features, said)).batch(BATCH_SIZE).map(as_example)

    def measure(self, model: keras.Model) -> float:
        """BLEU-4, from 0 to 1, of a model's captions of the test images, where each class has several references."""
        return bleu(caption(model, self.test_features), self.test_classes)


def as_example(features, said):
    """What a network reads and what it should say, from sentences of `LENGTH + 1` words."""
    return {"features": features, "words": said[:, :-1]}, said[:, 1:]


def encode(sentence: str) -> list[int]:
    """The numbers of a sentence's words, from `BEGIN` to `END` and padded to `LENGTH + 1`.

    Raises:
        ValueError: it has a word that is not in `VOCABULARY`, or too many.
    """
    words = sentence.split()
    unknown = sorted(set(words) - set(WORDS))
    if unknown or len(words) >= LENGTH:
        raise ValueError(
            f"encode(sentence=...) must have at most {LENGTH - 1} words, all in CAPTIONS: add the sentence there. "
            f"Received: {sentence!r}, with {len(words)} words, unknown: {', '.join(unknown) or 'none'}"
        )
    return [BEGIN, *map(VOCABULARY.index, words), END] + [PADDING] * (LENGTH - 1 - len(words))


def encoded_captions() -> np.ndarray:
    """`CAPTIONS` as numbers: int32 of shape `(classes, SENTENCES, LENGTH + 1)`."""
    return np.array([[encode(sentence) for sentence in sentences] for sentences in CAPTIONS], "int32")


def decode(numbers) -> str:
    """The words before the first `END`."""
    numbers = list(numbers)
    end = numbers.index(END) if END in numbers else len(numbers)
    return " ".join(VOCABULARY[number] for number in numbers[:end] if number not in (PADDING, BEGIN))


def caption(model: keras.Model, features: np.ndarray) -> list[str]:
    """The sentences that a model says of images, word by word the likeliest: one call a position for all of them."""
    words = np.full((len(features), LENGTH + 1), PADDING, "int32")
    words[:, 0] = BEGIN
    for position in range(LENGTH):
        inputs = {"features": features, "words": words[:, :-1]}
        logits = model.predict(inputs, batch_size=len(features), verbose=0)
        words[:, position + 1] = np.argmax(logits[:, position], axis=-1)
    return [decode(row) for row in words[:, 1:]]


def bleu(sentences: list[str], classes: np.ndarray) -> float:
    """Corpus BLEU-4, from 0 to 1, where the references of a sentence are the captions of its class."""
    import sacrebleu

    references = [[CAPTIONS[number][choice] for number in classes] for choice in range(SENTENCES)]
    return sacrebleu.corpus_bleu(sentences, references, tokenize="none").score / 100


def learn_filters(images: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Filters that look for the centroids of whitened patches of images: learned without labels (Coates & Ng 2011).

    Args:
        images: uint8 array of shape `(images, height, width, channels)`.

    Returns:
        Filters of shape `(PATCH, PATCH, channels, CENTROIDS)`, for patches of contrast one, and their biases.
    """
    from sklearn.cluster import MiniBatchKMeans

    chance = np.random.default_rng(seed)
    _, height, width, channels = images.shape
    chosen = chance.integers(len(images), size=PATCHES)
    top, left = chance.integers(height - PATCH + 1, size=PATCHES), chance.integers(width - PATCH + 1, size=PATCHES)
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))
    patches = windows[chosen, top, left].transpose(0, 2, 3, 1).reshape(PATCHES, -1).astype("float32")
    patches -= patches.mean(1, keepdims=True)
    patches /= np.sqrt(patches.var(1, keepdims=True) + NOISE)
    mean = patches.mean(0)
    values, vectors = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    whiten = (vectors / np.sqrt(np.maximum(values, 0) + 0.1) @ vectors.T).astype("float32")
    clusters = MiniBatchKMeans(CENTROIDS, batch_size=2048, n_init=1, max_iter=10, random_state=seed)
    centroids = clusters.fit((patches - mean) @ whiten).cluster_centers_
    filters = whiten @ (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).T
    # A filter that adds up to nothing takes the mean of a patch off.
    balanced = filters - filters.mean(0)
    return balanced.reshape(PATCH, PATCH, channels, CENTROIDS).astype("float32"), -mean @ filters


def extract(images: np.ndarray, filters: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Features of images: how far the filters go above or below a threshold, on average, in each quadrant.

    Returns:
        float32 array of shape `(images, 8 * CENTROIDS)`.
    """
    half = ((images.shape[1] - PATCH) // STRIDE + 2) // 2

    @tf.function
    def read(batch):
        gray, squares = (tf.reduce_mean(x, -1, keepdims=True) for x in (batch, batch**2))
        mean, square = (tf.nn.avg_pool2d(x, PATCH, STRIDE, "VALID") for x in (gray, squares))
        found = tf.nn.conv2d(batch, filters, STRIDE, "VALID") * tf.math.rsqrt(tf.nn.relu(square - mean**2) + NOISE)
        both = tf.concat((found + biases, -found - biases), -1)
        pooled = tf.nn.avg_pool2d(tf.nn.relu(both - THRESHOLD), half, half, "SAME")
        return tf.reshape(pooled, (tf.shape(batch)[0], -1))

    batches = (images[i : i + BATCH_SIZE] for i in range(0, len(images), BATCH_SIZE))
    return np.concatenate([read(tf.cast(batch, "float32")) for batch in batches])


def captions(train_images, train_classes, test_images, test_classes) -> Captions:
    """The data set from images (uint8) and classes: features learned from the images to train with, and normalized."""
    learned = learn_filters(train_images)
    train_features, test_features = extract(train_images, *learned), extract(test_images, *learned)
    mean, std = train_features.mean(0), train_features.std(0) + 1e-6
    return Captions((train_features - mean) / std, train_classes, (test_features - mean) / std, test_classes)


def cifar10_captions(builder) -> Captions:
    """The first `TRAIN_IMAGES` and `TEST_IMAGES` images of TFDS' `cifar10`: a part, to have the features in seconds."""
    train = tfds.read_split(builder, f"train[:{TRAIN_IMAGES}]")
    return captions(*train, *tfds.read_split(builder, f"test[:{TEST_IMAGES}]"))
