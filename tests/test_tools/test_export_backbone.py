"""A trained checkpoint, its backbone in a file of its own, and the recognizers that load it."""

import shlex
import sys
from argparse import ArgumentParser

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.runner import Runner, load_checkpoint
from tiny_vclr import build_tiny, load_tool, tiny_config, write_videos

RESNET = dict(type='ResNet', depth=18, pretrained=None, norm_eval=False)
SLOW = dict(type='ResNet3dSlowOnly', depth=18, base_channels=4, pretrained=None, lateral=False)


def call(monkeypatch, tool, *args):
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, args)])
    try:
        load_tool(tool).main()
    except SystemExit as end:
        return end.code
    return 0


def load(path):
    return torch.load(path, weights_only=True)


def recognizer(backbone, in_channels, **kwargs):
    """TSN or TSM on a 2D backbone, SlowOnly on a 3D one, as MMAction2 builds them."""
    is_3d = '3d' in backbone['type']
    head = dict(
        type='I3DHead' if is_3d else 'TSNHead', num_classes=4, in_channels=in_channels, **kwargs
    )
    return MODELS.build(dict(type=f'Recognizer{2 + is_3d}D', backbone=backbone, cls_head=head))


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope='module')
def resnet(tmp_path_factory):
    """Checkpoint of a recognizer of pretraining with a ResNet-18."""
    path = tmp_path_factory.mktemp('export') / 'epoch_1.pth'
    torch.save({'state_dict': build_tiny(heads=('video',), backbone=RESNET).state_dict()}, path)
    return path


def test_branches_of_a_trained_checkpoint(tmp_path, monkeypatch, capsys):
    """Of two steps of VCLR, as the Runner leaves them."""
    cfg = tiny_config(write_videos(tmp_path / 'videos', 8), tmp_path, 'export', epochs=1)
    Runner.from_cfg(cfg).train()
    trained = tmp_path / 'epoch_1.pth'
    state = torch.load(trained, weights_only=False)['state_dict']
    capsys.readouterr()
    for branch, prefix in (('online', 'backbone.'), ('target', 'target_backbone.module.')):
        out = tmp_path / f'{branch}.pth'
        assert call(monkeypatch, 'export_backbone', trained, out, '--branch', branch) == 0
        assert capsys.readouterr().out == f'{out}: 4 tensors of the {branch} backbone\n'
        exported = load(out)
        wanted = {
            f'backbone.{key.removeprefix(prefix)}': value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        assert_same(exported['state_dict'], wanted)
        meta = exported['meta']
        assert meta.pop('experiment_name').startswith('export_')
        assert meta == {'source': str(trained), 'branch': branch, 'epoch': 1, 'iter': 2}
    online, target = (load(tmp_path / f'{name}.pth')['state_dict'] for name in ('online', 'target'))
    assert not torch.equal(online['backbone.layers.0.weight'], target['backbone.layers.0.weight'])


def test_into_tsn(resnet, tmp_path, monkeypatch):
    """By `load_from`, by `init_cfg`, and in torchvision's names by `pretrained`."""
    out, torchvision = tmp_path / 'backbone.pth', tmp_path / 'torchvision.pth'
    assert call(monkeypatch, 'export_backbone', resnet, out) == 0
    assert call(monkeypatch, 'export_backbone', resnet, torchvision, '--format=torchvision') == 0
    wanted = {
        key.removeprefix('backbone.'): value for key, value in load(out)['state_dict'].items()
    }

    tsn = recognizer(RESNET, 512)
    missing, unexpected = tsn.load_state_dict(load(out)['state_dict'], strict=False)
    assert unexpected == []
    assert missing == ['cls_head.fc_cls.weight', 'cls_head.fc_cls.bias']
    tsn = recognizer(RESNET, 512)
    load_checkpoint(tsn, str(out), map_location='cpu')  # what load_from does
    assert_same(tsn.backbone.state_dict(), wanted)

    init_cfg = dict(type='Pretrained', checkpoint=str(out), prefix='backbone.')
    tsn = recognizer({**RESNET, 'init_cfg': init_cfg}, 512)
    tsn.init_weights()
    assert_same(tsn.backbone.state_dict(), wanted)

    names = load(torchvision)
    assert len(names) == 120
    for key in ('conv1.weight', 'bn1.running_var', 'layer2.0.downsample.0.weight'):
        assert key in names
    for backbone in (RESNET, dict(type='ResNetTSM', depth=18, num_segments=8)):
        model = recognizer({**backbone, 'pretrained': str(torchvision)}, 512)
        model.init_weights()
        got = {key.replace('.net.', '.'): v for key, v in model.backbone.state_dict().items()}
        counters = {key for key in wanted if key.endswith('num_batches_tracked')}
        assert_same(
            {key: value for key, value in got.items() if key not in counters},
            {key: value for key, value in wanted.items() if key not in counters},
        )


def test_into_slowonly(tmp_path, monkeypatch):
    model = build_tiny(heads=('video',), backbone=SLOW, format_shape='NCTHW')
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'epoch_1.pth')
    out = tmp_path / 'backbone.pth'
    assert call(monkeypatch, 'export_backbone', tmp_path / 'epoch_1.pth', out) == 0
    assert set(load(out)['meta']) == {'source', 'branch'}
    slow = recognizer(SLOW, 32)
    load_checkpoint(slow, str(out), map_location='cpu')
    assert_same(slow.backbone.state_dict(), model.backbone.state_dict())
    missing, unexpected = slow.load_state_dict(load(out)['state_dict'], strict=False)
    assert unexpected == []
    assert all(key.startswith('cls_head.') for key in missing)


def test_tsm(tmp_path, monkeypatch):
    """A fine-tuned TSM becomes the plain ResNet, in either format."""
    tsm = recognizer(
        dict(type='ResNetTSM', depth=18, num_segments=8, pretrained=None, pretrained2d=False), 512
    )
    torch.save({'state_dict': tsm.state_dict()}, tmp_path / 'tsm.pth')
    plain = {k.replace('.net.', '.'): v for k, v in tsm.backbone.state_dict().items()}
    out = tmp_path / 'out.pth'
    assert call(monkeypatch, 'export_backbone', tmp_path / 'tsm.pth', out) == 0
    assert_same(load(out)['state_dict'], {f'backbone.{key}': value for key, value in plain.items()})
    tsn = recognizer(RESNET, 512)
    assert set(tsn.load_state_dict(load(out)['state_dict'], strict=False).missing_keys) == {
        'cls_head.fc_cls.weight',
        'cls_head.fc_cls.bias',
    }
    assert (
        call(monkeypatch, 'export_backbone', tmp_path / 'tsm.pth', out, '--format=torchvision') == 0
    )
    assert torch.equal(load(out)['layer1.0.conv1.weight'], plain['layer1.0.conv1.conv.weight'])


def test_convert_back_and_forth(resnet, tmp_path, monkeypatch, capsys):
    """export_backbone.py --format mocov2, and convert_weights.py of the result."""
    moco, ours = tmp_path / 'moco.pth', tmp_path / 'ours.pth'
    assert call(monkeypatch, 'export_backbone', resnet, moco, '--format', 'mocov2') == 0
    assert call(monkeypatch, 'convert_weights', moco, ours) == 0
    assert '120 tensors for the backbone and no head' in capsys.readouterr().out
    assert call(monkeypatch, 'export_backbone', resnet, tmp_path / 'online.pth') == 0
    assert_same(load(ours)['state_dict'], load(tmp_path / 'online.pth')['state_dict'])

    state = load(moco)['state_dict']
    del state['module.encoder_q.bn1.bias']
    state['module.encoder_q.se.weight'] = torch.zeros(1)
    torch.save({'state_dict': state}, moco)
    capsys.readouterr()
    assert call(monkeypatch, 'convert_weights', moco, ours, '--allow-unknown') == 2
    assert 'are missing: encoder_q.bn1.bias; use' in capsys.readouterr().err
    both = ('--allow-unknown', '--allow-missing')
    assert call(monkeypatch, 'convert_weights', moco, ours, *both) == 0
    warned = capsys.readouterr().err.splitlines()
    assert warned == [
        'warning: 1 keys of this mocov2 checkpoint are unknown: encoder_q.se.weight',
        'warning: 1 keys of this mocov2 checkpoint are missing: encoder_q.bn1.bias',
    ]
    assert len(load(ours)['state_dict']) == 119


def test_slowfast_comes_with_a_note_on_its_pixels(tmp_path, monkeypatch, capsys):
    """0.45 and 0.225 of 255, as options that a config takes."""
    model = build_tiny(heads=('video',), backbone=SLOW, format_shape='NCTHW')
    ours, theirs, back = (tmp_path / name for name in ('a.pth', 'b.pyth', 'c.pth'))
    torch.save({'state_dict': model.state_dict()}, ours)
    assert call(monkeypatch, 'export_backbone', ours, theirs, '--format', 'slowfast') == 0
    assert 'note' not in capsys.readouterr().out
    assert call(monkeypatch, 'convert_weights', theirs, back) == 0
    assert_same(
        load(back)['state_dict'],
        {k: v for k, v in model.state_dict().items() if k.startswith('backbone.')},
    )
    note = capsys.readouterr().out.splitlines()[1]
    assert note.startswith('note: ')
    options = shlex.split(note.split('--cfg-options ')[1])
    cfg = Config(dict(model=dict(data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3))))
    parser = ArgumentParser()
    parser.add_argument('options', nargs='+', action=DictAction)
    cfg.merge_from_dict(parser.parse_args(options).options)
    assert cfg.model.data_preprocessor.mean == [0.45 * 255] * 3
    assert cfg.model.data_preprocessor.std == [0.225 * 255] * 3


def test_errors(tmp_path, monkeypatch, capsys):
    slow = build_tiny(heads=('intra',), backbone=SLOW, format_shape='NCTHW')
    torch.save({'state_dict': slow.state_dict()}, tmp_path / 'slow.pth')
    torch.save(
        {'state_dict': {'backbone.conv1a.conv.weight': torch.zeros(1, 1, 3, 3)}}, tmp_path / 'c.pth'
    )
    torch.save(
        {'state_dict': {'backbone.a': torch.zeros(1), 'heads.b.c': torch.zeros(1)}},
        tmp_path / 'a.pth',
    )
    for name, option, words in (
        ('none.pth', '--branch=online', 'none.pth: no such checkpoint file'),
        ('slow.pth', '--format=torchvision', 'slow.pth: torchvision has names for 2D ResNets only'),
        ('c.pth', '--format=torchvision', 'this backbone has conv1a.conv.weight; choose another'),
        (
            'a.pth',
            '--branch=target',
            'a.pth: has no target_backbone.module.… (found backbone, ',
        ),
    ):
        args = (tmp_path / name, tmp_path / 'out.pth', option)
        assert call(monkeypatch, 'export_backbone', *args) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count('\n') == 1
    assert not (tmp_path / 'out.pth').exists()
