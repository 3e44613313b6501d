"""Linear probes have the networks of pretraining."""

import pytest
from config_helpers import REPOSITORY, load

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
    'linear_vit-b_64x8-16x2x1-100e_sthv2-rgb.py': (
        'videomae/videomae_vit-b_64x16-16x2x1-2400e_sthv2-rgb.py'
    ),
    'linear_r18_1x32-1x1x3-20e_generated-rgb.py': 'vclr/vclr_r18_demo.py',
    'linear_vit-t_1x32-8x2x1-20e_generated-rgb.py': (
        'videomae/videomae_vit-t_1x16-8x2x1-100e_generated-rgb.py'
    ),
}


def linear(name):
    return load(f'downstream/linear/{name}')


def test_all_are_here():
    names = {path.name for path in (REPOSITORY / 'configs/downstream/linear').glob('*.py')}
    assert names == set(PRETRAINED_BY)


@pytest.mark.parametrize('name', PRETRAINED_BY)
def test_network_is_that_of_pretraining(name):
    probe, pretraining = linear(name), load(PRETRAINED_BY[name])

    def plain(settings, *others):
        return {key: value for key, value in settings.items() if key not in ('_scope_', *others)}

    backbone = plain(pretraining.model.backbone)
    backbone['type'] = backbone['type'].removeprefix('Masked')  # which has the same keys
    assert plain(probe.model.backbone) == backbone
    # Pretraining's preprocessor may augment besides, by its type.
    probed, pretrained = (
        plain(cfg.model.data_preprocessor, 'type') for cfg in (probe, pretraining)
    )
    assert probed == pretrained
    assert probe.model.type in ('FrozenRecognizer2D', 'FrozenRecognizer3D')
    # Its frozen statistics are not even averaged over processes, which would round them.
    assert 'SyncBuffersHook' not in [hook.type for hook in probe.default_hooks.values()]
