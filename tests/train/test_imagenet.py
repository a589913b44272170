"""ImageNet is read from its files, in an order that is a function of (seed, epoch): on a tiny one, written here."""

from pathlib import Path

import numpy as np
import pytest

from train.data import load_data


@pytest.fixture(scope="module")
def tiny_imagenet(tmp_path_factory) -> Path:
    """24 training images in 3 files and 5 for validation, each with its own label, in the layout of TFDS."""
    tf = pytest.importorskip("tensorflow")
    tfds = pytest.importorskip("tensorflow_datasets")
    root = tmp_path_factory.mktemp("tfds")
    folder = root / "imagenet2012" / "5.1.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=1000),
            "file_name": tfds.features.Text(),
        }
    )
    template = {"dataset_name": "imagenet2012", "data_dir": folder, "filetype_suffix": "tfrecord"}
    random, label, splits = np.random.default_rng(0), 0, []
    for split, files in (("train", (9, 8, 7)), ("validation", (5,))):
        for index, examples in enumerate(files):
            path = folder / f"imagenet2012-{split}.tfrecord-{index:05d}-of-{len(files):05d}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for _ in range(examples):
                    image = random.integers(0, 256, (40 + label, 60, 3)).astype("uint8")
                    example = {"image": image, "label": label, "file_name": f"{label}.jpg"}
                    writer.write(features.serialize_example(example))
                    label += 1
        name = tfds.core.ShardedFileTemplate(split=split, **template)
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=list(files), num_bytes=0, filename_template=name))
    tfds.folder_dataset.write_metadata(data_dir=str(folder), features=features, split_infos=splits)
    return root


def read(stream):
    images, labels = zip(*stream.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_the_stream_is_a_function_of_seed_and_epoch(tiny_imagenet):
    data = load_data("imagenet2012", str(tiny_imagenet))
    assert data.dimensions["classes"] == 1000 and data.train_examples == 24
    images, labels = read(data.train(seed=1, batch_size=8, steps=3, first_epoch=0, epochs=2))
    assert images.shape == (48, 224, 224, 3) and images.dtype == np.float32
    assert sorted(labels[:24]) == list(range(24)) and sorted(labels[24:]) == list(range(24))
    assert tuple(labels[:24]) != tuple(labels[24:])
    tail = read(data.train(seed=1, batch_size=8, steps=3, first_epoch=1, epochs=2))
    np.testing.assert_array_equal(tail[0], images[24:])
    np.testing.assert_array_equal(tail[1], labels[24:])


def test_validation_images_are_all_there_in_order(tiny_imagenet):
    images, labels = read(load_data("imagenet2012", str(tiny_imagenet)).test())
    assert images.shape == (5, 224, 224, 3) and list(labels) == [24, 25, 26, 27, 28]
    assert abs(images.mean()) < 0.5


def test_an_incomplete_data_set_is_refused(tiny_imagenet):
    lost = next(tiny_imagenet.rglob("*train*00001-of*"))
    kept = lost.rename(lost.with_name("elsewhere"))
    load_data.cache_clear()  # it has been read whole in this process
    try:
        with pytest.raises(FileNotFoundError, match="incomplete: 1 of its 4 files are absent, such as imagenet"):
            load_data("imagenet2012", str(tiny_imagenet))
    finally:
        kept.rename(lost)
