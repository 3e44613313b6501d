"""Jitter, grey and blur on the device, beside the same draws in the worker."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import PackActionInputs
from mmaction.models import ActionDataPreprocessor
from mmaction.registry import MODELS, TRANSFORMS
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl_video.config_check import apply_options
from mmssl_video.datasets.transforms import ClipDifferences, FormatViews, PackViews, SharedAugment
from mmssl_video.errors import UserError
from mmssl_video.models import SSLDataPreprocessor

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
COLOUR = [
    dict(type='ClipColorJitter', prob=0.8),
    dict(type='ClipGrayscale', prob=0.3),
    dict(type='ClipGaussianBlur', prob=0.5),
]
ON_DEVICE = {'train_dataloader.dataset.pipeline.3.photometric': 'device'}


def sample(num_views, num_segments, clip_len):
    """Decoded frames of a sample: smooth pictures of many colours."""
    rng = np.random.default_rng(0)
    segments = num_segments if isinstance(num_segments, tuple) else (num_segments,) * num_views
    imgs = []
    for _ in range(sum(segments) * clip_len):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 5, 6)))
        fine = torch.nn.functional.interpolate(coarse, (50, 60), mode='bicubic').clamp(0, 255)
        imgs.append(fine[0].permute(1, 2, 0).numpy().round().astype(np.uint8))
    return dict(
        imgs=imgs,
        img_shape=(50, 60),
        num_views=num_views,
        num_segments=num_segments,
        clip_len=clip_len,
    )


@pytest.mark.parametrize(
    ('path', 'share', 'shape'),
    [
        ('vclr/vclr_slowonly-r18_1x16-4x2x3-16e_generated-rgb.py', 'clip', (2, 3, 4)),
        ('vclr/vclr_slowonly-r18_1x16-4x2x3-16e_generated-rgb.py', 'sample', (2, 3, 4)),
        ('vclr/vclr-cvrl_slowonly-r18_1x16-4x2x8-16e_generated-rgb.py', 'view', (3, (3, 3, 1), 2)),
        ('vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py', 'frame', (3, 3, 1)),
    ],
)
def test_both_homes_make_the_same_batch(path, share, shape):
    """By one key of a recipe: the same numbers are drawn, and pixels differ by roundings alone."""
    init_default_scope('mmaction')
    batches, drawn_after = [], []
    for options in ({}, ON_DEVICE):
        cfg = Config.fromfile(CONFIGS / path)
        apply_options(cfg, {'train_dataloader.dataset.pipeline.3.share': share, **options})
        steps = cfg.train_dataloader.dataset.pipeline[3:]  # without sampling and decoding
        pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
        random.seed(3)
        np.random.seed(3)
        packed = [pipeline(sample(*shape)) for _ in range(2)]
        data = {key: [one[key] for one in packed] for key in ('inputs', 'data_samples')}
        batches.append(preprocessor(data, training=True))
        drawn_after.append(np.random.rand())
    in_worker, on_device = batches
    assert drawn_after[0] == drawn_after[1]
    assert in_worker['inputs'].shape == on_device['inputs'].shape
    assert not any('photometric' in one for one in on_device['data_samples'])
    scale = torch.tensor(STD).view(preprocessor.std.shape)
    error = ((in_worker['inputs'] - on_device['inputs']) * scale).abs()
    # A rounding can be stretched by the factors that follow.
    assert error.max() <= 12 and error.mean() < 1


def test_mixed_precision_leaves_the_colours_alone():
    draws = [('ClipColorJitter', np.array([[1.3, 0.7, 1.2, 20, 1, 3, 0, 2]]))]
    image = torch.from_numpy(sample(1, 1, 1)['imgs'][0]).permute(2, 0, 1)[None, None]
    preprocessor = SSLDataPreprocessor(MEAN, STD)
    outs = []
    for enabled in (False, True):
        pack = PackViews()
        packed = pack(dict(imgs=image, photometric=draws))
        data = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            outs.append(preprocessor(data)['inputs'])
    assert torch.equal(*outs)


def test_samples_without_draws_are_normalised():
    """Features, and whatever the worker has augmented: MMAction2's batch, bit for bit."""
    image = torch.from_numpy(sample(1, 1, 1)['imgs'][0]).permute(2, 0, 1)[None, None]
    batches = []
    for kind in (ActionDataPreprocessor, SSLDataPreprocessor):
        packed = PackActionInputs()(dict(imgs=image))
        data = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        batches.append(kind(MEAN, STD)(data, training=True)['inputs'])
    assert torch.equal(*batches)


def test_what_the_device_cannot_do():
    """Nothing may come between the draw and the batch that changes the frames."""
    flip = dict(type='Flip')
    for transforms in ([*COLOUR, flip], [flip], []):
        with pytest.raises(UserError, match='needs its photometric transforms .* at the end'):
            SharedAugment('clip', transforms, photometric='device')
    augment = SharedAugment('clip', COLOUR, photometric='device')
    results = augment(sample(2, 1, 4))
    with pytest.raises(UserError, match='must be the last SharedAugment of the pipeline'):
        SharedAugment('clip', COLOUR)(results)
    with pytest.raises(UserError, match='for 8 frames, but a later transform makes 6 images'):
        FormatViews('NCTHW')(ClipDifferences()(results))
