"""ImageNet from its record files: too big for memory, so files and then records are shuffled, by (seed, epoch)."""

import tensorflow as tf

from train.data.augmentation import central_crop, normalize, random_resized_crop
from train.data.batch_shard import WHOLE, Part
from train.data.tasks import classification

SHUFFLED_BLOCK = 4096  # JPEGs, about 0.45 GB
TEST_BATCH_SIZE = 250
MEAN = (123.68, 116.28, 103.53)
STD = (58.40, 57.12, 57.38)


class ImageNet:
    """ImageNet (ILSVRC 2012) as prepared by TFDS. See `train.data.in_memory.Data`.

    Args:
        builder: the TFDS builder of the prepared data set.
    """

    def __init__(self, builder):
        self._info = builder.info
        classes = builder.info.features["label"].num_classes
        self.dimensions = {"input_shape": (224, 224, 3), "classes": classes}
        self.task = classification(classes)
        self.train_examples = builder.info.splits["train"].num_examples
        self.test_examples = builder.info.splits["validation"].num_examples

    def train(
        self, seed: int, batch_size: int, steps: int, first_epoch: int, epochs: int, part: Part = WHOLE
    ) -> tf.data.Dataset:
        rows = part.rows(batch_size)
        examples = rows.stop - rows.start
        files = [str(path) for path in self._info.splits["train"].filepaths]

        def records(epoch):
            epoch_seed = tf.stack((tf.constant(seed, tf.int64), epoch))
            shuffle_seed, image_seed = tf.unstack(tf.random.split(epoch_seed, 2))
            shuffled = tf.random.experimental.stateless_shuffle(tf.constant(files), seed=shuffle_seed)
            stream = tf.data.Dataset.from_tensor_slices(shuffled).interleave(
                tf.data.TFRecordDataset, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
            )

            def permuted(index, block):
                # `Dataset.shuffle` would do, were its order not a function of TensorFlow's global seed too.
                order_seed = tf.random.fold_in(shuffle_seed, index)
                return tf.random.experimental.stateless_shuffle(block, seed=order_seed)

            stream = stream.batch(SHUFFLED_BLOCK).enumerate().map(permuted).prefetch(1).unbatch()
            stream = stream.take(steps * batch_size).enumerate()
            if part != WHOLE:  # before they are decoded
                stream = stream.filter(lambda place, _: place % batch_size // examples == part.index)
            return stream.map(lambda place, record: (image_seed, place, record))

        def read(image_seed, place, record):
            example = self._parse(record)
            image = random_resized_crop(example["image"], tf.random.fold_in(image_seed, place))
            return normalize(image, MEAN, STD), example["label"]

        stream = tf.data.Dataset.range(first_epoch, epochs).flat_map(records)
        stream = stream.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return stream.batch(examples, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    def test(self) -> tf.data.Dataset:
        def read(record):
            example = self._parse(record)
            return normalize(central_crop(example["image"]), MEAN, STD), example["label"]

        files = [str(path) for path in self._info.splits["validation"].filepaths]
        stream = tf.data.TFRecordDataset(files).map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return stream.batch(TEST_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)

    def _parse(self, record):
        import tensorflow_datasets as tfds

        return self._info.features.deserialize_example(record, decoders={"image": tfds.decode.SkipDecoding()})
