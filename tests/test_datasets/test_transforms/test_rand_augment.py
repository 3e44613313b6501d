"""RandAugment: what each operation does, and one draw for all frames of a clip."""

import numpy as np
import pytest

from mmssl_video.datasets.transforms.rand_augment import OPERATIONS, SIGNED, ClipRandAugment


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', [*SIGNED, 'posterize', 'solarize'])
def test_level_zero_changes_nothing(name, image):
    assert np.array_equal(OPERATIONS[name](image, 0.0), image)


def test_values(image):
    values = image.astype(float)
    assert np.array_equal(OPERATIONS['invert'](image, 0.9), 255 - image)
    brighter = np.clip(values * 1.9, 0, 255)
    assert np.abs(OPERATIONS['brightness'](image, 1) - brighter).max() <= 1
    grey = values @ [[0.299], [0.587], [0.114]]  # of RGB
    for name, end in ('color', grey), ('contrast', grey.mean()):
        for level in (-1, 1):
            blended = np.clip(end + (1 + 0.9 * level) * (values - end), 0, 255)
            assert np.abs(OPERATIONS[name](image, level) - blended).max() < 2
    assert np.array_equal(OPERATIONS['posterize'](image, 1), image & 0b11110000)
    solarized = np.where(image < 128, image, 255 - image)
    assert np.array_equal(OPERATIONS['solarize'](image, 0.5), solarized)
    moved = OPERATIONS['translate_x'](image, 0.5)  # by 9 of 40 columns
    assert np.array_equal(moved[:, 9:], image[:, :-9])
    moved = OPERATIONS['translate_y'](image, -1)  # by 9 of 20 rows, the other way
    assert np.array_equal(moved[:-9], image[9:])


def test_frames_of_a_clip_share_a_draw(image):
    np.random.seed(0)
    augment = ClipRandAugment()
    changed = 0
    for _ in range(200):
        frames = augment(dict(imgs=[image.copy() for _ in range(3)]))['imgs']
        assert all(frame.dtype == np.uint8 and frame.shape == image.shape for frame in frames)
        assert all(np.array_equal(frame, frames[0]) for frame in frames)
        changed += not np.array_equal(frames[0], image)
    # Each of two operations is applied in half of the cases: 3/4 of the clips, 6.1 of 200 is one
    # standard deviation.
    assert abs(changed - 150) < 25
