"""ChannelSplit: one channel three times, fair draws, and the shortcut that it takes away."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmssl_video.datasets.transforms import ChannelSplit, SharedAugment


def sample(imgs, clip_len):
    return dict(
        imgs=list(imgs),
        img_shape=imgs[0].shape[:2],
        num_views=1,
        num_segments=len(imgs) // clip_len,
        clip_len=clip_len,
    )


@pytest.mark.parametrize('share, num_draws', [('frame', 12), ('clip', 3), ('sample', 1)])
def test_channels(share, num_draws):
    """Each group keeps one channel as it is, drawn uniformly; the source is not written to."""
    np.random.seed(0)
    imgs = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 3), dtype=np.uint8)
    kept = imgs.copy()
    augment = SharedAugment(share, [dict(type='ChannelSplit')])
    counts = np.zeros((num_draws, 3))
    for _ in range(1200 // num_draws):
        for i, out in enumerate(augment(sample(imgs, clip_len=4))['imgs']):
            assert out.shape == (3, 5, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
            assert (out == out[..., :1]).all()
            same = [np.array_equal(out[..., 0], imgs[i, ..., c]) for c in range(3)]
            assert sum(same) == 1
            group = i * num_draws // 12
            if i % (12 // num_draws) == 0:
                drawn = same.index(True)
                counts[group, drawn] += 1
            assert same[drawn]
    assert chisquare(counts.sum(0)).pvalue > 1e-3
    np.testing.assert_array_equal(imgs, kept)
    if share == 'frame':  # neighbours are drawn apart: all 9 pairs come up alike
        firsts = [augment(sample(imgs, clip_len=4))['imgs'][:2] for _ in range(900)]
        pairs = [
            3 * (a[0, 0, 0] == imgs[0, 0, 0]).argmax() + (b[0, 0, 0] == imgs[1, 0, 0]).argmax()
            for a, b in firsts
        ]
        assert len(set(imgs[0, 0, 0])) == len(set(imgs[1, 0, 0])) == 3
        assert chisquare(np.bincount(pairs, minlength=9)).pvalue > 1e-3


def drifting_frames(rng):
    """Three frames of one noise whose colour goes from red to blue, uint8 [3, 8, 8, 3]."""
    texture = rng.uniform(20, 120, (8, 8, 1)) * rng.uniform(0.9, 1.1, (8, 8, 3))
    times = np.sort(rng.choice(10, 3, replace=False)) / 9
    gains = np.stack([1.5 - times, np.ones(3), 0.5 + times], axis=-1)
    return (texture * gains[:, None, None]).astype(np.uint8)


def of_channels(imgs):
    """Mean and deviation of each channel in each frame, and of the differences of two."""
    features = []
    for img in imgs:
        pixels = img.astype(float).reshape(-1, 3)
        pixels = np.concatenate([pixels, np.diff(pixels)], axis=1)
        features.extend([*pixels.mean(0), *pixels.std(0)])
    return features


def test_shortcut_of_channels():
    """A linear probe of the channels' statistics orders frames by them alone, then cannot.

    After the split, what is left is the level of a channel that is not known: the mean of the
    three gains is the same at all times.
    """
    rng = np.random.default_rng(1)
    np.random.seed(1)
    orders = list(permutations(range(3)))
    split = SharedAugment('frame', [dict(type='ChannelSplit')])
    accuracy = {}
    for name, augment in (('as they are', lambda results: results), ('split', split)):
        features, labels = [], []
        for _ in range(400):  # every video in all 6 orders: chance is exactly 1 of 6
            frames = drifting_frames(rng)
            for label, order in enumerate(orders):
                features.append(of_channels(augment(sample(frames[list(order)], 1))['imgs']))
                labels.append(label)
        features, labels = np.array(features), np.array(labels)
        train = np.arange(len(labels)) < len(labels) // 2
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        probe.fit(features[train], labels[train])
        accuracy[name] = probe.score(features[~train], labels[~train])
    assert accuracy['as they are'] > 0.9
    # Within four standard errors of a guess over the 200 videos that were not trained on.
    assert abs(accuracy['split'] - 1 / 6) < 4 * (1 / 6 * 5 / 6 / 200) ** 0.5


def test_repr():
    assert repr(ChannelSplit()) == 'ChannelSplit()'
