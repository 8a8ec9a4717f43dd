"""Images become rows that CNTK's reader takes, split the same way every time."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.quickstart import digits, mnist
from openbatchai.quickstart.data import Dataset, Images, split, to_ctf


def random_images(count, seed=0):
    rng = np.random.default_rng(seed)
    return Images(
        rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8)
    )


def read_ctf(content):
    """Pixels and labels out of CNTK text format, by its grammar."""
    rows = content.decode("ascii").splitlines()
    fields = [dict(part.split(" ", 1) for part in row.split("|")[1:]) for row in rows]
    labels = [[int(number) for number in field["labels"].split()] for field in fields]
    assert all(sorted(label) == [0] * 9 + [1] for label in labels)
    pixels = [[int(number) for number in field["features"].split()] for field in fields]
    return np.array(pixels).reshape(-1, 28, 28), np.array([label.index(1) for label in labels])


class TestCtf:
    def test_rows_hold_every_pixel_and_label(self):
        images = random_images(50)
        pixels, labels = read_ctf(to_ctf(images))
        assert np.array_equal(pixels, images.pixels)
        assert np.array_equal(labels, images.labels)

    def test_every_row_ends_its_line(self):
        content = to_ctf(random_images(3))
        assert content.count(b"\n") == 3
        assert content.endswith(b"\n")
        assert b"\0" not in content

    def test_first_row_is_as_microsoft_s_converter_wrote_it(self):
        images = Images(np.zeros((1, 28, 28), np.uint8), np.array([2], np.uint8))
        assert to_ctf(images).startswith(b"|labels 0 0 1 0 0 0 0 0 0 0 |features 0 0 0")


class TestSplit:
    @given(st.lists(st.integers(0, 9), min_size=20, max_size=300), st.integers(0, 1000))
    def test_each_digit_gives_its_share(self, labels, seed):
        array = np.array(labels, np.uint8)
        held_out = len(labels) // 5
        train, test = split(array, held_out, seed)
        assert len(test) == held_out
        assert sorted([*train, *test]) == list(range(len(labels)))
        exact = np.bincount(array, minlength=10) * held_out / len(labels)
        assert np.all(np.abs(np.bincount(array[test], minlength=10) - exact) < 1)

    def test_the_same_seed_splits_the_same_way(self):
        labels = np.arange(200, dtype=np.uint8) % 10
        first, again, other = split(labels, 40, 1), split(labels, 40, 1), split(labels, 40, 2)
        assert np.array_equal(first[1], again[1])
        assert not np.array_equal(first[1], other[1])


class TestDigits:
    def test_split_in_1437_and_360(self):
        dataset = digits.load()
        assert (len(dataset.train), len(dataset.test)) == (1437, 360)
        assert set(np.bincount(dataset.test.labels)) <= {35, 36, 37}

    def test_pixels_fill_the_range_inside_a_border(self):
        pixels = digits.load().train.pixels
        assert pixels.shape[1:] == (28, 28)
        assert pixels.min() == 0
        assert pixels.max() == 255
        border = np.ones((28, 28), bool)
        border[2:-2, 2:-2] = False
        assert not pixels[:, border].any()

    def test_enlarging_keeps_the_image_upright(self):
        small = np.zeros((1, 8, 8), np.int64)
        small[0, 1, 6] = 16
        row, column = np.unravel_index(digits.enlarge(small)[0].argmax(), (28, 28))
        assert row < 10
        assert column > 18

    def test_never_in_the_order_of_the_file(self):
        # Its first ten rows are the digits 0 to 9.
        assert list(digits.load().train.labels[:10]) != list(range(10))


class TestBar:
    def judge(self, error, epochs, **bar):
        nothing = random_images(0)
        return Dataset("data", nothing, nothing, epochs=40, **bar).judge(error, epochs)

    def test_at_most_includes_the_bar_and_below_does_not(self):
        assert self.judge(3.0, 40, bar=3.0) is True
        assert self.judge(1.4, 40, bar=1.4, strict=True) is False
        assert self.judge(1.39, 40, bar=1.4, strict=True) is True
        assert self.judge(3.06, 41, bar=3.0) is False

    def test_fewer_epochs_are_not_judged(self):
        assert self.judge(90.0, 39, bar=3.0) is None


def idx(array):
    return (
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def write_mnist(directory, train, test, suffix=".gz"):
    for which, images in (("train", train), ("t10k", test)):
        for name, array in (("images-idx3", images.pixels), ("labels-idx1", images.labels)):
            content = idx(array)
            packed = gzip.compress(content) if suffix == ".gz" else content
            (directory / f"{which}-{name}-ubyte{suffix}").write_bytes(packed)


class TestMnistFiles:
    @pytest.mark.parametrize("suffix", [".gz", ""])
    def test_are_read_packed_or_not(self, tmp_path, suffix):
        train, test = random_images(20), random_images(5, seed=1)
        write_mnist(tmp_path, train, test, suffix)
        assert mnist.complete(tmp_path)
        dataset = mnist.load(tmp_path)
        assert np.array_equal(dataset.train.pixels, train.pixels)
        assert np.array_equal(dataset.test.labels, test.labels)
        assert str(tmp_path) in dataset.name

    def test_a_missing_one_is_named(self, tmp_path):
        write_mnist(tmp_path, random_images(20), random_images(5))
        (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
        assert not mnist.complete(tmp_path)
        with pytest.raises(mnist.MnistError, match="t10k-labels-idx1-ubyte"):
            mnist.load(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"text", idx(np.zeros((2, 3), np.uint8))[:-1], b"\0\0\x0d\x01"])
    def test_anything_but_a_complete_idx_file_of_bytes_is_refused(self, content):
        with pytest.raises(mnist.MnistError, match="not a complete IDX file"):
            mnist.parse_idx(content, "file")

    def test_images_without_as_many_labels_are_refused(self, tmp_path):
        train = random_images(20)
        write_mnist(tmp_path, Images(train.pixels, train.labels[:19]), random_images(5))
        with pytest.raises(mnist.MnistError, match="as many digits"):
            mnist.load(tmp_path)

    def test_a_damaged_archive_is_refused(self, tmp_path):
        write_mnist(tmp_path, random_images(20), random_images(5))
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"<html>")
        with pytest.raises(mnist.MnistError, match="gzip"):
            mnist.load(tmp_path)

    def test_only_the_original_bytes_pass_the_check(self):
        labels = b"\0\0\x08\x01" + bytes(100)
        with pytest.raises(mnist.MnistError, match=hashlib.sha256(labels).hexdigest()):
            mnist.check(labels, mnist.SHA256["t10k-labels-idx1-ubyte"])
