"""Linear probes have the networks of pretraining, and the protocols' numbers."""

import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from test_configs import load as load_pretraining
from test_downstream_configs import FOLDER, load

PRETRAINED_BY = {
    'linear_r3d50_64x16-32x2x1-100e_kinetics400-rgb.py': (
        'cvrl/cvrl_r3d50_64x16-16x2x2-800e_kinetics400-rgb.py'
    ),
    'linear_r3d50_64x16-32x2x1-100e_kinetics600-rgb.py': (
        'cvrl/cvrl_r3d50_64x16-16x2x2-800e_kinetics600-rgb.py'
    ),
    'linear_slowonly-r50_8x8-8x8x1-60e_kinetics400-rgb.py': (
        'rho_moco/rho-moco_slowonly-r50_8x8-8x8x4-200e_kinetics400-rgb.py'
    ),
    'linear_r50_8x32-1x1x8-100e_kinetics400-rgb.py': (
        'vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py'
    ),
    'linear_s3d_1x32-32x1x1-100e_ucf101-rgb.py': (
        'vclr/vclr-nce_s3d_4x16-32x1x2-300e_ucf101-rgb.py'
    ),
    'linear_r18_1x32-1x1x3-20e_generated-rgb.py': 'vclr/vclr_r18_demo.py',
}
# Base batch; rate, its warm-up and length in epochs (CVRL's code: 1,787 of 35,744 steps);
# weight decay; whether features are normalised; clips of a test video, their length and distance;
# crops of each.
PROTOCOLS = {
    'linear_r3d50_64x16-32x2x1-100e_kinetics400-rgb.py': (1024, 32, 5, 100, 0, True, 10, 32, 2, 3),
    'linear_r3d50_64x16-32x2x1-100e_kinetics600-rgb.py': (1024, 32, 5, 100, 0, True, 10, 32, 2, 3),
    'linear_slowonly-r50_8x8-8x8x1-60e_kinetics400-rgb.py': (64, 0.5, 8, 60, 0, False, 10, 8, 8, 3),
    'linear_r50_8x32-1x1x8-100e_kinetics400-rgb.py': (256, 8, 5, 100, 0, True, 30, 1, 1, 1),
    'linear_s3d_1x32-32x1x1-100e_ucf101-rgb.py': (32, 0.1, 0, 100, 1e-3, True, 10, 32, 1, 1),
    'linear_r18_1x32-1x1x3-20e_generated-rgb.py': (32, 10, 1, 20, 0, True, 10, 1, 1, 1),
}


def linear(name):
    return load(f'linear/{name}')


def test_all_are_here():
    names = {path.name for path in (FOLDER / 'linear').glob('*.py')}
    assert names == set(PRETRAINED_BY) == set(PROTOCOLS)


@pytest.mark.parametrize('name', PRETRAINED_BY)
def test_network_is_that_of_pretraining(name):
    probe, pretraining = linear(name), load_pretraining(PRETRAINED_BY[name])

    def plain(settings, *others):
        return {key: value for key, value in settings.items() if key not in ('_scope_', *others)}

    assert plain(probe.model.backbone) == plain(pretraining.model.backbone)
    # Pretraining's preprocessor may augment besides, by its type.
    probed, pretrained = (
        plain(cfg.model.data_preprocessor, 'type') for cfg in (probe, pretraining)
    )
    assert probed == pretrained
    assert probe.model.type in ('FrozenRecognizer2D', 'FrozenRecognizer3D')
    # Its frozen statistics are not even averaged over processes, which would round them.
    assert 'SyncBuffersHook' not in [hook.type for hook in probe.default_hooks.values()]


@pytest.mark.parametrize('name', PROTOCOLS)
def test_protocol(name):
    cfg = linear(name)
    batch, rate, warmup, epochs, decay, l2, num_clips, clip_len, interval, crops = PROTOCOLS[name]
    assert cfg.auto_scale_lr.base_batch_size == batch
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', rate, 0.9)
    assert optimizer.get('weight_decay', 0) == decay
    assert cfg.optim_wrapper.get('clip_grad') is None
    (schedule,) = cfg.param_scheduler
    assert (schedule.get('warmup', 0), cfg.train_cfg.max_epochs) == (warmup, epochs)
    assert 'end' not in schedule  # the Runner's default, its length
    assert epochs % cfg.train_cfg.val_interval == 0
    head = cfg.model.cls_head
    assert (head.type, head.average_clips) == ('LinearProbeHead', 'prob')
    assert head.get('l2_normalize', True) == l2
    pipeline = cfg.test_dataloader.dataset.pipeline
    sampler = next(step for step in pipeline if step.type == 'SampleFrames')
    sampled = TRANSFORMS.build(sampler).transform(dict(total_frames=300, start_index=0))
    indices = sampled['frame_inds'].reshape(-1, clip_len)
    assert len(indices) == num_clips
    assert clip_len == 1 or (np.diff(indices) == interval).all()
    assert any(step.type == 'ThreeCrop' for step in pipeline) == (crops == 3)
    # Training has the clips of the test.
    sampler = next(
        step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'SampleFrames'
    )
    assert (sampler.clip_len, sampler.frame_interval) == (clip_len, interval)
    assert clip_len == 1 or sampler.num_clips == 1
