"""The stream is a function of (seed, epoch, position): a restart sees the same bits."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from train.data.augmentation import crop_and_flip, normalize
from train.data.in_memory import PREPARATION, InMemory, digits, load_data
from train.data.tfds import find_builder, read_split

pytestmark = pytest.mark.backends("torch")


@pytest.fixture
def colored():
    """40 images of 8 x 8 pixels in 3 colors, each with its own label, with augmentation."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype("uint8")
    labels = np.arange(40)
    mean, std = (120.0, 121.0, 122.0), (60.0, 61.0, 62.0)
    return InMemory(images, labels, images[:30], labels[:30], mean, std, augment=crop_and_flip, classes=40)


def read(stream) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*stream.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_a_stream_that_starts_later_is_the_tail_of_the_whole_one(colored):
    whole = read(colored.train(seed=3, batch_size=8, steps=5, first_epoch=0, epochs=4))
    for epoch in range(4):
        tail = read(colored.train(seed=3, batch_size=8, steps=5, first_epoch=epoch, epochs=4))
        for ours, theirs in zip(tail, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[40 * epoch :])


def test_the_order_depends_on_no_global_state(colored):
    tf.random.set_seed(1)
    first = read(colored.train(3, 8, 5, 0, 2))
    tf.random.set_seed(2)
    np.testing.assert_array_equal(first[0], read(colored.train(3, 8, 5, 0, 2))[0])


def test_each_epoch_is_another_permutation(colored):
    _, labels = read(colored.train(seed=3, batch_size=8, steps=5, first_epoch=0, epochs=3))
    epochs = labels.reshape(3, 40)
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    _, others = read(colored.train(seed=4, batch_size=8, steps=5, first_epoch=0, epochs=1))
    assert tuple(others) != tuple(epochs[0])


def test_the_remainder_of_an_epoch_and_what_steps_cut_off_are_left_out(colored):
    _, whole = read(colored.train(3, 7, 5, 0, 2))
    _, cut = read(colored.train(3, 7, 2, 0, 2))
    assert len(whole) == 70 and len(cut) == 28
    np.testing.assert_array_equal(cut, np.concatenate((whole[:14], whole[35:49])))


def test_the_test_set_is_normalized_and_in_order(colored):
    images, labels = read(colored.test())
    np.testing.assert_array_equal(labels, np.arange(30))
    np.testing.assert_allclose(images, (colored.test_images - np.float32([120, 121, 122])) / [60, 61, 62], rtol=1e-6)


def test_a_crop_of_no_padding_is_the_image_or_its_mirror(colored):
    images = tf.constant(colored.train_images)
    out = crop_and_flip(images, tf.constant([1, 2]), padding=0).numpy()
    kept = [np.array_equal(a, b) for a, b in zip(out, colored.train_images, strict=True)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(out, colored.train_images, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 5 < sum(kept) < 35


def test_a_crop_is_a_window_of_the_reflected_image(colored):
    out = crop_and_flip(tf.constant(colored.train_images), tf.constant([5, 6])).numpy()
    offsets = set()
    for image, window in zip(colored.train_images, out, strict=True):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        views = {(i, j): padded[i : i + 8, j : j + 8] for i in range(9) for j in range(9)}
        found = [
            at for at, view in views.items() if np.array_equal(view, window) or np.array_equal(view, window[:, ::-1])
        ]
        assert found
        offsets.add(found[0])
    assert len(offsets) > 15


def test_augmentation_depends_on_its_seed_alone(colored):
    images = tf.constant(colored.train_images)
    first, again = (crop_and_flip(images, tf.constant([7, 7])).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, crop_and_flip(images, tf.constant([7, 8])).numpy())


def test_normalize_works_out_by_hand():
    out = normalize(tf.constant([[[[10, 40]]]], tf.uint8), (10.0, 20.0), (5.0, 10.0))
    assert out.numpy().tolist() == [[[[0.0, 2.0]]]]


def test_digits_are_split_the_same_way_every_time():
    first, again = digits(), digits()
    assert (
        first.dimensions == {"input_shape": (8, 8, 1), "classes": 10}
        and first.train_examples == 1440
        and len(first.test_images) == 357
    )
    np.testing.assert_array_equal(first.test_images, again.test_images)
    assert np.bincount(first.test_labels).min() >= 34
    images, _ = read(first.test())
    assert abs(images.mean()) < 0.05 and abs(images.std() - 1) < 0.05


def test_a_prepared_data_set_is_normalized(prepared_data):
    data = load_data("mnist", prepared_data)
    assert (
        data.dimensions == {"input_shape": (28, 28, 1), "classes": 10}
        and data.train_examples == 60_000
        and len(data.test_images) == 10_000
    )
    images, labels = read(data.train(0, 5000, 2, 0, 1))
    assert abs(images.mean()) < 0.03 and abs(images.std() - 1) < 0.03
    assert set(labels) == set(range(10))


def test_the_colors_of_cifar10_are_normalized(prepared_data):
    split = read_split(find_builder("cifar10", prepared_data), "test")  # the larger split takes long to decode
    images, _ = read(InMemory(*split, *split, **PREPARATION["cifar10"]).test())
    assert images.shape == (10_000, 32, 32, 3)
    assert np.abs(images.mean((0, 1, 2))).max() < 0.05 and np.abs(images.std((0, 1, 2)) - 1).max() < 0.05


def test_the_first_examples_can_be_taken_alone(colored):
    few = colored.first(7)
    assert few.train_examples == 7
    np.testing.assert_array_equal(few.train_images, colored.train_images[:7])
    np.testing.assert_array_equal(few.train_labels, np.arange(7))
    np.testing.assert_array_equal(few.test_labels, colored.test_labels)
    for wrong in (0, 41):
        with pytest.raises(ValueError, match=rf"--train_examples must be from 1 to 40, .*Received: .*={wrong}"):
            colored.first(wrong)


@pytest.mark.parametrize(("share", "wrong"), [(0.0, 0), (0.2, 288), (0.4, 576), (1.0, 1440)])
def test_so_many_labels_are_wrong_and_those_of_the_test_are_right(share, wrong):
    data = digits()
    noisy = data.with_wrong_labels(share, seed=3)
    differ = noisy.train_labels != data.train_labels
    assert differ.sum() == wrong
    assert set(noisy.train_labels) == set(range(10))
    np.testing.assert_array_equal(noisy.test_labels, data.test_labels)
    np.testing.assert_array_equal(noisy.train_labels, data.with_wrong_labels(share, seed=3).train_labels)
    if wrong:
        shifts = np.bincount((noisy.train_labels - data.train_labels)[differ] % 10, minlength=10)
        assert shifts[0] == 0 and shifts[1:].min() > 0.5 * wrong / 9
        assert (noisy.train_labels != data.with_wrong_labels(share, seed=4).train_labels).any()


def store(folder, images: np.ndarray):
    """A data set of these images and their numbers, as TFDS prepares it; its builder."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=images.shape[1:]), "label": tfds.features.ClassLabel(num_classes=40)}

    with tfds.core.registered.skip_registration():

        class Few(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = folder  # where it would have a description

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(features),
                    supervised_keys=("image", "label"),
                    disable_shuffling=True,
                )

            def _split_generators(self, manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                return enumerate({"image": image, "label": number} for number, image in enumerate(images))

    folder.mkdir(exist_ok=True)
    Few(data_dir=folder).download_and_prepare()
    return find_builder("few", str(folder))


def decoded(builder, split="train") -> np.ndarray:
    images, labels = read_split(builder, split)
    assert images.dtype == np.uint8 and labels.dtype == np.int64 and list(labels) == list(range(len(images)))
    return images


def test_images_are_decoded_once_and_kept_beside_their_files(colored, tmp_path):
    images = colored.train_images
    builder = store(tmp_path, images)
    kept = Path(builder.data_dir) / "train.npz"
    np.testing.assert_array_equal(decoded(builder), images)
    with np.load(kept) as arrays:
        others = {**arrays, "images": 255 - images}
    np.savez(kept, **others)
    np.testing.assert_array_equal(decoded(builder), 255 - images)  # which shows that nothing is decoded again
    np.testing.assert_array_equal(decoded(builder, "train[:7]"), images[:7])
    assert sorted(path.name for path in Path(builder.data_dir).glob("*.npz")) == ["train-7.npz", "train.npz"]


def test_what_is_kept_of_other_files_or_damaged_is_decoded_again(colored, tmp_path):
    images = colored.train_images
    builder = store(tmp_path / "first", images)
    kept = Path(builder.data_dir) / "train.npz"
    decoded(builder)
    whole = kept.read_bytes()
    at = whole.index(images.tobytes()[:50]) + 20
    for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], b""):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(decoded(builder), images)
        assert kept.read_bytes() == whole
    (file,) = builder.info.splits["train"].filepaths
    other = store(tmp_path / "second", 255 - images)
    shutil.copy(other.info.splits["train"].filepaths[0], file)
    np.testing.assert_array_equal(decoded(builder), 255 - images)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(colored, tmp_path):
    builder = store(tmp_path, colored.train_images)
    (Path(builder.data_dir) / "train.npz" / "in_the_way").mkdir(parents=True)
    np.testing.assert_array_equal(decoded(builder), colored.train_images)


def test_a_data_set_that_is_not_there_is_refused(tmp_path):
    message = r"'mnist' is not prepared in --data_dir=.*\(that folder is empty\).*tfds build mnist --data_dir="
    with pytest.raises(FileNotFoundError, match=message):
        load_data("mnist", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="that folder does not exist"):
        load_data("mnist", str(tmp_path / "absent"))
    (tmp_path / "svhn" / "1.0.0").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"it has: svhn.*put ILSVRC2012_img_train.tar .*tfds build imagenet"):
        load_data("imagenet2012", str(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1.0.0", "svhn"]
