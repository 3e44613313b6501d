"""export_backbone.py and convert_weights.py: what the files hold, and the recognizers they fit."""

import shlex
from argparse import ArgumentParser

import pytest
import torch
from mmaction.models import VisionTransformer
from mmaction.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from tiny_vclr import build_tiny, tiny_config, write_videos

RESNET = dict(type='ResNet', depth=18, pretrained=None, norm_eval=False)
SLOW = dict(type='ResNet3dSlowOnly', depth=18, base_channels=4, pretrained=None, lateral=False)


@pytest.fixture
def export(tool_runner):
    """``export(source, out, *options)`` -> what it prints."""

    def run(*arguments):
        status, said = tool_runner('export_backbone')(*arguments)
        assert status == 0, said.err
        return said.out

    return run


def load(path):
    return torch.load(path, weights_only=True)


def recognizer(backbone, in_channels):
    """TSN or TSM on a 2D backbone, SlowOnly on a 3D one, as MMAction2 builds them."""
    is_3d = '3d' in backbone['type']
    head = dict(type='I3DHead' if is_3d else 'TSNHead', num_classes=4, in_channels=in_channels)
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


def test_branches_of_a_trained_checkpoint(tmp_path, export, capsys):
    """Of two steps of VCLR, as the Runner leaves them."""
    cfg = tiny_config(write_videos(tmp_path / 'videos', 8), tmp_path, 'export', epochs=1)
    Runner.from_cfg(cfg).train()
    trained = tmp_path / 'epoch_1.pth'
    state = torch.load(trained, weights_only=False)['state_dict']
    capsys.readouterr()
    exported = {}
    for branch, prefix in (('online', 'backbone.'), ('target', 'target_backbone.module.')):
        out = tmp_path / f'{branch}.pth'
        said = export(trained, out, '--branch', branch)
        assert said == f'{out}: 4 tensors of the {branch} backbone\n'
        exported[branch] = load(out)['state_dict']
        wanted = {
            f'backbone.{key.removeprefix(prefix)}': value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        assert_same(exported[branch], wanted)
        meta = load(out)['meta']
        assert meta.pop('experiment_name').startswith('export_')
        assert meta == {'source': str(trained), 'branch': branch, 'epoch': 1, 'iter': 2}
    first = 'backbone.layers.0.weight'
    assert not torch.equal(exported['online'][first], exported['target'][first])


def test_into_tsn(resnet, tmp_path, export):
    """By `load_from`, by `init_cfg`, and in torchvision's names by `pretrained`."""
    out, torchvision = tmp_path / 'backbone.pth', tmp_path / 'torchvision.pth'
    export(resnet, out)
    export(resnet, torchvision, '--format=torchvision')
    state = load(out)['state_dict']
    wanted = {key.removeprefix('backbone.'): value for key, value in state.items()}
    tsn = recognizer(RESNET, 512)
    missing, unexpected = tsn.load_state_dict(state, strict=False)
    assert missing == ['cls_head.fc_cls.weight', 'cls_head.fc_cls.bias'] and unexpected == []
    assert_same(tsn.backbone.state_dict(), wanted)

    init_cfg = dict(type='Pretrained', checkpoint=str(out), prefix='backbone.')
    tsn = recognizer({**RESNET, 'init_cfg': init_cfg}, 512)
    tsn.init_weights()
    assert_same(tsn.backbone.state_dict(), wanted)

    names = load(torchvision)
    assert len(names) == 120
    assert names.keys() > {'conv1.weight', 'bn1.running_var', 'layer2.0.downsample.0.weight'}
    wanted = {k: v for k, v in wanted.items() if not k.endswith('num_batches_tracked')}
    for backbone in (RESNET, dict(type='ResNetTSM', depth=18, num_segments=8)):
        model = recognizer({**backbone, 'pretrained': str(torchvision)}, 512)
        model.init_weights()
        got = {key.replace('.net.', '.'): v for key, v in model.backbone.state_dict().items()}
        assert_same({key: got[key] for key in got if key in wanted}, wanted)


def test_convert_back_and_forth(resnet, tmp_path, export, tool_runner):
    """export_backbone.py --format mocov2, and convert_weights.py of the result and of an MLP."""
    convert = tool_runner('convert_weights')
    moco, ours, online = (tmp_path / name for name in ('moco.pth', 'new/ours.pth', 'online.pth'))
    export(resnet, online)
    export(resnet, moco, '--format', 'mocov2')
    status, said = convert(moco, ours)
    assert status == 0 and '120 tensors for the backbone and no head' in said.out
    assert_same(load(ours)['state_dict'], load(online)['state_dict'])

    state = load(moco)['state_dict']
    del state['module.encoder_q.bn1.bias']
    state['module.encoder_q.se.weight'] = torch.zeros(1)
    for layer in ('0.weight', '0.bias', '2.weight', '2.bias'):
        state[f'module.encoder_q.fc.{layer}'] = torch.randn(3)
    torch.save({'state_dict': state}, moco)
    options = ['--heads', 'inter', 'mine', '--allow-unknown']
    status, said = convert(moco, ours, *options)
    assert status == 2 and 'are missing: encoder_q.bn1.bias; use' in said.err
    status, said = convert(moco, ours, *options, '--allow-missing')
    assert status == 0 and said.err.splitlines() == [
        'warning: 1 keys of this mocov2 checkpoint are unknown: encoder_q.se.weight',
        'warning: 1 keys of this mocov2 checkpoint are missing: encoder_q.bn1.bias',
    ]
    assert "127 tensors for the backbone and ['heads.inter.projector', 'heads.mine" in said.out
    found = load(ours)['state_dict']
    for head in ('inter', 'mine'):
        wanted = state['module.encoder_q.fc.2.bias']
        assert torch.equal(found[f'heads.{head}.projector.layers.2.bias'], wanted)


def test_slowonly_there_and_back(tmp_path, export, tool_runner):
    """With a note on SlowFast's pixels, 0.45 and 0.225 of 255, as options that a config takes."""
    model = build_tiny(heads=('video',), backbone=SLOW, format_shape='NCTHW')
    source, ours, theirs, back = (tmp_path / name for name in ('a.pth', 'b.pth', 'c.pyth', 'd.pth'))
    torch.save({'state_dict': model.state_dict()}, source)
    export(source, ours)
    assert set(load(ours)['meta']) == {'source', 'branch'}
    missing, unexpected = recognizer(SLOW, 32).load_state_dict(
        load(ours)['state_dict'], strict=False
    )
    assert unexpected == [] and all(key.startswith('cls_head.') for key in missing)

    assert 'note' not in export(source, theirs, '--format', 'slowfast')
    status, said = tool_runner('convert_weights')(theirs, back)
    assert status == 0
    wanted = {f'backbone.{key}': value for key, value in model.backbone.state_dict().items()}
    assert_same(load(ours)['state_dict'], wanted)
    assert_same(load(back)['state_dict'], wanted)
    note = said.out.splitlines()[1]
    assert note.startswith('note: ')
    cfg = Config(dict(model=dict(data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3))))
    parser = ArgumentParser()
    parser.add_argument('options', nargs='+', action=DictAction)
    options = shlex.split(note.split('--cfg-options ')[1])
    cfg.merge_from_dict(parser.parse_args(options).options)
    assert cfg.model.data_preprocessor.mean == [0.45 * 255] * 3
    assert cfg.model.data_preprocessor.std == [0.225 * 255] * 3


def test_a_fine_tuned_vision_transformer_there_and_back(tmp_path, export, tool_runner):
    """By Hugging Face's names: backbone and classifier, without the fixed positions."""
    settings = dict(img_size=16, patch_size=8, num_frames=2, embed_dims=12, depth=1, num_heads=3)
    backbone = VisionTransformer(**settings).state_dict()
    ours = {f'backbone.{key}': value for key, value in backbone.items()}
    ours |= {'cls_head.fc_cls.weight': torch.randn(4, 12), 'cls_head.fc_cls.bias': torch.randn(4)}
    torch.save(dict(state_dict=ours), tmp_path / 'ours.pth')
    theirs, back = tmp_path / 'pytorch_model.bin', tmp_path / 'back.pth'
    export(tmp_path / 'ours.pth', theirs, '--format', 'huggingface')
    assert 'classifier.weight' in load(theirs)
    status, said = tool_runner('convert_weights')(theirs, back)
    assert status == 0
    assert f"{back}: 19 tensors for the backbone and ['cls_head']" in said.out
    del ours['backbone.pos_embed']
    assert_same(load(back)['state_dict'], ours)


class NotATensor:
    """Something that only a trusted file may hold."""


FILES = {
    'slow': {'backbone.conv1.conv.weight': torch.zeros(1, 3, 1, 7, 7)},
    'c3d': {'backbone.conv1a.conv.weight': torch.zeros(1, 1, 3, 3)},
    'online': {'backbone.a': torch.zeros(1), 'heads.b.c': torch.zeros(1)},
    'unknown': {'weight': torch.zeros(1)},
    'object': {'conv1.weight': NotATensor()},
}


@pytest.mark.parametrize(
    ('command', 'words'),
    [
        ('export_backbone none --branch=online', 'none: no such checkpoint file'),
        ('export_backbone slow --format=torchvision', 'torchvision has names for 2D ResNets only'),
        ('export_backbone c3d --format=torchvision', 'has conv1a.conv.weight; choose another'),
        ('export_backbone online --branch=target', 'has no target_backbone.module.… (found back'),
        ('convert_weights none', 'none: no such checkpoint file'),
        ('convert_weights unknown', 'has neither a ResNet of torchvision, MoCo v2, VCLR or'),
        ('convert_weights object', 'which could run code on loading'),
    ],
)
def test_errors(tmp_path, tool_runner, command, words):
    tool, source, *options = command.split()
    if source in FILES:
        torch.save({'state_dict': FILES[source]}, tmp_path / source)
    status, said = tool_runner(tool)(tmp_path / source, tmp_path / 'out.pth', *options)
    assert status == 2
    assert f'{tmp_path / source}' in said.err and words in said.err
    assert said.err.count('\n') == 1
    assert not (tmp_path / 'out.pth').exists()
