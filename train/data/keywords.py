"""Recordings of single spoken digits, as log mel frames of one second: which word is it?"""

import numpy as np

from train.data.speech import RATE, TEST_INDICES, Recordings, log_mel


def keywords(recordings: Recordings) -> dict[str, np.ndarray]:
    """The recordings that `train.data.speech` trains with, and those of its test, one an example.

    A recording is cut, or padded with silence, to its first second. Frames are normalized by the mean and standard
    deviation of each band in those to train with.

    Returns:
        float32 arrays `train_images` and `test_images` of shape `(recordings, frames, bands, 1)`, and int64 arrays
        `train_labels` and `test_labels`, the digits.
    """
    names = sorted(recordings)
    is_test = np.array([index in TEST_INDICES for _, _, index in names])
    labels = np.array([digit for _, digit, _ in names], "int64")
    waveforms = np.zeros((len(names), RATE), "int16")
    for row, name in zip(waveforms, names):
        start = recordings[name][:RATE]
        row[: len(start)] = start
    frames = log_mel(waveforms)
    mean, std = frames[~is_test].mean((0, 1)), frames[~is_test].std((0, 1)) + 1e-6
    frames = ((frames - mean) / std)[..., np.newaxis].astype("float32")
    return {
        "train_images": frames[~is_test],
        "train_labels": labels[~is_test],
        "test_images": frames[is_test],
        "test_labels": labels[is_test],
    }
