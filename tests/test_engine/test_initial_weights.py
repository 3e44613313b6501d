"""A new run of pretraining from a checkpoint: all of a backbone, whole heads, empty queues."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.runner import Runner
from tiny_vclr import tiny_config, write_videos

from mmssl_video.checkpoints.conversion import convert_weights, to_layout
from mmssl_video.errors import UserError


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('initial') / 'videos', 8)


def config(videos, work_dir, name, **model):
    cfg = tiny_config(videos, work_dir, name, epochs=1, momentum=0.9, **model)
    cfg.custom_hooks.append(dict(type='InitialWeightsHook'))
    return cfg


@pytest.fixture(scope='module')
def checkpoint(videos, tmp_path_factory):
    cfg = config(videos, tmp_path_factory.mktemp('before'), 'initial before')
    Runner.from_cfg(cfg).train()
    return f'{cfg.work_dir}/epoch_1.pth'


def start(cfg, path):
    """The model of a new run, before its first step, and the other weights that it had."""
    cfg.load_from = str(path)
    runner = Runner.from_cfg(cfg)
    runner.train_loop  # noqa: B018  builds it
    runner._init_model_weights()
    random = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.load_or_resume()
    return runner.model, random


def test_heads_are_taken_and_queues_are_not(videos, checkpoint, tmp_path):
    model, random = start(config(videos, tmp_path, 'initial same'), checkpoint)
    given = torch.load(checkpoint, weights_only=False)['state_dict']
    assert given['heads.inter.queue.num_filled'] == 8
    for key, value in model.state_dict().items():
        expected = random if '.queue.' in key else given
        assert torch.equal(value, expected[key]), key
    assert int(model.heads['inter'].queue.num_filled) == 0


def test_a_head_that_does_not_fit_starts_anew(videos, checkpoint, tmp_path):
    cfg = config(videos, tmp_path, 'initial head')
    cfg.model.heads.video.projector.hidden_channels = 20
    model, random = start(cfg, checkpoint)
    given = torch.load(checkpoint, weights_only=False)['state_dict']
    for key, value in model.state_dict().items():
        expected = random if 'heads.video' in key or '.queue.' in key else given
        assert torch.equal(value, expected[key]), key


def test_the_target_network_starts_from_a_backbone_alone(videos, checkpoint, tmp_path):
    given = torch.load(checkpoint, weights_only=False)['state_dict']
    backbone = {key: value for key, value in given.items() if key.startswith('backbone.')}
    torch.save(dict(state_dict=backbone), tmp_path / 'backbone.pth')
    model, _ = start(config(videos, tmp_path, 'initial backbone'), tmp_path / 'backbone.pth')
    for key, value in backbone.items():
        assert torch.equal(model.state_dict()[key], value), key
        copy = key.replace('backbone.', 'target_backbone.module.', 1)
        assert torch.equal(model.state_dict()[copy], value), key


def test_a_moco_v2_checkpoint_initialises_every_head(videos, tmp_path):
    """From the names of MoCo v2 to the model: all projectors and the copies that follow them."""
    cfg = config(videos, tmp_path, 'initial moco')
    cfg.model.backbone = dict(type='mmaction.ResNet', depth=18, pretrained=None)
    for head in cfg.model.heads.values():
        head.projector.in_channels = 512
    source = MODELS.build(cfg.model.backbone).state_dict()
    moco = to_layout(source, 'mocov2')
    mlp = {
        f'{layer}.{key}': torch.randn(shape)
        for layer, shapes in ((0, ((16, 512), (16,))), (2, ((6, 16), (6,))))
        for key, shape in zip(('weight', 'bias'), shapes, strict=True)
    }
    for key, value in mlp.items():
        moco['state_dict'] |= {f'module.encoder_{one}.fc.{key}': value for one in 'qk'}
    path = tmp_path / 'mocov2_r18.pth'
    torch.save(dict(state_dict=convert_weights(moco)), path)

    model, random = start(cfg, path)
    state = model.state_dict()
    for key, value in source.items():
        for branch in ('backbone', 'target_backbone.module'):
            assert torch.equal(state[f'{branch}.{key}'], value), key
    for name in model.heads:
        for key, value in mlp.items():
            for part in ('projector', 'target_projector.module'):
                assert torch.equal(state[f'heads.{name}.{part}.layers.{key}'], value), (name, part)
    for key in ('heads.order.classifier.weight', 'heads.order.classifier.bias'):
        assert torch.equal(state[key], random[key])
    (log,) = tmp_path.glob('*/*.log')
    assert (
        'heads.inter.projector, heads.intra.projector, heads.video.projector, '
        'heads.order.projector; copied from the online network: target_backbone, '
        'heads.inter.target_projector, heads.intra.target_projector, heads.video.target_projector, '
        'heads.order.target_projector; newly initialised: heads.order.classifier; queues'
    ) in log.read_text()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('3D', r'backbone does not fit the TinyBackbone of the config.* of another shape'),
        ('unconverted', r'no tensor .*backbone|backbone'),
    ],
)
def test_what_does_not_fit_is_refused(videos, checkpoint, tmp_path, change, message):
    cfg = config(videos, tmp_path, f'initial {change}')
    if change == '3D':
        cfg.model.backbone.ndim = 3
        cfg.model.data_preprocessor.format_shape = 'NCTHW'
        path = checkpoint
    else:
        path = tmp_path / 'moco.pth'
        torch.save({'module.encoder_q.conv1.weight': torch.ones(2)}, path)
    with pytest.raises(UserError, match=message) as error:
        start(cfg, path)
    assert str(path) in str(error.value) and 'tools/convert_weights.py' in str(error.value)
