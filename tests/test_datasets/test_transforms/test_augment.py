"""Sharing scope and colour arithmetic of the augmentations, against slow references."""

import colorsys
import itertools
import math
import random
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare, kstest

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


@pytest.mark.parametrize('segments', [S, (3, 1, 2), (2, 2, 2)])
@scopes
def test_scope_of_crop_and_flip(share, segments):
    """The window and the flip, read from the pixels: one a group, another in every other group.

    With a tuple of segments, each view groups its own.
    """
    seed_all(0)
    per_view = (S,) * V if segments == S else segments
    frames = [gradient(i) for i in range(sum(per_view) * T)]
    augment = SharedAugment(
        share, [dict(type='RandomResizedCrop', area_range=(0.05, 0.8)), dict(type='Flip')]
    )
    out = augment(dict(sample(frames), num_views=len(per_view), num_segments=segments))
    assert out['img_shape'] == out['imgs'][0].shape[:2]
    places = [(v, s, t) for v, num in enumerate(per_view) for s in range(num) for t in range(T)]
    groups = {}
    for i, (img, place) in enumerate(zip(out['imgs'], places, strict=True)):
        assert img.dtype == np.uint8 and (img[..., 2] == i).all()  # the order is kept
        columns, rows = img[0, :, 0].astype(int), img[:, 0, 1].astype(int)
        np.testing.assert_array_equal(img[..., 0], np.broadcast_to(columns, img.shape[:2]))
        flipped = bool(columns[0] > columns[-1])
        columns = columns[::-1] if flipped else columns
        assert (np.diff(columns) == 1).all() and (np.diff(rows) == 1).all()
        draw = columns[0], columns[-1], rows[0], rows[-1], flipped
        groups.setdefault(GROUPS[share](*place), []).append(draw)
    sizes = dict(frame=[1] * 24, clip=[T] * 6, view=[n * T for n in per_view], sample=[24])
    assert [len(group) for group in groups.values()] == sizes[share]
    assert all(len(set(group)) == 1 for group in groups.values())
    draws = [group[0] for group in groups.values()]
    assert len({draw[:4] for draw in draws}) == len(draws)
    if len(draws) >= 6:
        assert {draw[4] for draw in draws} == {False, True}


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


@scopes
@pytest.mark.parametrize('crop', [[], [dict(type='RandomResizedCrop', area_range=(0.5, 1.0))]])
def test_frame_in_two_views_through_one_array(share, crop):
    """PyAVDecode hands out one array twice, and Flip works in place: as if each were its own."""
    augment = SharedAugment(share, [*crop, dict(type='Flip', flip_ratio=0.5)])
    outcomes = set()
    for seed in range(12):
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
    # Also where one clip shows the same array several times, as a short video does.
    flip = SharedAugment('sample', [dict(type='Flip', flip_ratio=1.0)])
    for img in flip(sample([gradient()] * (S * T)))['imgs']:
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


def test_order_and_factors_are_uniform():
    """All 24 orders come up, and factors in [max(0, 1 - x), 1 + x], hue shifts in [-hue, hue]."""
    seed_all(5)
    jitter = ClipColorJitter(brightness=0.4, contrast=1.5, saturation=0.9, hue=0.1, prob=1.0)
    *factors, hues = np.array([jitter.draw() for _ in range(1500)]).T[:4]
    for values, low, high in zip(factors, (0.6, 0.0, 0.1), (1.4, 2.5, 1.9), strict=True):
        assert kstest(values, 'uniform', (low, high - low)).pvalue > 0.01
    shifts = (hues + np.random.uniform(-0.5, 0.5, 1500)) / 180  # they are whole steps
    assert kstest(shifts, 'uniform', (-0.1, 0.2)).pvalue > 0.01
    orders = Counter(tuple(jitter.draw()[4:]) for _ in range(1500))
    assert len(orders) == 24 and chisquare(list(orders.values())).pvalue > 0.01


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


@pytest.mark.parametrize('sigma', [0.1, 0.4, 1.0, 2.0])
def test_blur_against_the_separable_kernel(sigma):
    img = noise(11, 20, 25)
    blur = ClipGaussianBlur(sigma_range=(sigma, sigma), prob=1.0)
    out = blur(dict(imgs=[img.copy(), img.copy()]))['imgs']
    assert out[0].dtype == np.uint8
    np.testing.assert_array_equal(out[0], out[1])
    expected = reference_blur(img, sigma)
    assert np.abs(out[0] - expected).max() < 0.501
    np.testing.assert_allclose(on_device(blur, [img])[0], expected, atol=1e-3)


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
    seed_all(7)
    blur = ClipGaussianBlur(sigma_range=(0.5, 2.0), prob=1.0)
    sigmas = [blur.draw()[0] for _ in range(1000)]
    assert kstest(sigmas, 'uniform', (0.5, 1.5)).pvalue > 0.01


# -- All of them -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'transform', [ClipColorJitter, ClipGrayscale, partial(ClipGaussianBlur, sigma_range=(1, 2))]
)
def test_probability(transform):
    """Never at 0, always at 1, as often as said between; of all frames or none, in new arrays."""
    img = noise(12, 8, 9)
    kept = img.copy()
    for prob in (0.0, 0.3, 1.0):
        seed_all(8)
        augment, changed = transform(prob=prob), []
        for _ in range(400):
            changes = [(out != kept).any() for out in augment(dict(imgs=[img, img]))['imgs']]
            assert changes[0] == changes[1]
            changed.append(changes[0])
        assert binomtest(int(sum(changed)), len(changed), prob).pvalue > 0.01
        assert f'prob={prob}' in repr(augment)
    np.testing.assert_array_equal(img, kept)


@pytest.mark.parametrize(
    ('transform', 'kwargs', 'words'),
    [
        (ClipColorJitter, dict(brightness=-0.1), r'ClipColorJitter needs .*\[0, 0.5\], but has'),
        (ClipColorJitter, dict(contrast=-1), r'ClipColorJitter needs .*\[0, 0.5\], but has'),
        (ClipColorJitter, dict(saturation=-1), r'ClipColorJitter needs .*\[0, 0.5\], but has'),
        (ClipColorJitter, dict(hue=0.6), r'ClipColorJitter needs .*\[0, 0.5\], but has'),
        (ClipGaussianBlur, dict(sigma_range=(0, 2)), 'sigma_range is .* 0 < low <= high'),
        (ClipGaussianBlur, dict(sigma_range=(-1, 1)), 'sigma_range is .* 0 < low <= high'),
        (ClipGaussianBlur, dict(sigma_range=(2, 0.1)), 'sigma_range is .* 0 < low <= high'),
        (SharedAugment, dict(share='video', transforms=[]), 'choose one of frame, clip, view, sa'),
        (
            SharedAugment,
            dict(share='clip', transforms=[], photometric='gpu'),
            "photometric is 'gpu'; choose one of worker, device",
        ),
    ],
)
def test_arguments_out_of_range(transform, kwargs, words):
    with pytest.raises(UserError, match=words):
        transform(**kwargs)
