"""ChannelSplit: one channel three times, fair draws, and the shortcut that it takes away."""

import numpy as np
import pytest
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import SharedAugment


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
    for _ in range(600 // num_draws):
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
        firsts = [augment(sample(imgs, clip_len=4))['imgs'][:2] for _ in range(450)]
        pairs = [
            3 * (a[0, 0, 0] == imgs[0, 0, 0]).argmax() + (b[0, 0, 0] == imgs[1, 0, 0]).argmax()
            for a, b in firsts
        ]
        assert len(set(imgs[0, 0, 0])) == len(set(imgs[1, 0, 0])) == 3
        assert chisquare(np.bincount(pairs, minlength=9)).pvalue > 1e-3
