"""Sharing scope and colour arithmetic of the augmentations, against slow references."""

import colorsys
import itertools
import math
import random

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest

from mmssl_video.datasets.transforms import (
    ClipColorJitter,
    ClipGaussianBlur,
    ClipGrayscale,
    SharedAugment,
)
from mmssl_video.errors import UserError

V, S, T = 3, 2, 4
# Frames that share a draw, by position in the order view, segment, frame.
GROUPS = dict(
    frame=lambda v, s, t: (v, s, t),
    clip=lambda v, s, t: (v, s),
    view=lambda v, s, t: v,
    sample=lambda v, s, t: 0,
)
scopes = pytest.mark.parametrize('share', GROUPS)


def seed_all(seed):
    """Transforms draw from NumPy, MMAction2's crop also from `random`."""
    random.seed(seed)
    np.random.seed(seed)


def sample(imgs, clip_len=T):
    """A sample as it comes from a decoder."""
    return dict(
        imgs=imgs,
        img_shape=imgs[0].shape[:2],
        num_views=len(imgs) // (S * clip_len),
        num_segments=S,
        clip_len=clip_len,
    )


def gradient(number=0, height=70, width=90):
    """Channel 0 holds the column, channel 1 the row, channel 2 the number of the frame."""
    img = np.empty((height, width, 3), np.uint8)
    img[..., 0] = np.arange(width)
    img[..., 1] = np.arange(height)[:, None]
    img[..., 2] = number
    return img


def noise(seed=0, height=20, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_group(share, values):
    """Values of the V * S * T frames, gathered by the group that shares a draw."""
    groups = {}
    for position, value in zip(itertools.product(*map(range, (V, S, T))), values, strict=True):
        groups.setdefault(GROUPS[share](*position), []).append(value)
    return list(groups.values())


# -- Sharing scope ---------------------------------------------------------------------------


@scopes
def test_scope_of_crop_and_flip(share):
    """The window and the flip, read from the pixels: one a group, another in every other group."""
    seed_all(0)
    augment = SharedAugment(
        share, [dict(type='RandomResizedCrop', area_range=(0.05, 0.8)), dict(type='Flip')]
    )
    out = augment(sample([gradient(i) for i in range(V * S * T)]))
    assert len(out['imgs']) == V * S * T
    assert out['img_shape'] == out['imgs'][0].shape[:2]
    draws = []
    for i, img in enumerate(out['imgs']):
        assert img.dtype == np.uint8 and (img[..., 2] == i).all()  # the order is kept
        columns, rows = img[0, :, 0].astype(int), img[:, 0, 1].astype(int)
        np.testing.assert_array_equal(img[..., 0], np.broadcast_to(columns, img.shape[:2]))
        flipped = columns[0] > columns[-1]
        columns = columns[::-1] if flipped else columns
        assert (np.diff(columns) == 1).all() and (np.diff(rows) == 1).all()
        draws.append((columns[0], columns[-1], rows[0], rows[-1], bool(flipped)))
    groups = by_group(share, draws)
    assert len(groups) == dict(frame=24, clip=6, view=3, sample=1)[share]
    for group in groups:
        assert len(set(group)) == 1
    windows = {group[0][:4] for group in groups}
    assert len(windows) == len(groups)
    if len(groups) >= 6:
        assert {group[0][4] for group in groups} == {False, True}


@scopes
def test_scope_of_the_whole_recipe(share):
    """Crop, resize, flip, jitter, grey and blur of one and the same image in all 24 frames."""
    seed_all(1)
    augment = SharedAugment(
        share,
        [
            dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),
            dict(type='ClipColorJitter', prob=0.8),
            dict(type='ClipGrayscale', prob=0.2),
            dict(type='ClipGaussianBlur', prob=0.5),
        ],
    )
    image = noise(1)
    out = augment(sample([image.copy() for _ in range(V * S * T)]))
    assert out['img_shape'] == (32, 32)
    assert all(img.shape == (32, 32, 3) and img.dtype == np.uint8 for img in out['imgs'])
    groups = by_group(share, [img.tobytes() for img in out['imgs']])
    for group in groups:
        assert len(set(group)) == 1
    assert len({group[0] for group in groups}) == len(groups)


@pytest.mark.parametrize('segments', [(3, 1, 2), (1, 1, 1, 3), (2, 2, 2)])
@scopes
def test_scope_where_views_differ(share, segments):
    """With a tuple of segments, each view groups its own; the other scopes are as ever."""
    seed_all(4)
    frames = [gradient(i) for i in range(sum(segments) * T)]
    results = dict(sample(frames), num_views=len(segments), num_segments=segments)
    crop = dict(type='RandomResizedCrop', area_range=(0.05, 0.8))
    out = SharedAugment(share, [crop])(results)['imgs']
    assert [img[0, 0, 2] for img in out] == list(range(len(frames)))
    windows = {}
    for i, (v, s, t) in enumerate(
        (v, s, t) for v, num in enumerate(segments) for s in range(num) for t in range(T)
    ):
        window = (*out[i][0, 0, :2], *out[i][-1, -1, :2])
        windows.setdefault(GROUPS[share](v, s, t), []).append(window)
    sizes = dict(frame=[1] * 24, clip=[T] * 6, view=[num * T for num in segments], sample=[24])
    assert [len(group) for group in windows.values()] == sizes[share]
    assert all(len(set(group)) == 1 for group in windows.values())
    assert len({group[0] for group in windows.values()}) == len(windows)


@pytest.mark.parametrize(
    'transform',
    [
        dict(type='ClipColorJitter', hue=0, prob=1),
        dict(type='ClipColorJitter', brightness=0, contrast=0, saturation=0, hue=0.5, prob=1),
        dict(type='ClipGrayscale', prob=0.5),
        dict(type='ClipGaussianBlur', prob=1),
    ],
    ids=['jitter', 'hue', 'grey', 'blur'],
)
@scopes
def test_scope_of_one_colour_operation(share, transform):
    """Frames of a group get one draw; many groups get more than one."""
    seed_all(2)
    image = noise(2)
    out = SharedAugment(share, [transform])(sample([image.copy() for _ in range(V * S * T)]))
    groups = by_group(share, [img.tobytes() for img in out['imgs']])
    for group in groups:
        assert len(set(group)) == 1
    different = {group[0] for group in groups}
    if transform['type'] == 'ClipGrayscale':
        assert len(different) == min(len(groups), 2)
    elif share == 'frame':
        assert len(different) > 12  # some of 24 draws may round to the same pixels
    else:
        assert len(different) == len(groups)


def test_crop_window_after_resize():
    """Each view of the same frame is the window that a linear fit to its pixels says."""
    seed_all(3)
    augment = SharedAugment(
        'frame',
        [
            dict(type='RandomResizedCrop', area_range=(0.3, 0.9)),
            dict(type='Resize', scale=(40, 40), keep_ratio=False),
        ],
    )
    for img in augment(sample([gradient(i) for i in range(V * S * T)]))['imgs']:
        centre = slice(3, 37)  # away from the border, where the interpolation is constant
        position = np.arange(40)[centre] + 0.5
        size = []
        for line in (img[20, centre, 0], img[centre, 20, 1]):
            slope, start = np.polyfit(position, line + 0.5, 1)
            np.testing.assert_allclose(line + 0.5, slope * position + start, atol=0.8)
            size.append(slope * 40)
        width, height = size
        assert 0.28 <= width * height / (70 * 90) <= 0.92
        assert 0.72 <= width / height <= 1.36


@scopes
@pytest.mark.parametrize('crop', [[], [dict(type='RandomResizedCrop', area_range=(0.5, 1.0))]])
def test_frame_in_two_views_through_one_array(share, crop):
    """PyAVDecode hands out one array twice, and Flip works in place: as if each were its own."""
    augment = SharedAugment(share, [*crop, dict(type='Flip', flip_ratio=0.5)])
    outcomes = set()
    for seed in range(20):
        anchor, positive = [[gradient(10 * k + i) for i in range(S * T)] for k in range(2)]
        shared = [*anchor, *positive, *anchor]
        own = [img.copy() for img in shared]
        seed_all(seed)
        expected = augment(sample(own))['imgs']
        seed_all(seed)
        out = augment(sample(shared))['imgs']
        for img, wanted in zip(out, expected, strict=True):
            np.testing.assert_array_equal(img, wanted)
        flips = [bool(img[0, 0, 0] > img[0, -1, 0]) for img in out]
        outcomes.add((flips[0], flips[2 * S * T]))  # first frame: anchor and anchor again
    same = {(False, False), (True, True)}
    assert outcomes == (same if share == 'sample' else same | {(False, True), (True, False)})


def test_repeated_frame_in_a_group_is_flipped_once():
    """Also where one clip shows the same array several times, as a short video does."""
    image = gradient()
    out = SharedAugment('sample', [dict(type='Flip', flip_ratio=1.0)])(sample([image] * (S * T)))
    for img in out['imgs']:
        np.testing.assert_array_equal(img, gradient()[:, ::-1])


def test_frames_are_only_read():
    """Not copied for a crop; what would write into them stops, MMAction2's Flip apart."""
    image = noise(2, 70, 90)
    kept = image.copy()
    crop = dict(type='RandomResizedCrop')
    out = SharedAugment('frame', [crop])(sample([image] * (V * S * T)))['imgs']
    assert all(np.shares_memory(img, image) for img in out)
    SharedAugment('frame', [crop, dict(type='Flip', flip_ratio=1.0)])(sample([image] * (V * S * T)))
    np.testing.assert_array_equal(image, kept)
    assert image.flags.writeable

    def blacken(results):
        results['imgs'][0][:] = 0
        return results

    augment = SharedAugment('frame', [])
    augment.first.transforms.append(blacken)
    with pytest.raises(ValueError, match='read-only'):
        augment(sample([image] * (V * S * T)))


def test_unknown_scope_or_home():
    with pytest.raises(UserError, match="share is 'video'; choose one of frame, clip, view, sampl"):
        SharedAugment('video', [])
    with pytest.raises(UserError, match="photometric is 'gpu'; choose one of worker, device"):
        SharedAugment('clip', [], photometric='gpu')


# -- Colour jitter ---------------------------------------------------------------------------


def luma(pixel):
    """BT.601, of RGB."""
    red, green, blue = (float(c) for c in pixel)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def to_byte(value):
    return min(255, max(0, round(value)))


def reference_jitter(img, operation, factor):
    """One operation pixel by pixel, in float64, rounded once; hue shifts in steps of 2 degrees."""
    out = np.empty_like(img)
    mean = np.mean([luma(pixel) for row in img for pixel in row])
    for y, x in np.ndindex(img.shape[:2]):
        pixel = [float(c) for c in img[y, x]]
        if operation == 'brightness':
            pixel = [factor * c for c in pixel]
        elif operation == 'contrast':
            pixel = [factor * c + (1 - factor) * mean for c in pixel]
        elif operation == 'saturation':
            pixel = [factor * c + (1 - factor) * luma(img[y, x]) for c in pixel]
        else:
            hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in pixel))
            hue = (hue + round(180 * factor) / 180) % 1
            pixel = [255 * c for c in colorsys.hsv_to_rgb(hue, saturation, value)]
        out[y, x] = [to_byte(c) for c in pixel]
    return out


OPERATIONS = ('brightness', 'contrast', 'saturation', 'hue')


def fix_draws(monkeypatch, order=(0, 1, 2, 3), **factors):
    """Let the jitter always happen, in this order, with these factors (else: no change)."""
    factors = [factors.get(name, 0.0 if name == 'hue' else 1.0) for name in OPERATIONS]
    draws = itertools.cycle(factors)
    monkeypatch.setattr(np.random, 'rand', lambda: 0.0)
    monkeypatch.setattr(np.random, 'uniform', lambda low, high: next(draws))
    monkeypatch.setattr(np.random, 'permutation', lambda n: np.array(order))


def on_device(transform, imgs):
    """The frames that a draw of a transform gives in float, as the device makes them."""
    frames = torch.from_numpy(np.stack(imgs)).permute(0, 3, 1, 2).float()
    draws = torch.from_numpy(np.stack([transform.draw()] * len(imgs)))
    return transform.apply_batch(frames, draws).permute(0, 2, 3, 1).numpy()


# A few hue-rich pixels, all corners of the colour cube, and noise.
PALETTE = np.concatenate(
    [
        np.array(list(itertools.product([0, 255], repeat=3)), np.uint8).reshape(1, 8, 3),
        noise(3, 7, 8),
    ]
)


@pytest.mark.parametrize(
    'operation, factors',
    [
        ('brightness', [0.0, 0.6, 1.0, 1.37, 2.0]),
        ('contrast', [0.0, 0.6, 1.0, 1.37, 2.0]),
        ('saturation', [0.0, 0.6, 1.0, 1.37, 2.0]),
        ('hue', [-0.5, -0.31, -0.1, -1 / 180, 0.0, 1 / 180, 0.1, 0.31, 0.5]),
    ],
)
def test_one_operation_against_the_slow_reference(monkeypatch, operation, factors):
    """Clipped, not wrapped: 8 bits never overflow. Every frame has its own mean luma."""
    dark = PALETTE // 3
    for factor in factors:
        fix_draws(monkeypatch, **{operation: factor})
        jitter = ClipColorJitter(1.0, 1.0, 1.0, 0.5)
        out = jitter(dict(imgs=[PALETTE.copy(), dark.copy()]))['imgs']
        floats = on_device(jitter, [PALETTE, dark])
        for img, exact, source in zip(out, floats, (PALETTE, dark), strict=True):
            assert img.dtype == np.uint8 and img.shape == source.shape
            expected = reference_jitter(source, operation, factor)
            assert np.abs(exact - expected).max() < 0.501  # the rounding of the reference
            error = np.abs(img.astype(int) - expected)
            # 8 bit HSV rounds on the way; a turned hue moves a channel by up to 255 / 30 a step, so
            # half a step is 4.
            assert error.max() <= dict(brightness=1, contrast=1, saturation=1, hue=6)[operation]
            assert error.mean() < (1.2 if operation == 'hue' else 0.3)
            if factor == (0.0 if operation == 'hue' else 1.0):
                np.testing.assert_array_equal(img, source)


@pytest.mark.parametrize('order', [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_operations_in_order(monkeypatch, order):
    """The four operations, one after the other in the drawn order, with a rounding after each."""
    factors = dict(brightness=1.3, contrast=0.7, saturation=1.4, hue=1 / 3)
    fix_draws(monkeypatch, order, **factors)
    img = noise(4, 6, 7) // 2 + 40
    jitter = ClipColorJitter(1.0, 1.0, 1.0, 0.5)
    out = jitter(dict(imgs=[img.copy()]))['imgs'][0]
    expected = img
    for operation in order:
        name = OPERATIONS[operation]
        expected = reference_jitter(expected, name, factors[name])
    # The rounding of the hue goes through what follows, and can be stretched there.
    error = np.abs(out.astype(int) - expected)
    assert error.max() <= 8 and error.mean() < 2
    error = np.abs(on_device(jitter, [img])[0] - expected)
    assert error.max() <= 4 and error.mean() < 1


def test_order_is_drawn_at_every_call(monkeypatch):
    """All 24 orders come up; MMAction2's ColorJitter keeps one for the whole run."""
    monkeypatch.setattr(np.random, 'uniform', lambda low, high: high)
    jitter = ClipColorJitter(0.8, 0.8, 0.8, 0.2, prob=1.0)
    seed_all(5)
    img = noise(5)
    outputs = {jitter(dict(imgs=[img]))['imgs'][0].tobytes() for _ in range(300)}
    assert len(outputs) >= 20  # two orders may give the same pixels


@pytest.mark.parametrize('hue', range(0, 180, 15))
def test_hue_wraps_both_ways(monkeypatch, hue):
    """A hue plus any shift, from -90 to 90 steps of 2 degrees, is that hue modulo 180."""
    colour = np.array([c * 255 for c in colorsys.hsv_to_rgb(hue / 180, 1, 1)]).round()
    img = np.broadcast_to(colour.astype(np.uint8), (2, 2, 3)).copy()
    for shift in range(-90, 91, 6):
        fix_draws(monkeypatch, hue=shift / 180)
        out = ClipColorJitter(hue=0.5)(dict(imgs=[img]))['imgs'][0][0, 0]
        expected = colorsys.hsv_to_rgb((hue + shift) % 180 / 180, 1, 1)
        np.testing.assert_allclose(out, [255 * c for c in expected], atol=1)


def test_channels_are_red_green_blue(monkeypatch):
    """Pure red has luma 76 and turns yellow by a sixth of a turn; read as BGR: 29 and cyan-ish."""
    red = np.full((4, 4, 3), [255, 0, 0], np.uint8)
    jitter = ClipColorJitter(1.0, 1.0, 1.0, 0.5)
    for name in ('saturation', 'contrast'):  # a factor of 0 leaves the (mean) luma
        fix_draws(monkeypatch, **{name: 0.0})
        assert (jitter(dict(imgs=[red]))['imgs'][0] == 76).all()
    fix_draws(monkeypatch, hue=1 / 6)
    assert (jitter(dict(imgs=[red]))['imgs'][0] == [255, 255, 0]).all()
    fix_draws(monkeypatch, hue=-1 / 6)
    assert (jitter(dict(imgs=[red]))['imgs'][0] == [255, 0, 255]).all()


def test_jitter_of_a_clip_is_that_of_its_frames(monkeypatch):
    """Nothing leaks from one to the next, and the device takes frames of other draws beside."""
    fix_draws(monkeypatch, brightness=1.2, contrast=0.6, saturation=1.3, hue=0.2)
    jitter = ClipColorJitter(1.0, 1.0, 1.0, 0.5)
    frames = [noise(6) // 3, noise(7), noise(8) // 2 + 100]
    together = jitter(dict(imgs=[f.copy() for f in frames]))['imgs']
    for frame, img in zip(frames, together, strict=True):
        np.testing.assert_array_equal(img, jitter(dict(imgs=[frame]))['imgs'][0])
    draws = np.array([[1.2, 0.6, 1.3, 36, *order] for order in ((0, 1, 2, 3), (3, 2, 1, 0))])
    draws = np.vstack([draws, [1, 1, 1, 0, 0, 1, 2, 3]])
    batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
    together = jitter.apply_batch(batch, torch.from_numpy(draws))
    for number in range(3):
        one = slice(number, number + 1)
        alone = jitter.apply_batch(batch[one], torch.from_numpy(draws[one]))
        torch.testing.assert_close(together[one], alone)
    torch.testing.assert_close(together[2], batch[2])


def test_factors_are_uniform_in_their_ranges():
    """Read back from pixels: factors in [max(0, 1 - x), 1 + x], hue shifts in [-hue, hue]."""
    seed_all(6)
    zero = dict(brightness=0, contrast=0, saturation=0, hue=0, prob=1.0)
    grey = np.full((1, 1, 3), 100, np.uint8)
    colour = np.full((1, 1, 3), [140, 100, 80], np.uint8)
    two = np.array([[[90] * 3, [110] * 3]], np.uint8)
    pure = np.full((1, 1, 3), [255, 0, 0], np.uint8)

    def outputs(img, **ranges):
        jitter = ClipColorJitter(**{**zero, **ranges})
        return np.array([jitter(dict(imgs=[img]))['imgs'][0][0] for _ in range(1500)]).astype(float)

    def is_uniform(factors, low, width):
        factors = factors + np.random.default_rng(0).uniform(-0.5, 0.5, len(factors)) * step
        return kstest(factors, 'uniform', (low, width)).pvalue > 0.01

    step = 1 / 100
    assert is_uniform(outputs(grey, brightness=0.4)[:, 0, 0] / 100, 0.6, 0.8)
    assert is_uniform(outputs(grey, brightness=1.5)[:, 0, 0] / 100, 0.0, 2.5)
    step = 1 / 20
    difference = np.diff(outputs(two, contrast=0.9)[..., 0])[:, 0]
    assert is_uniform(difference / 20, 0.1, 1.8)
    step = 1 / 60
    out = outputs(colour, saturation=0.9)[:, 0]
    assert is_uniform((out[:, 0] - out[:, 2]) / 60, 0.1, 1.8)
    step = 1 / 180
    hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in outputs(pure, hue=0.1)[:, 0] / 255]
    hues = np.round(180 * np.array(hues)) / 180
    assert is_uniform((hues + 0.5) % 1 - 0.5, -0.1, 0.2)


def test_zero_ranges_change_nothing():
    """Also the hue: no detour through 8 bit HSV, which is lossy."""
    jitter = ClipColorJitter(0, 0, 0, 0, prob=1.0)
    img = noise(9)
    for _ in range(5):
        np.testing.assert_array_equal(jitter(dict(imgs=[img.copy()]))['imgs'][0], img)


@pytest.mark.parametrize(
    'kwargs', [dict(brightness=-0.1), dict(contrast=-1), dict(saturation=-1), dict(hue=0.6)]
)
def test_jitter_out_of_range(kwargs):
    with pytest.raises(UserError, match=r'ClipColorJitter needs .*\[0, 0.5\], but has'):
        ClipColorJitter(**kwargs)


# -- Greyscale -------------------------------------------------------------------------------


def test_greyscale_is_luma():
    """Three equal channels within half a step of the float luma, and a step of rounding."""
    img = noise(10)
    out = ClipGrayscale(prob=1.0)(dict(imgs=[img.copy()]))['imgs'][0]
    assert out.shape == img.shape and out.dtype == np.uint8
    assert (out == out[..., :1]).all()
    expected = np.array([[luma(pixel) for pixel in row] for row in img])
    assert np.abs(out[..., 0] - expected).max() <= 0.51
    exact = on_device(ClipGrayscale(prob=1.0), [img])[0]
    np.testing.assert_allclose(exact, expected[..., None] + np.zeros(3), rtol=1e-5)


@pytest.mark.parametrize('colour, grey', [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29)])
def test_greyscale_of_pure_colours(colour, grey):
    img = np.full((2, 2, 3), colour, np.uint8)
    assert (ClipGrayscale(prob=1.0)(dict(imgs=[img]))['imgs'][0] == grey).all()


# -- Gaussian blur ---------------------------------------------------------------------------


def reference_blur(img, sigma):
    """Separable Gaussian out to 3 sigma, borders mirrored about the outermost pixel, float64."""
    radius = max(1, math.ceil(3 * sigma - 0.25))  # sizes are odd: 6 sigma + 1, rounded
    weights = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(-radius, radius + 1)]
    weights = np.array(weights) / sum(weights)
    out = img.astype(float)
    for axis in (0, 1):
        size = out.shape[axis]
        blurred = np.zeros_like(out)
        for d, weight in zip(range(-radius, radius + 1), weights, strict=True):
            source = [abs(i + d) for i in range(size)]
            source = [2 * (size - 1) - i if i >= size else i for i in source]
            blurred += weight * np.take(out, source, axis)
        out = blurred
    return out


@pytest.mark.parametrize('sigma', [0.1, 0.4, 0.8, 1.0, 1.5, 2.0])
def test_blur_against_the_separable_kernel(sigma):
    """Within a rounding on noise; a step keeps its height and spreads by sigma squared."""
    img = noise(11, 20, 25)
    blur = ClipGaussianBlur(sigma_range=(sigma, sigma), prob=1.0)
    out = blur(dict(imgs=[img.copy(), img.copy()]))['imgs']
    assert out[0].dtype == np.uint8
    np.testing.assert_array_equal(out[0], out[1])
    expected = reference_blur(img, sigma)
    assert np.abs(out[0] - expected).max() < 0.501
    np.testing.assert_allclose(on_device(blur, [img])[0], expected, atol=1e-3)
    step = np.zeros((9, 41, 3), np.uint8)
    step[:, 20:] = 255
    profile = np.diff(blur(dict(imgs=[step]))['imgs'][0][4, :, 0].astype(float)) / 255
    position = np.arange(40) - 19
    assert profile.sum() == pytest.approx(1, abs=0.01)
    if sigma >= 0.8:  # below, the samples of the kernel are too few for its variance
        assert (profile * position**2).sum() == pytest.approx(sigma**2, rel=0.1)


def test_widths_differ_in_a_batch():
    """Narrow kernels beside wide ones, and frames that stay."""
    imgs = [noise(number, 20, 25) for number in range(3)]
    frames = torch.from_numpy(np.stack(imgs)).permute(0, 3, 1, 2).float()
    out = ClipGaussianBlur.apply_batch(frames, torch.tensor([[0.5], [0], [2]]).double())
    out = out.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(out[0], reference_blur(imgs[0], 0.5), atol=1e-3)
    np.testing.assert_array_equal(out[1], imgs[1])
    np.testing.assert_allclose(out[2], reference_blur(imgs[2], 2), atol=1e-3)


def test_sigma_is_uniform():
    """The height of a blurred impulse falls with sigma, so its quantiles are sigma's."""
    seed_all(7)
    impulse = np.zeros((15, 15, 3), np.uint8)
    impulse[7, 7] = 255
    blur = ClipGaussianBlur(sigma_range=(0.5, 2.0), prob=1.0)
    peaks = np.array([blur(dict(imgs=[impulse]))['imgs'][0][7, 7, 0] for _ in range(1000)])
    for quantile in (0.1, 0.25, 0.5):
        at = reference_blur(impulse, 0.5 + 1.5 * quantile)[7, 7, 0]
        assert binomtest(int((peaks > at).sum()), 1000, quantile).pvalue > 0.01


@pytest.mark.parametrize('sigma_range', [(0, 2.0), (-1, 1), (2.0, 0.1)])
def test_blur_out_of_range(sigma_range):
    with pytest.raises(UserError, match=r'sigma_range is .* 0 < low <= high'):
        ClipGaussianBlur(sigma_range=sigma_range)


# -- Probabilities ---------------------------------------------------------------------------

WITH_PROB = pytest.mark.parametrize('transform', [ClipColorJitter, ClipGrayscale, ClipGaussianBlur])


@WITH_PROB
def test_probability(transform):
    """Never at 0, always at 1, as often as said between, and for all frames or none."""
    img = noise(12, 8, 9)
    for prob in (0.0, 0.3, 1.0):
        seed_all(8)
        augment, changed = transform(prob=prob), []
        for _ in range(600):
            out = augment(dict(imgs=[img.copy(), img.copy()]))['imgs']
            changes = [not np.array_equal(o, img) for o in out]
            assert changes[0] == changes[1]
            changed.append(changes[0])
        if transform is ClipGaussianBlur and prob:
            continue  # the smallest widths change no pixel; see below
        if prob in (0.0, 1.0):
            assert set(changed) == {bool(prob)}
        else:
            assert binomtest(sum(changed), len(changed), prob).pvalue > 0.01


def test_probability_of_blur():
    seed_all(9)
    img = noise(13, 8, 9)
    for prob in (0.3, 1.0):
        blur = ClipGaussianBlur(sigma_range=(1.0, 2.0), prob=prob)
        changed = [(blur(dict(imgs=[img]))['imgs'][0] != img).any() for _ in range(600)]
        assert binomtest(int(sum(changed)), 600, prob).pvalue > 0.01


@WITH_PROB
def test_repr_tells_the_probability(transform):
    """The pipeline prints as what it does."""
    assert 'prob=0.3' in repr(transform(prob=0.3))


def test_input_frames_are_not_written_to():
    """Views may share arrays: the colour operations make new ones."""
    img = noise(14)
    kept = img.copy()
    for transform in (ClipColorJitter(prob=1), ClipGrayscale(prob=1), ClipGaussianBlur(prob=1)):
        transform(dict(imgs=[img, img]))
        np.testing.assert_array_equal(img, kept)


def test_outputs_are_uint8_images_for_opencv():
    """What follows, e.g. a resize, takes the arrays as they are."""
    seed_all(10)
    for transform in (ClipColorJitter(prob=1), ClipGrayscale(prob=1), ClipGaussianBlur(prob=1)):
        for img in transform(dict(imgs=[noise(15), noise(16)]))['imgs']:
            assert img.dtype == np.uint8 and cv2.resize(img, (8, 8)).shape == (8, 8, 3)
