"""Utterances are joined from recordings, always in the same way; what a network writes is compared with the words."""

import itertools
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import models
from train.data.speech import (
    LETTERS,
    SAMPLES,
    SILENCE,
    WORDS,
    check_complete,
    decode,
    encode,
    greedy,
    join,
    log_mel,
    read_recordings,
    speech,
    utterances,
    word_error_rate,
)
from train.data.tfds import find_builder

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def recordings():
    """Two speakers say each digit seven times; every sample of a recording is a number of its own."""
    names = itertools.product(("ann", "bob"), range(10), range(7))
    return {name: np.full(500 + 10 * number, 1 + number, "int16") for number, name in enumerate(names)}


@pytest.fixture(scope="module")
def data(recordings):
    return speech(recordings, train_utterances=20, test_utterances=6)


@pytest.fixture(scope="module")
def spoken_digit():
    """The recordings of TFDS, where this machine has them."""
    root = Path(__file__).parents[3]
    for folder in (os.environ.get("TFDS_DATA_DIR"), root.parent / "shared" / "data" / "tfds"):
        if folder and Path(folder, "spoken_digit").is_dir():
            return read_recordings(find_builder("spoken_digit", str(folder)))
    pytest.skip("needs spoken_digit prepared by TFDS in TFDS_DATA_DIR or ../shared/data/tfds")


def read(stream):
    frames, labels = zip(*stream.as_numpy_iterator(), strict=True)
    return np.concatenate(frames), np.concatenate(labels)


def one_hot(rows):
    return np.eye(1 + len(LETTERS), dtype="float32")[np.array(rows)]


def test_a_joined_waveform_is_the_recordings_with_silence_before_each():
    joined = join([np.array([1, 2, 3], "int16"), np.array([4], "int16")], [2, 1])
    assert joined.tolist() == [0, 0, 1, 2, 3, 0, 4] and joined.dtype == np.int16


def test_an_utterance_says_two_to_four_digits_of_one_speaker(recordings):
    waveforms, texts = utterances(recordings, 40, seed=3)
    assert waveforms.shape == (40, SAMPLES) and waveforms.dtype == np.int16
    names = {int(recording[0]): name for name, recording in recordings.items()}
    for waveform, text in zip(waveforms, texts, strict=True):
        # Where two recordings touch, or one is said twice in a row, is told by their lengths.
        pieces, position, silences = [], 0, []
        while waveform[position:].any():
            silences.append(int(np.argmax(waveform[position:] != 0)))
            position += silences[-1]
            name = names[int(waveform[position])]
            said = recordings[name]
            np.testing.assert_array_equal(waveform[position : position + len(said)], said)
            pieces.append(name)
            position += len(said)
        assert [WORDS[digit] for _, digit, _ in pieces] == text.split()
        assert 2 <= len(pieces) <= 4 and len({speaker for speaker, _, _ in pieces}) == 1
        assert max(silences) <= SILENCE
    assert {len(text.split()) for text in texts} == {2, 3, 4}


def test_utterances_depend_on_their_seed_alone(recordings):
    first, again, other = (utterances(recordings, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1] != other[1]


def test_an_utterance_that_is_too_long_is_drawn_again(recordings):
    longer = {name: np.full(6_000, 1, "int16") for name in recordings}
    assert {len(text.split()) for text in utterances(longer, 20, seed=0)[1]} == {2, 3}


def test_no_recording_is_in_both_sets(recordings):
    """A recording of the test set is loud, all others are silent: only the test set has sound."""
    loud = {name: np.full(1_000, 9_000 * (name[2] < 5) * (-1) ** name[1], "int16") for name in recordings}
    data = speech(loud, train_utterances=8, test_utterances=4)
    assert np.ptp(data.train_frames) == 0 and np.ptp(data.test_frames) > 0


def test_a_transcript_is_its_letters_and_back():
    assert encode("a z") == [2, 1, 27]
    for text in ("seven two", "zero three three nine"):
        assert decode([*encode(text), 0, 0]) == text


def test_other_characters_are_refused():
    with pytest.raises(
        ValueError, match=r"encode\(text=\.\.\.\) must have small letters.*Received: 'Two!', with '!', 'T'"
    ):
        encode("Two!")


def test_greedy_decoding_makes_one_letter_of_repeats_and_drops_blanks():
    t, h, r, e = encode("thre")
    rows = [[0, t, t, h, 0, r, r, r, e, 0, e, e], [0] * 12, [t, 0, 0, t, t, t, 1, 1, e, e, 0, 0]]
    assert greedy(one_hot(rows)) == ["three", "", "tt e"]


def test_word_error_rate_counts_words_wrong_missing_and_too_many():
    said = ["one two three", "four"]
    assert word_error_rate(said, said) == 0
    assert word_error_rate(said, ["one too three", "four"]) == 1 / 4
    assert word_error_rate(said, ["one three", "four five"]) == 2 / 4
    assert word_error_rate(said, ["", ""]) == 1


def test_frames_are_log_mel_of_25_ms_every_20_ms():
    time = np.arange(SAMPLES) / 8000
    tones = np.stack([8000 * np.sin(2 * np.pi * pitch * time) for pitch in (300, 1000, 3000)]).astype("int16")
    frames = log_mel(np.concatenate((tones, 0 * tones[:1])))
    assert frames.shape == (4, 124, 32) and frames.dtype == np.float32
    assert (np.diff(frames[:3].mean(1).argmax(-1)) > 4).all()
    np.testing.assert_allclose(frames[3], np.log(0.01), rtol=1e-6)


def test_frames_are_normalized_and_labels_padded(data):
    assert data.dimensions == {"input_shape": (124, 32), "classes": 28}
    assert data.train_examples == len(data.train_frames) == len(data.train_labels) == 20
    np.testing.assert_allclose(data.train_frames.mean((0, 1)), 0, atol=1e-3)
    for labels in data.train_labels:
        text = decode(labels)
        assert set(text.split()) <= set(WORDS)
        assert not labels[len(text) :].any()


def test_a_stream_that_starts_later_is_the_tail_of_the_whole_one(data):
    whole = read(data.train(seed=3, batch_size=6, steps=3, first_epoch=0, epochs=3))
    for epoch in range(3):
        tail = read(data.train(seed=3, batch_size=6, steps=3, first_epoch=epoch, epochs=3))
        for ours, theirs in zip(tail, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[18 * epoch :])
    other, _ = read(data.train(seed=4, batch_size=6, steps=3, first_epoch=0, epochs=1))
    assert not np.array_equal(other, whole[0][:18]) and not np.array_equal(whole[0][:18], whole[0][18:36])


def test_the_test_set_is_in_order(data):
    frames, labels = read(data.test())
    np.testing.assert_array_equal(frames, data.test_frames)
    np.testing.assert_array_equal(labels, data.test_labels)


def test_the_loss_takes_the_labels_and_the_blank_as_they_are():
    """With two frames, "a" is said by a-, -a and aa."""
    logits = np.log(np.array([[[0.6, 0.1, 0.3], [0.5, 0.1, 0.4]]], "float32"))
    loss = keras.losses.CTC()(np.array([[2, 0]]), logits)
    np.testing.assert_allclose(loss, -np.log(0.3 * 0.5 + 0.6 * 0.4 + 0.3 * 0.4), rtol=1e-5)


def test_deep_speech_trains_and_is_measured(data):
    model = models.deep_speech(**data.dimensions, width=0.01)
    model.compile("adam", data.task.loss(), metrics=data.task.metrics(), jit_compile=False)
    history = model.fit(data.train(0, 10, 2, 0, 3), epochs=3, steps_per_epoch=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert (data.task.score, data.task.best) == ("word_error_rate", "min")
    assert 0 <= data.task.measure(model) <= 30


def test_a_perfect_network_makes_no_error(data):
    """Its input is what it says: the letters stand where a frame would."""
    spelled = np.zeros((*data.test_labels.shape, 2), "int32").reshape(len(data.test_labels), -1)
    spelled[:, ::2] = data.test_labels
    inputs = keras.Input((spelled.shape[1],))
    model = keras.Model(inputs, keras.layers.Embedding(28, 28, embeddings_initializer="identity")(inputs))
    perfect = type(data)(data.train_frames, data.train_labels, spelled, data.test_labels)
    assert perfect.measure(model) == 0


def test_missing_recordings_are_named(recordings):
    assert check_complete(recordings) is recordings
    some = {name: recording for name, recording in recordings.items() if name not in (("ann", 3, 2), ("bob", 9, 6))}
    message = r"138 recordings, of 2 speakers.*Missing: 3_ann_2.wav, 9_bob_6.wav \(2 in all\).*tfds build spoken_digit"
    with pytest.raises(ValueError, match=message):
        check_complete(some)
    with pytest.raises(ValueError, match="has 0 recordings.*every recording to train with"):
        check_complete({})
    with pytest.raises(ValueError, match="every recording to train with"):
        check_complete({name: recording for name, recording in recordings.items() if name[2] < 5})


def test_the_recordings_of_tfds_make_the_data_set(spoken_digit):
    assert len(spoken_digit) == 3000 and len({speaker for speaker, _, _ in spoken_digit}) == 6
    data = speech(spoken_digit, train_utterances=60, test_utterances=20)
    assert abs(data.test_frames.mean()) < 0.2 and 0.7 < data.test_frames.std() < 1.3
