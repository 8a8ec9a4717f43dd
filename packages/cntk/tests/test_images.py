"""Images from files, zip archives and base64, and what is done to them while they are read."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest

xforms = C.io.transforms
Image: Any = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra `images`)")


def picture(seed: int, width: int = 12, height: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A map of three images: a file, one in a zip archive, and one with a key."""
    (tmp_path / "a.png").write_bytes(png(picture(0)))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("in/b.png", png(picture(1)))
    (tmp_path / "c.png").write_bytes(png(picture(2)))
    file = tmp_path / "map.txt"
    file.write_text("a.png\t0\nmore.zip@/in/b.png\t2\n17\tc.png\t1\n")
    return file


def source(file: Path, transforms: Any = None, classes: int = 3, **options: Any) -> C.io.MinibatchSource:
    streams = C.io.StreamDefs(
        features=C.io.StreamDef(field="image", transforms=transforms),
        labels=C.io.StreamDef(field="label", shape=classes),
    )
    return C.io.MinibatchSource(C.io.ImageDeserializer(str(file), streams), **options)


def read(reader: C.io.MinibatchSource, size: int) -> tuple[np.ndarray, np.ndarray]:
    data = reader.next_minibatch(size)
    features = data[reader.streams.features].asarray()[:, 0]
    return features, data[reader.streams.labels].asarray().toarray()


def test_images_as_they_are(listed: Path) -> None:
    reader = source(listed, randomize=False)
    assert reader.streams.features.m_sample_layout == (3, 8, 12)
    assert reader.streams.labels.m_storage_format == 1
    features, labels = read(reader, 3)
    for i in range(3):
        # Channels first, blue first.
        np.testing.assert_array_equal(features[i], picture(i)[:, :, ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 2, 1]])


def test_images_in_text(tmp_path: Path) -> None:
    file = tmp_path / "images.txt"
    rows = [base64.b64encode(png(picture(i))).decode() for i in range(2)]
    file.write_text(f"1\t{rows[0]}\nkey\t0\t{rows[1]}\n")
    streams = C.io.StreamDefs(
        features=C.io.StreamDef(field="image"), labels=C.io.StreamDef(field="label", shape=2)
    )
    reader = C.io.MinibatchSource(C.io.Base64ImageDeserializer(str(file), streams), randomize=False)
    features, labels = read(reader, 2)
    np.testing.assert_array_equal(features[1], picture(1)[:, :, ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(labels, [[0, 1], [1, 0]])


def test_center_crop_and_scale(listed: Path) -> None:
    half = [xforms.crop(side_ratio=0.5), xforms.scale(4, 4, 3)]
    features, _ = read(source(listed, half, randomize=False), 1)
    # Half of the shorter side (8): the middle 4 by 4 pixels; scaling to 4 by 4 changes nothing.
    expected = picture(0)[2:6, 4:8, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(features[0], expected)
    doubled, _ = read(source(listed, [*half[:1], xforms.scale(8, 8, 3)], randomize=False), 1)
    # Twice as large: pixel centres lie a quarter beside the old ones.
    old = expected.astype(float)
    assert doubled[0, 0, 0, 0] == old[0, 0, 0]
    np.testing.assert_allclose(doubled[0, 0, 0, 1], 0.75 * old[0, 0, 0] + 0.25 * old[0, 0, 1], atol=0.5)


def test_random_crops_differ_by_sweep_and_are_repeatable(listed: Path) -> None:
    crop = xforms.crop(crop_type="randomside", side_ratio=(0.5, 0.75), jitter_type="uniratio")

    def sweeps() -> np.ndarray:
        reader = source(listed, [crop, xforms.scale(5, 5, 3)], randomization_seed=7)
        return np.array([np.sort(read(reader, 3)[0].sum(axis=(1, 2, 3))) for _ in range(3)])

    first = sweeps()
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, sweeps())


def test_random_crops_lie_inside_and_are_mirrored_half_the_time() -> None:
    image = np.zeros((10, 10, 1), np.uint8)
    image[:, :, 0] = np.arange(10)
    crop = xforms.crop(crop_type="randomside", side_ratio=0.8)
    seen = [crop.apply(image, np.random.default_rng(i))[0, :, 0] for i in range(300)]
    lefts = {int(min(row)) for row in seen}
    assert lefts == {0, 1, 2}
    mirrored = sum(row[0] > row[-1] for row in seen)
    assert 110 < mirrored < 190
    assert all(len(row) == 8 for row in seen)


def test_ten_views(listed: Path) -> None:
    view = [xforms.crop(crop_type="multiview10", side_ratio=0.5), xforms.scale(4, 4, 3)]
    features, labels = read(source(listed, view, randomize=False), 30)
    pixels = picture(0)[:, :, ::-1]
    corners = [(0, 0), (0, 8), (4, 0), (4, 8), (2, 4)]
    for i, (top, left) in enumerate(corners):
        part = pixels[top : top + 4, left : left + 4].transpose(2, 0, 1)
        np.testing.assert_array_equal(features[i], part)
        np.testing.assert_array_equal(features[5 + i], part[:, :, ::-1])
    np.testing.assert_array_equal(labels.argmax(axis=1), np.repeat([0, 2, 1], 10))


def test_scale_modes() -> None:
    image = picture(0)
    generator = np.random.default_rng(0)
    padded = xforms.scale(6, 6, 3, scale_mode="pad", pad_value=9).apply(image, generator)
    assert padded.shape == (6, 6, 3)
    assert (padded[0] == 9).all()
    assert (padded[5] == 9).all()
    assert not (padded[1] == 9).all()
    covered = xforms.scale(6, 6, 3, scale_mode="crop").apply(image, generator)
    assert covered.shape == (6, 6, 3)
    nearest = xforms.scale(6, 4, 3, interpolations="nearest").apply(image, generator)
    np.testing.assert_array_equal(nearest, image[::2, ::2])


MEAN = """<?xml version="1.0"?>
<opencv_storage>
<Channel>3</Channel><Row>{rows}</Row><Col>{columns}</Col>
<MeanImg type_id="opencv-matrix"><rows>1</rows><cols>{count}</cols><dt>f</dt><data>
{data}</data></MeanImg>
</opencv_storage>
"""


def test_mean(listed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = np.arange(8 * 12 * 3)
    file = tmp_path / "mean.xml"
    file.write_text(MEAN.format(rows=8, columns=12, count=288, data=" ".join(f"{v}." for v in values)))
    features, _ = read(source(listed, [xforms.mean(str(file))], randomize=False), 1)
    expected = picture(0)[:, :, ::-1].astype(float) - values.reshape(8, 12, 3)
    np.testing.assert_allclose(features[0], expected.transpose(2, 0, 1))
    read(source(listed, [xforms.scale(4, 4, 3), xforms.mean(str(file))], randomize=False), 2)
    assert capfd.readouterr().err.count("WARNING: Mean file does not match") == 1
    file.write_text("<opencv_storage><Channel>3</Channel></opencv_storage>")
    with pytest.raises(RuntimeError, match=r"^Invalid data in file"):
        xforms.mean(str(file))
    with pytest.raises(RuntimeError, match=r"^Could not open file"):
        xforms.mean(str(tmp_path / "nosuch.xml"))


def test_colour_stays_in_range() -> None:
    image = picture(0)
    same = xforms.color().apply(image, np.random.default_rng(0))
    np.testing.assert_array_equal(same, image)
    jittered = xforms.color(0.3, 0.3, 0.5).apply(image, np.random.default_rng(0))
    assert jittered.min() >= 0.0
    assert jittered.max() <= 255.0
    assert not np.array_equal(jittered, image)
    with pytest.raises(ValueError, match="saturation_radius must be between 0 and 1"):
        xforms.color(saturation_radius=2.0)


def test_mistakes(listed: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="has invalid class id '2'"):
        source(listed, classes=2).next_minibatch(1)
    for text, message in (
        ("a.png\n", "must contain 2 or 3 tab-delimited columns, line 1"),
        ("a.png\tx\n", "Cannot parse label value on line 1"),
        ("", "has no images"),
    ):
        listed.write_text(text)
        with pytest.raises(RuntimeError, match=message):
            source(listed).next_minibatch(1)
    sized = [xforms.scale(2, 2, 3)]
    for text, message in (
        ("nosuch.png\t0\n", "Cannot open file 'nosuch.png'"),
        ("nosuch.zip@/a.png\t0\n", "Cannot open file 'nosuch.zip@/a.png'"),
        ("more.zip@/a.png\t0\n", "Cannot open file 'more.zip@/a.png'"),
        ("map.txt\t0\n", "Cannot decode image 'map.txt'"),
    ):
        listed.write_text(text)
        with pytest.raises(RuntimeError, match=message):
            source(listed, sized).next_minibatch(1)
    with pytest.raises(RuntimeError, match=r"^Failed to open input file"):
        source(tmp_path / "nosuch.txt")
    for arguments in ({"crop_type": "top"}, {"crop_type": "randomside"}, {"side_ratio": 1.5}):
        with pytest.raises(ValueError, match=r"crop|ratio"):
            xforms.crop(**arguments)
    with pytest.raises(ValueError, match="Invalid scaleMode value"):
        xforms.scale(2, 2, 3, scale_mode="fit")
