"""Utterances joined from recordings of spoken digits, as log mel frames, to be written down in letters (CTC)."""

import dataclasses
import itertools
import re

import keras
import numpy as np
import tensorflow as tf

from train.data.batch_shard import WHOLE, Part
from train.data.shuffling import epoch_seed, shuffled
from train.data.tasks import Task

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = " abcdefghijklmnopqrstuvwxyz"  # the letter at i is class i + 1
BLANK = 0  # in a network's output CTC's blank, in labels the padding: keras.losses.CTC takes it so
RATE = 8000  # samples in a second
SAMPLES = 20_000  # of an utterance
SILENCE = 1_600  # samples before a recording, at most
WINDOW, STEP, BANDS = 200, 160, 32
TEST_INDICES = range(5)  # as the Free Spoken Digit Dataset is split
TRAIN_UTTERANCES, TEST_UTTERANCES = 2000, 300
BATCH_SIZE = 100

Recordings = dict[tuple[str, int, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Speech:
    """Utterances held as frames that a network reads, and letters. It is a `Data` for networks that CTC trains.

    Attributes:
        train_frames: float32 array of shape `(utterances, frames, bands)`; a context window is left to the network.
        train_labels: int32 array of shape `(utterances, letters)` of classes, padded with zeros.
        test_frames, test_labels: likewise.
    """

    train_frames: np.ndarray
    train_labels: np.ndarray
    test_frames: np.ndarray
    test_labels: np.ndarray

    @property
    def dimensions(self) -> dict:
        """The arguments of a network's builder that follow from the data."""
        return {"input_shape": self.train_frames.shape[1:], "classes": 1 + len(LETTERS)}

    @property
    def task(self) -> Task:
        """Write the utterances down: judged by the share of wrong words, those missing or too many among them.

        `keras.losses.CTC` takes labels padded with 0, the class of the blank: each has as many letters as it has other
        numbers. It takes every frame of the network's output, the padding of silence too.
        """
        return Task(lambda: keras.losses.CTC(), "word_error_rate", "min", list, self.measure)

    @property
    def train_examples(self) -> int:
        return len(self.train_frames)

    def train(
        self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int, part: Part = WHOLE
    ) -> tf.data.Dataset:
        """The batches of epochs `first_epoch` to `epochs - 1`, as `Data.train` says."""
        rows = part.rows(batch_size)
        with tf.device("CPU:0"):
            frames, labels = tf.constant(self.train_frames), tf.constant(self.train_labels)

        def batches(epoch):
            order = shuffled(self.train_examples, epoch_seed(seed, epoch))[: steps * batch_size]
            return tf.data.Dataset.from_tensor_slices(tf.reshape(order, (steps, batch_size))[:, rows])

        stream = tf.data.Dataset.range(first_epoch, epochs).flat_map(batches)
        return stream.map(lambda order: (tf.gather(frames, order), tf.gather(labels, order))).prefetch(2)

    def test(self) -> tf.data.Dataset:
        """The test set, in batches, always in the same order."""
        return tf.data.Dataset.from_tensor_slices((self.test_frames, self.test_labels)).batch(BATCH_SIZE)

    def measure(self, model: keras.Model) -> float:
        """The word error rate of a model on the test set, decoded greedily: 0 is perfect, and it may exceed 1."""
        logits = model.predict(self.test_frames, batch_size=BATCH_SIZE, verbose=0)
        return word_error_rate([decode(labels) for labels in self.test_labels], greedy(logits))


def encode(text: str) -> list[int]:
    """The classes of a text's letters.

    Raises:
        ValueError: it has characters that are not in `LETTERS`.
    """
    unknown = sorted(set(text) - set(LETTERS))
    if unknown:
        raise ValueError(
            f"encode(text=...) must have small letters from a to z and spaces only: convert it first. Received: "
            f"{text!r}, with {', '.join(map(repr, unknown))}"
        )
    return [LETTERS.index(letter) + 1 for letter in text]


def decode(classes) -> str:
    """The text of a row of classes; 0, the padding, is left out."""
    return "".join(LETTERS[number - 1] for number in classes if number != BLANK)


def greedy(logits: np.ndarray) -> list[str]:
    """The texts of the best class of each frame: repeats become one letter, and then the blanks go.

    Args:
        logits: float array of shape `(utterances, frames, classes)`.
    """
    return [decode(best for best, _ in itertools.groupby(frames)) for frames in np.argmax(logits, axis=-1).tolist()]


def word_error_rate(transcripts: list[str], written: list[str]) -> float:
    """Words replaced, left out or put in, as a fraction of the words of the transcripts."""
    import jiwer

    return float(jiwer.wer(transcripts, written))


def read_recordings(builder) -> Recordings:
    """The recordings (int16) of TFDS' `spoken_digit` by speaker, digit and index, which the names of the files tell.

    Raises:
        ValueError: some are missing: every speaker must have said every digit equally often.
    """
    recordings = {}
    for example in builder.as_dataset(split="train").as_numpy_iterator():
        digit, speaker, index = re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", example["audio/filename"].decode()).groups()
        recordings[speaker, int(digit), int(index)] = example["audio"].astype("int16")
    return check_complete(recordings)


def check_complete(recordings: Recordings) -> Recordings:
    """The recordings, if none is missing; `ValueError` otherwise, as `read_recordings` says."""
    speakers, _, indices = (sorted(set(part)) for part in zip(*recordings, strict=True)) if recordings else ((), (), ())
    wanted = itertools.product(speakers, range(len(WORDS)), range(max(indices, default=0) + 1))
    missing = [
        f"{digit}_{speaker}_{index}.wav"
        for speaker, digit, index in wanted
        if (speaker, digit, index) not in recordings
    ]
    if missing or not set(indices) > set(TEST_INDICES):
        raise ValueError(
            f"spoken_digit has {len(recordings)} recordings, of {len(speakers)} speakers. Expected from every speaker "
            f"every digit with every index: 0 to {max(TEST_INDICES)} are the test set, the others train. Missing: "
            f"{', '.join(missing[:3]) or 'every recording to train with'}{' ...' if len(missing) > 3 else ''} "
            f"({len(missing)} in all). Prepare it again with `tfds build spoken_digit --overwrite`."
        )
    return recordings


def join(recordings: list[np.ndarray], silences) -> np.ndarray:
    """One waveform: before each recording, as many samples of silence as `silences` says."""
    pieces = zip((np.zeros(length, "int16") for length in silences), recordings, strict=True)
    return np.concatenate([*itertools.chain.from_iterable(pieces)])


def utterances(recordings: Recordings, count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Waveforms, int16 of shape `(count, SAMPLES)`, of two to four digits that one speaker says, and what they say.

    An utterance that is too long is drawn again.
    """
    chance = np.random.default_rng(seed)
    names = {}
    for speaker, digit, index in sorted(recordings):
        names.setdefault(speaker, {}).setdefault(digit, []).append(index)
    waveforms, texts = np.zeros((count, SAMPLES), "int16"), []
    while len(texts) < count:
        speaker = sorted(names)[chance.integers(len(names))]
        digits = chance.integers(len(WORDS), size=chance.integers(2, 5)).tolist()
        said = [
            recordings[speaker, digit, names[speaker][digit][chance.integers(len(names[speaker][digit]))]]
            for digit in digits
        ]
        waveform = join(said, chance.integers(SILENCE + 1, size=len(digits)))
        if len(waveform) <= SAMPLES:
            waveforms[len(texts), : len(waveform)] = waveform
            texts.append(" ".join(WORDS[digit] for digit in digits))
    return waveforms, texts


def log_mel(waveforms: np.ndarray) -> np.ndarray:
    """Log mel frames of 25 ms, one every 20 ms: float32 of shape `(utterances, frames, BANDS)`."""
    mel = tf.signal.linear_to_mel_weight_matrix(BANDS, 129, RATE, 20.0, RATE / 2)

    def frames(batch):
        spectra = tf.abs(tf.signal.stft(tf.cast(batch, "float32") / 2**15, WINDOW, STEP, fft_length=256))
        return tf.math.log(tf.matmul(spectra, mel) + 0.01)  # in silence there is no logarithm

    return np.concatenate([frames(waveforms[i : i + BATCH_SIZE]) for i in range(0, len(waveforms), BATCH_SIZE)])


def speech(recordings: Recordings, train_utterances=TRAIN_UTTERANCES, test_utterances=TEST_UTTERANCES) -> Speech:
    """The utterances, always the same, from recordings of which those for the test are in no utterance to train with.

    Frames are normalized by the mean and standard deviation of each band in the utterances to train with.
    """
    train = {name: waveform for name, waveform in recordings.items() if name[2] not in TEST_INDICES}
    test = {name: waveform for name, waveform in recordings.items() if name[2] in TEST_INDICES}
    train_waveforms, train_texts = utterances(train, train_utterances, seed=0)
    test_waveforms, test_texts = utterances(test, test_utterances, seed=1)
    train_frames, test_frames = log_mel(train_waveforms), log_mel(test_waveforms)
    mean, std = train_frames.mean((0, 1)), train_frames.std((0, 1)) + 1e-6
    longest = max(map(len, train_texts + test_texts))
    train_labels, test_labels = (
        np.array([encode(text) + [BLANK] * (longest - len(text)) for text in texts], "int32")
        for texts in (train_texts, test_texts)
    )
    return Speech((train_frames - mean) / std, train_labels, (test_frames - mean) / std, test_labels)
