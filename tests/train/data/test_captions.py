"""What is said of an image is a function of (seed, epoch, position), and a perfect network has a BLEU of one."""

import keras
import numpy as np
import pytest

import models
from train.data import captions as module
from train.data.captions import (
    BEGIN,
    CAPTIONS,
    END,
    LENGTH,
    PADDING,
    SENTENCES,
    VOCABULARY,
    Captions,
    bleu,
    caption,
    captions,
    decode,
    encode,
    encoded_captions,
    extract,
    learn_filters,
)
from train.data.tfds import find_builder

pytestmark = pytest.mark.once


@pytest.fixture
def data():
    """Forty images, four of each class: the features are the class and the number of the image."""
    classes = np.arange(40) % 10
    features = np.concatenate((np.eye(10)[classes], np.arange(40)[:, None] / 40), axis=1).astype("float32")
    return Captions(features, classes, features[:20], classes[:20])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3)).astype("uint8")


def read(stream):
    inputs, words = zip(*stream.as_numpy_iterator(), strict=True)
    return [np.concatenate(part) for part in ([i["features"] for i in inputs], [i["words"] for i in inputs], words)]


def perfect():
    """A model that says the first caption of the class that the features name."""
    image, words = keras.Input((11,), name="features"), keras.Input((LENGTH,), dtype="int32", name="words")
    said = np.eye(len(VOCABULARY), dtype="float32")[encoded_captions()[:, 0, 1:]].reshape(10, -1)
    kernel = np.concatenate((said, 0 * said[:1]))
    answer = keras.layers.Dense(kernel.shape[1], use_bias=False)
    logits = keras.layers.Reshape((LENGTH, len(VOCABULARY)))(answer(image))
    seen = keras.layers.Embedding(len(VOCABULARY), len(VOCABULARY), embeddings_initializer="zeros")(words)
    model = keras.Model({"features": image, "words": words}, keras.layers.Add()([logits, seen]))
    answer.kernel.assign(kernel)
    return model


def test_every_class_of_cifar10_has_five_sentences_of_its_own():
    assert [len(sentences) for sentences in CAPTIONS] == [SENTENCES] * 10 == [5] * 10
    assert len({sentence for sentences in CAPTIONS for sentence in sentences}) == 50


def test_a_sentence_is_its_words_and_back():
    numbers = encode("a bird sits on a branch")
    assert len(numbers) == LENGTH + 1 and numbers[0] == BEGIN and numbers[7] == END
    assert set(numbers[8:]) == {PADDING}
    for sentences in CAPTIONS:
        for sentence in sentences:
            assert decode(encode(sentence)[1:]) == sentence
    assert decode([3, 4, END, 5]) == " ".join(VOCABULARY[3:5])


def test_unknown_words_and_long_sentences_are_refused():
    with pytest.raises(
        ValueError, match=r"encode\(sentence=\.\.\.\) must have.*Received: 'a zebra sits', .*unknown: zebra"
    ):
        encode("a zebra sits")
    with pytest.raises(ValueError, match=f"at most {LENGTH - 1} words.*with 20 words, unknown: none"):
        encode("a bird " * 10)


def test_an_example_reads_a_word_before_it_says_it(data):
    features, inside, outside = read(data.train(seed=0, batch_size=8, steps=5, first_epoch=0, epochs=1))
    assert (inside[:, 0] == BEGIN).all()
    np.testing.assert_array_equal(inside[:, 1:], outside[:, :-1])
    for row, words in zip(features, outside, strict=True):
        assert decode(words) in CAPTIONS[row[:10].argmax()]
    assert len({tuple(row) for row in features}) == 40


def test_a_stream_that_starts_later_is_the_tail_of_the_whole_one(data):
    whole = read(data.train(seed=3, batch_size=8, steps=4, first_epoch=0, epochs=3))
    for epoch in range(3):
        tail = read(data.train(seed=3, batch_size=8, steps=4, first_epoch=epoch, epochs=3))
        for ours, theirs in zip(tail, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[32 * epoch :])


def test_an_image_has_another_sentence_in_another_epoch(data):
    features, _, words = read(data.train(seed=3, batch_size=8, steps=5, first_epoch=0, epochs=6))
    said = [{decode(w) for f, w in zip(features, words, strict=True) if f[10] == number / 40} for number in range(40)]
    assert max(map(len, said)) >= 4


def test_the_test_set_is_in_order_with_the_sentences_in_turn(data):
    features, _, words = read(data.test())
    np.testing.assert_array_equal(features, data.test_features)
    expected = [CAPTIONS[number % 10][number % 5] for number in range(20)]
    assert [decode(row) for row in words] == expected


def test_the_loss_leaves_the_padding_out(data):
    logits = np.random.default_rng(0).normal(size=(1, 3, len(VOCABULARY))).astype("float32")
    loss = data.task.loss()
    np.testing.assert_allclose(
        loss(np.array([[7, END, PADDING]]), logits), loss(np.array([[7, END]]), logits[:, :2]), rtol=1e-6
    )


def test_a_perfect_network_has_a_bleu_of_one(data):
    model = perfect()
    assert caption(model, data.test_features[:2]) == [CAPTIONS[0][0], CAPTIONS[1][0]]
    assert data.task.measure(model) == pytest.approx(1)
    assert (data.task.score, data.task.best) == ("bleu", "max")


def test_bleu_takes_any_caption_of_the_class_and_no_other():
    assert bleu([CAPTIONS[3][4], CAPTIONS[8][1]], np.array([3, 8])) == pytest.approx(1)
    assert bleu([CAPTIONS[8][1], CAPTIONS[3][4]], np.array([3, 8])) < 0.1
    assert bleu(["", ""], np.array([3, 8])) == 0


def test_neural_talk_learns_the_captions_of_classes(data):
    model = models.neural_talk(**data.dimensions, width=0.125)
    model.compile(keras.optimizers.Adam(0.02), data.task.loss(), metrics=data.task.metrics(), jit_compile=False)
    model.fit(data.train(seed=0, batch_size=20, steps=2, first_epoch=0, epochs=60), verbose=0)
    constant = max(bleu([sentences[0]] * 20, data.test_classes) for sentences in CAPTIONS)
    assert data.task.measure(model) > 1.25 * constant


def test_features_are_what_the_filters_find_in_a_quadrant():
    """One filter that takes the right of a patch from its left: nothing in flat quadrants, and an edge in one."""
    filters = np.ones((6, 6, 1, 1), "float32") / 36
    filters[:, 3:] *= -1
    image = np.full((1, 18, 18, 1), 50, "uint8")
    image[0, :6, 3:6] = 150
    features = extract(image, filters, np.zeros(1, "float32")).reshape(2, 2, 2)
    assert features[0, 0].max() > 0
    assert not features[1].any() and not features[0, 1].any()
    deviation = 50 / np.sqrt(50**2 + module.NOISE)  # of the first patch, half of it 50 and half 150
    assert features[0, 0, 1] >= (deviation - module.THRESHOLD) / 16 * (1 - 1e-4)


def test_filters_balance_and_repeat(images, monkeypatch):
    monkeypatch.setattr(module, "PATCHES", 2000)
    monkeypatch.setattr(module, "CENTROIDS", 8)
    first, again = learn_filters(images), learn_filters(images)
    assert first[0].shape == (6, 6, 3, 8) and first[1].shape == (8,)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_allclose(first[0].sum((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_array_equal(extract(images, *first), extract(images, *again))


def test_features_are_normalized(images, monkeypatch):
    monkeypatch.setattr(module, "PATCHES", 2000)
    monkeypatch.setattr(module, "CENTROIDS", 8)
    data = captions(images[:40], np.arange(40) % 10, images[40:], np.arange(20) % 10)
    assert data.train_features.shape == (40, 64) and data.test_features.dtype == np.float32
    assert data.dimensions == {"features": 64, "vocabulary": len(VOCABULARY), "length": LENGTH}
    np.testing.assert_allclose(data.train_features.mean(0), 0, atol=1e-4)
    spread = data.train_features.std(0)
    np.testing.assert_allclose(spread[spread > 0.5], 1, rtol=1e-2)


def test_the_images_of_cifar10_make_the_data_set(prepared_data, monkeypatch):
    small = {"PATCHES": 2000, "CENTROIDS": 8, "TRAIN_IMAGES": 300, "TEST_IMAGES": 50}
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    data = module.cifar10_captions(find_builder("cifar10", prepared_data))
    assert data.train_examples == 300 and len(data.test_features) == len(data.test_classes) == 50
    assert abs(data.test_features.mean()) < 0.3
