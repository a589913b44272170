"""A data set in the place and the format of TFDS' `imagenet2012`, of any images: for benchmarks, and for tests."""

from collections.abc import Iterable
from pathlib import Path


def write_imagenet(root: Path, train: Iterable[Iterable[bytes]], validation: Iterable[Iterable[bytes]]) -> None:
    """Write the files of both splits, and what TFDS needs to read them. The label of an image is its number, mod 1000.

    Args:
        root: what is given as `--data_dir` later.
        train: of each file the JPEGs; they are not checked.
        validation: likewise; the numbers of the images go on.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    info = tfds.builder("imagenet2012", data_dir=root).info
    folder = Path(root, info.name, str(info.version))
    folder.mkdir(parents=True)
    number, splits = 0, []
    for split, files in (("train", list(train)), ("validation", list(validation))):
        lengths = []
        for index, images in enumerate(files):
            path = folder / f"{info.name}-{split}.tfrecord-{index:05d}-of-{len(files):05d}"
            first = number
            with tf.io.TFRecordWriter(str(path)) as writer:
                for image in images:
                    example = {"image": image, "label": number % 1000, "file_name": f"{number}.JPEG"}
                    writer.write(info.features.serialize_example(example))
                    number += 1
            lengths.append(number - first)
        name = tfds.core.ShardedFileTemplate(
            split=split, dataset_name=info.name, data_dir=folder, filetype_suffix="tfrecord"
        )
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=0, filename_template=name))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=info.features, split_infos=splits, check_data=False
    )
