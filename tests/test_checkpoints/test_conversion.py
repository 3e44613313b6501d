"""Weights of other projects, made on the spot, converted by name and back.

The sources are networks of our own with torchvision's or SlowFast's names inside, so that a
converted backbone can be compared with what it came from not only key by key but image by image.
"""

import re

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from tiny_vclr import build_tiny, tiny_model
from torch import nn

from mmssl_video.checkpoints.conversion import convert_weights, detect_format, to_layout
from mmssl_video.checkpoints.fitting import fit_tensors, plain_name, select_backbone
from mmssl_video.errors import UserError

HEADS = ('inter', 'intra', 'video', 'order')
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
EXPANSION = {18: 1, 50: 4}
EMBEDDING = 8


class Block(nn.Module):
    """A residual block: two 3x3 convolutions (R18), or 1x1, 3x3, 1x1 (R50)."""

    def __init__(self, inputs, width, stride, depth):
        super().__init__()
        outputs = width * EXPANSION[depth]
        if depth == 18:
            shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        else:  # the stride is in the 3x3, as in torchvision
            shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        self.num_convs = len(shapes)
        for number, (channels_in, channels_out, kernel, step) in enumerate(shapes, 1):
            conv = nn.Conv2d(channels_in, channels_out, kernel, step, kernel // 2, bias=False)
            self.add_module(f'conv{number}', conv)
            self.add_module(f'bn{number}', nn.BatchNorm2d(channels_out))
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = x
        for number in range(1, self.num_convs + 1):
            out = getattr(self, f'bn{number}')(getattr(self, f'conv{number}')(out))
            if number < self.num_convs:
                out = F.relu(out)
        return F.relu(out + (self.downsample(x) if hasattr(self, 'downsample') else x))


class SourceResNet(nn.Module):
    """A ResNet with torchvision's parameter names."""

    def __init__(self, depth):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, num_blocks in enumerate(BLOCKS[depth]):
            width = 64 * 2**stage
            blocks = []
            for index in range(num_blocks):
                stride = 2 if stage and not index else 1
                blocks.append(Block(channels, width, stride, depth))
                channels = width * EXPANSION[depth]
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
        self.channels = channels
        self.depth = depth

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def with_own_statistics(network):
    """The network in eval mode, with normalisation statistics and scales that are all its own."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(int(torch.randint(1, 1000, ())))
    return network.eval()


@pytest.fixture(scope='module', params=[18, 50])
def source(request):
    torch.manual_seed(request.param)
    return with_own_statistics(SourceResNet(request.param))


def mlp(channels, name, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        '0.weight': (channels, channels),
        '0.bias': (channels,),
        '2.weight': (EMBEDDING, channels),
        '2.bias': (EMBEDDING,),
    }
    return {
        f'{name}.{key}': torch.randn(*shape, generator=generator) * 0.05
        for key, shape in shapes.items()
    }


def recognizer(source):
    projector = dict(
        type='ProjectionMLP',
        in_channels=source.channels,
        hidden_channels=source.channels,
        out_channels=EMBEDDING,
    )
    cfg = tiny_model(backbone=dict(type='ResNet', depth=source.depth, pretrained=None))
    for head in cfg['heads'].values():
        head['projector'] = projector
    torch.manual_seed(99)
    return MODELS.build(cfg)


def torchvision_checkpoint(source):
    return source.state_dict() | {
        'fc.weight': torch.zeros(10, source.channels),
        'fc.bias': torch.zeros(10),
    }


def moco_checkpoint(source):
    """As the authors' training script saves it: DDP's prefix, both encoders, the queue."""
    state = source.state_dict() | mlp(source.channels, 'fc', 1)
    target = {key: torch.zeros_like(value) for key, value in state.items()}
    state = {f'module.encoder_q.{key}': value for key, value in state.items()}
    state |= {f'module.encoder_k.{key}': value for key, value in target.items()}
    state |= {'module.queue': torch.zeros(128, 16), 'module.queue_ptr': torch.zeros(1)}
    return {'epoch': 200, 'arch': 'resnet50', 'state_dict': state, 'optimizer': {}}


def vclr_checkpoint(source):
    state = source.state_dict()
    for seed, name in enumerate(('fc_inter', 'fc_intra', 'fc_tsn', 'fc_order')):
        state |= mlp(source.channels, name, seed)
    generator = torch.Generator().manual_seed(9)
    state['fc_order_classifier.weight'] = torch.randn(4, 6 * EMBEDDING, generator=generator)
    state['fc_order_classifier.bias'] = torch.randn(4, generator=generator)
    return {'epoch': 400, 'model': {f'module.{key}': value for key, value in state.items()}}


CHECKPOINTS = [torchvision_checkpoint, moco_checkpoint, vclr_checkpoint]


@pytest.mark.parametrize('make', CHECKPOINTS)
def test_backbone_of_every_format(source, make):
    """Every key is hit, and the network computes what its source does, to the last bit of rtol."""
    converted = convert_weights(make(source))
    model = recognizer(source)
    wanted = model.backbone.state_dict()
    got = {
        key.removeprefix('backbone.'): value
        for key, value in converted.items()
        if key.startswith('backbone.')
    }
    assert got.keys() == wanted.keys()
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert unexpected == []
    assert not any(key.startswith(('backbone.', 'target_backbone.')) for key in missing)

    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad():
        expected = source(images)
        assert expected.std() > 0.01
        for backbone in (model.backbone, model.target_backbone):
            torch.testing.assert_close(backbone(images), expected, rtol=1e-5, atol=1e-5)


def test_values_are_those_of_the_names(source):
    state = source.state_dict()
    converted = convert_weights(torchvision_checkpoint(source))
    assert len(converted) == len(state)  # all but the classifier
    names = {
        'conv1.weight': 'backbone.conv1.conv.weight',
        'bn1.running_var': 'backbone.conv1.bn.running_var',
        'layer1.0.bn2.bias': 'backbone.layer1.0.conv2.bn.bias',
        'layer3.1.conv2.weight': 'backbone.layer3.1.conv2.conv.weight',
        'layer2.0.downsample.0.weight': 'backbone.layer2.0.downsample.conv.weight',
        'layer4.0.downsample.1.num_batches_tracked': (
            'backbone.layer4.0.downsample.bn.num_batches_tracked'
        ),
    }
    for old, new in names.items():
        assert torch.equal(converted[new], state[old]), old


def test_the_order_of_keys_does_not_matter(source):
    checkpoint = torchvision_checkpoint(source)
    backwards = dict(reversed(list(checkpoint.items())))
    one, other = convert_weights(checkpoint), convert_weights(backwards)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_moco_mlp_initialises_every_head():
    source = SourceResNet(18)
    model = recognizer(source)
    model.load_state_dict(convert_weights(moco_checkpoint(source)), strict=False)
    expected = mlp(source.channels, 'fc', 1)
    for head in model.heads.values():
        for projector in (head.projector, head.target_projector.module):
            for key, value in projector.layers.state_dict().items():
                assert torch.equal(value, expected[f'fc.{key}'])


def test_moco_heads_may_be_chosen():
    checkpoint = moco_checkpoint(SourceResNet(18))
    for heads in ((), ('video',), ('mine', 'yours')):
        keys = convert_weights(checkpoint, heads)
        assert {key.split('.')[1] for key in keys if key.startswith('heads.')} == set(heads)


def test_vclr_heads_go_to_their_objectives():
    source = SourceResNet(18)
    model = recognizer(source)
    converted = convert_weights(vclr_checkpoint(source))
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert unexpected == []
    assert all('queue' in key for key in missing), missing
    for seed, name in enumerate(('inter', 'intra', 'video', 'order')):
        expected = mlp(source.channels, 'fc', seed)
        for projector in (model.heads[name].projector, model.heads[name].target_projector.module):
            for key, value in projector.layers.state_dict().items():
                assert torch.equal(value, expected[f'fc.{key}'])
    order = vclr_checkpoint(source)['model']
    for key, value in model.heads.order.classifier.state_dict().items():
        assert torch.equal(value, order[f'module.fc_order_classifier.{key}'])


@pytest.mark.parametrize(
    ('make', 'name'),
    [
        (torchvision_checkpoint, 'torchvision'),
        (moco_checkpoint, 'mocov2'),
        (vclr_checkpoint, 'vclr'),
    ],
)
def test_formats_are_told_apart(make, name):
    checkpoint = make(SourceResNet(18))
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    assert detect_format({key.removeprefix('module.'): value for key, value in state.items()}) == (
        name
    )


@pytest.mark.parametrize('make', CHECKPOINTS)
@pytest.mark.parametrize('key', ['layer1.0.se.weight', 'conv1.bias.extra', 'fc_other.0.weight'])
def test_unknown_key_is_named(make, key):
    checkpoint = make(SourceResNet(18))
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    state[key] = torch.zeros(1)
    with pytest.raises(UserError) as error:
        convert_weights(checkpoint)
    message = str(error.value)
    assert message.startswith('1 keys of this ')
    assert f'unknown: {key}; use' in message
    assert '\n' not in message
    with pytest.warns(UserWarning, match=f'unknown: {re.escape(key)}$'):
        converted = convert_weights(checkpoint, allow_unknown=True)
    del state[key]
    assert converted.keys() == convert_weights(checkpoint).keys()


@pytest.mark.parametrize(
    ('make', 'keys'),
    [
        (torchvision_checkpoint, ['head.weight', 'iter', 'memory.x', 'queue', 'encoder_k.fc.bias']),
        (moco_checkpoint, ['head.weight', 'iter', 'memory.x', 'encoder_q.queue']),
        (vclr_checkpoint, ['head.weight', 'iter', 'memory.x', 'queue']),
    ],
)
def test_what_another_format_holds_is_unknown(make, keys):
    """Each format has classifiers, queues and target networks of its own."""
    checkpoint = make(SourceResNet(18))
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    for key in keys:
        state[key] = torch.zeros(1)
        with pytest.raises(UserError, match=f'^1 keys .* unknown: {re.escape(key)}; use'):
            convert_weights(checkpoint)
        del state[key]


@pytest.mark.parametrize(
    'state',
    [
        {},
        {'stem.weight': torch.zeros(1), 'head.weight': torch.zeros(1)},
        {'backbone.conv1.conv.weight': torch.zeros(1)},  # MMAction2's, nothing to convert
        {'stem.0.weight': torch.zeros(1), 'layer1.0.conv1.0.weight': torch.zeros(1)},  # r3d_18
        {'s1.pathway0_stem': torch.zeros(1), 'conv1.conv.weight': torch.zeros(1)},
        {'state_dict': {'visual.conv1.weight': torch.zeros(1)}},
    ],
)
def test_unknown_format_is_an_error(state):
    with pytest.raises(UserError, match='^has neither a ResNet of torchvision, MoCo') as error:
        convert_weights(state)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('make', CHECKPOINTS)
def test_every_missing_key_is_named(make):
    """Whatever is taken out of a complete file, that key and no other is missed."""
    checkpoint = make(SourceResNet(18))
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    prefix = 'encoder_q.' if make is moco_checkpoint else ''
    for key in list(state):
        name = key.removeprefix('module.')
        if not name.startswith(prefix) or (make is torchvision_checkpoint and name[:3] == 'fc.'):
            continue
        value = state.pop(key)
        if name.endswith('num_batches_tracked'):  # of files from before torch 0.4.1
            convert_weights(checkpoint)
        else:
            with pytest.raises(UserError) as error:
                convert_weights(checkpoint)
            assert f'checkpoint are missing: {name}; use' in str(error.value)
        state[key] = value
    convert_weights(checkpoint)


def test_a_missing_block(source):
    """An R50 without its last block is not taken for another network."""
    lost = [key for key in source.state_dict() if key.startswith(('layer3.1', 'layer4.1'))]
    state = {key: value for key, value in source.state_dict().items() if key not in lost}
    needed = [key for key in lost if not key.endswith('num_batches_tracked')]
    with pytest.raises(UserError, match=f'^{len(needed)} keys of this torchvision .* missing: '):
        convert_weights(state)
    with pytest.warns(UserWarning) as warned:
        converted = convert_weights(state, allow_missing=True)
    assert len(converted) == len(state)
    listed = str(warned[0].message).split(': ')[1].split(', ')
    assert sorted(listed) == sorted(needed)


def test_a_head_that_vclr_was_trained_without():
    source = SourceResNet(18)
    checkpoint = vclr_checkpoint(source)
    checkpoint['model'] = {k: v for k, v in checkpoint['model'].items() if 'fc_order' not in k}
    converted = convert_weights(checkpoint)
    heads = {key.split('.')[1] for key in converted if key.startswith('heads.')}
    assert heads == {'inter', 'intra', 'video'}


# -- Back --------------------------------------------------------------------------------------


def of_backbone(converted):
    return {
        key.removeprefix('backbone.'): value
        for key, value in converted.items()
        if key.startswith('backbone.')
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('layout', ['torchvision', 'mocov2'])
def test_2d_there_and_back(source, layout):
    backbone = of_backbone(convert_weights(source.state_dict()))
    theirs = to_layout(backbone, layout)
    assert_same(of_backbone(convert_weights(theirs)), backbone)
    if layout == 'mocov2':
        prefix = 'module.encoder_q.'
        assert set(theirs) == {'state_dict'}
        assert all(key.startswith(prefix) for key in theirs['state_dict'])
        theirs = {key.removeprefix(prefix): value for key, value in theirs['state_dict'].items()}
    assert_same(theirs, source.state_dict())


@pytest.mark.parametrize(
    ('cfg', 'layout', 'words'),
    [
        (
            dict(type='TinyBackbone'),
            'torchvision',
            'has names for 2D ResNets only.*layers.0.weight',
        ),
        (dict(type='TinyBackbone', ndim=3), 'slowfast', 'has names for 3D ResNets only.*layers.0'),
        (
            dict(
                type='ResNet3dSlowOnly', depth=18, base_channels=2, pretrained=None, lateral=False
            ),
            'torchvision',
            'has names for 2D ResNets only, and this backbone has conv1.conv.weight;',
        ),
        (
            dict(type='ResNet', depth=18, pretrained=None),
            'slowfast',
            'has names for 3D ResNets only, and this backbone has conv1.conv.weight;',
        ),
        (
            dict(
                type='ResNet3d',
                depth=18,
                base_channels=8,
                pretrained=None,
                conv_cfg=dict(type='Conv2plus1d'),
            ),
            'slowfast',
            'keys of this backbone are unknown: .*conv_s.*, …; use',
        ),
    ],
)
def test_what_has_no_names_there(cfg, layout, words):
    backbone = MODELS.build(cfg).state_dict()
    with pytest.raises(UserError, match=words):
        to_layout(backbone, layout)


def test_incomplete_backbone_is_not_given_away():
    backbone = of_backbone(convert_weights(SourceResNet(18).state_dict()))
    del backbone['layer4.1.conv2.bn.running_var']
    with pytest.raises(UserError, match='missing: layer4.1.conv2.bn.running_var; use'):
        to_layout(backbone, 'torchvision')
    with pytest.warns(UserWarning, match='missing: layer4.1.conv2.bn.running_var$'):
        assert len(to_layout(backbone, 'torchvision', allow_missing=True)) == len(backbone)


# -- SlowFast ----------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """SlowFast's branch2: a is Tx1x1, b is 1x3x3 with the stride, c is 1x1x1."""

    def __init__(self, inputs, width, outputs, kernel, stride):
        super().__init__()
        self.a = nn.Conv3d(inputs, width, (kernel, 1, 1), 1, (kernel // 2, 0, 0), bias=False)
        self.a_bn = nn.BatchNorm3d(width)
        self.b = nn.Conv3d(width, width, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.b_bn = nn.BatchNorm3d(width)
        self.c = nn.Conv3d(width, outputs, 1, bias=False)
        self.c_bn = nn.BatchNorm3d(outputs)

    def forward(self, x):
        x = F.relu(self.b_bn(self.b(F.relu(self.a_bn(self.a(x))))))
        return self.c_bn(self.c(x))


class SlowFastBlock(nn.Module):
    def __init__(self, inputs, width, kernel, stride):
        super().__init__()
        outputs = 4 * width
        if inputs != outputs or stride != 1:
            self.branch1 = nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.branch1_bn = nn.BatchNorm3d(outputs)
        self.branch2 = Bottleneck(inputs, width, outputs, kernel, stride)

    def forward(self, x):
        shortcut = self.branch1_bn(self.branch1(x)) if hasattr(self, 'branch1') else x
        return F.relu(shortcut + self.branch2(x))


class SlowFastSource(nn.Module):
    """SlowFast's R50 with its names, of one pathway or two.

    Args:
        width: Channels of the stem of the slow pathway.
        fast: Whether there is a fast pathway, of an eighth of the channels.
    """

    ALPHA = 4  # frames of the fast pathway for one of the slow one

    def __init__(self, width=8, fast=False):
        super().__init__()
        kernels = [[1, 1, 1, 3, 3], [5, 3, 3, 3, 3]]  # of the stem and the four stages
        widths = [width, width // 8] if fast else [width]
        self.num_pathways = len(widths)
        joined = width // 8 * 2 if fast else 0  # what a lateral connection adds
        stages = [nn.Module() for _ in range(5)]
        for pathway, channels in enumerate(widths):
            kernel = kernels[pathway][0]
            stem = nn.Module()
            stem.conv = nn.Conv3d(
                3, channels, (kernel, 7, 7), (1, 2, 2), (kernel // 2, 3, 3), bias=False
            )
            stem.bn = nn.BatchNorm3d(channels)
            stages[0].add_module(f'pathway{pathway}_stem', stem)
            inputs = channels
            for stage, num_blocks in enumerate(BLOCKS[50], 1):
                inner = channels * 2 ** (stage - 1)
                if pathway == 0:
                    inputs += joined if stage == 1 else joined * 2 ** (stage - 2) * 4
                for index in range(num_blocks):
                    stride = 2 if stage > 1 and index == 0 else 1
                    block = SlowFastBlock(inputs, inner, kernels[pathway][stage], stride)
                    stages[stage].add_module(f'pathway{pathway}_res{index}', block)
                    inputs = 4 * inner
        for number, stage in enumerate(stages, 1):
            self.add_module(f's{number}', stage)
            if fast and number < 5:
                channels = widths[1] * (1 if number == 1 else 4 * 2 ** (number - 2))
                fuse = nn.Module()
                fuse.conv_f2s = nn.Conv3d(
                    channels, 2 * channels, (7, 1, 1), (self.ALPHA, 1, 1), (3, 0, 0), bias=False
                )
                fuse.bn = nn.BatchNorm3d(2 * channels)
                self.add_module(f's{number}_fuse', fuse)
        self.head = nn.Module()
        self.head.projection = nn.Linear(8, 4)

    def forward(self, *clips):
        clips = list(clips)
        for number in range(1, 6):
            stage = getattr(self, f's{number}')
            for pathway in range(self.num_pathways):
                x = clips[pathway]
                if number == 1:
                    stem = getattr(stage, f'pathway{pathway}_stem')
                    x = F.relu(stem.bn(stem.conv(x)))
                    clips[pathway] = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
                    continue
                for index in range(BLOCKS[50][number - 2]):
                    x = getattr(stage, f'pathway{pathway}_res{index}')(x)
                clips[pathway] = x
            fuse = getattr(self, f's{number}_fuse', None)
            if fuse is not None:
                lateral = F.relu(fuse.bn(fuse.conv_f2s(clips[1])))
                clips[0] = torch.cat([clips[0], lateral], dim=1)
        return clips


def slow_checkpoint(network):
    """A supervised model of theirs."""
    return {'epoch': 196, 'model_state': network.state_dict(), 'cfg': 'MODEL:\n  ARCH: slow\n'}


def rho_checkpoint(network):
    """A self-supervised one: both encoders, the queue, prototypes, the memory of their kNN."""
    state = network.state_dict()
    target = {f'backbone_hist.{key}': torch.zeros_like(value) for key, value in state.items()}
    state = {f'backbone.{key}': value for key, value in state.items()} | target
    state |= {
        'backbone.head.predictors.0.projection.0.weight': torch.zeros(2, 2),
        'queue_x': torch.zeros(8, 4),
        'ptr': torch.zeros(1),
        'iter': torch.zeros(1),
        'swav_prototypes.weight': torch.zeros(8, 4),
        'knn_mem.memory': torch.zeros(8, 1, 4),
    }
    return {'epoch': 199, 'model_state': state, 'optimizer_state': {}}


@pytest.fixture(scope='module')
def slow():
    torch.manual_seed(0)
    return with_own_statistics(SlowFastSource())


@pytest.mark.parametrize('make', [slow_checkpoint, rho_checkpoint])
def test_slow(slow, make):
    """ResNet3dSlowOnly gives the features that a Slow R50 gives."""
    converted = convert_weights(make(slow))
    assert all(key.startswith('backbone.') for key in converted)
    backbone = MODELS.build(
        dict(type='ResNet3dSlowOnly', depth=50, base_channels=8, pretrained=None, lateral=False)
    )
    backbone.load_state_dict(of_backbone(converted))  # strict
    backbone.eval()
    clips = torch.rand(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (expected,) = slow(clips)
        assert expected.shape == (2, 256, 4, 1, 1)
        assert expected.std() > 0.01
        torch.testing.assert_close(backbone(clips), expected, rtol=1e-5, atol=1e-5)


def test_slowfast():
    """ResNet3dSlowFast with normalised lateral connections gives what theirs gives."""
    torch.manual_seed(1)
    network = with_own_statistics(SlowFastSource(width=16, fast=True))
    converted = convert_weights(slow_checkpoint(network))
    pathway = dict(type='resnet3d', depth=50, pretrained=None, conv1_stride_t=1, pool1_stride_t=1)
    backbone = MODELS.build(
        dict(
            type='ResNet3dSlowFast',
            resample_rate=network.ALPHA,  # every frame for the fast pathway
            speed_ratio=network.ALPHA,
            slow_pathway=dict(
                pathway,
                base_channels=16,
                conv1_kernel=(1, 7, 7),
                inflate=(0, 0, 1, 1),
                lateral=True,
                lateral_norm=True,
                fusion_kernel=7,
            ),
            fast_pathway=dict(pathway, base_channels=2, conv1_kernel=(5, 7, 7), lateral=False),
        )
    )
    backbone.load_state_dict(of_backbone(converted))  # strict
    clips = torch.rand(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(clips[:, :, :: network.ALPHA], clips)
        for got, wanted in zip(backbone.eval()(clips), expected, strict=True):
            assert wanted.std() > 0.01
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    del converted['backbone.slow_path.layer2_lateral.bn.weight']
    with pytest.raises(UserError, match='missing: slow_path.layer2_lateral.bn.weight; use'):
        to_layout(of_backbone(converted), 'slowfast')


@pytest.mark.parametrize('fast', [False, True])
def test_slowfast_there_and_back(fast):
    network = SlowFastSource(width=8, fast=fast)
    backbone = of_backbone(convert_weights(network.state_dict()))
    theirs = to_layout(backbone, 'slowfast')
    state = network.state_dict()
    assert_same(
        theirs['model_state'], {k: v for k, v in state.items() if not k.startswith('head.')}
    )
    assert_same(of_backbone(convert_weights(theirs)), backbone)


def test_errors_of_slowfast(slow):
    state = slow.state_dict()
    state['s3.pathway0_nonlocal1.conv_theta.weight'] = torch.zeros(1)
    with pytest.raises(UserError, match='slowfast .* unknown: s3.pathway0_nonlocal1.conv_theta'):
        convert_weights(state)
    with pytest.raises(UserError, match='slowfast .* unknown: fc.weight, encoder_k.x; use'):
        convert_weights(
            slow.state_dict() | dict.fromkeys(['fc.weight', 'encoder_k.x'], torch.ones(1))
        )
    checkpoint = rho_checkpoint(slow)
    del checkpoint['model_state']['backbone.s4.pathway0_res5.branch2.b_bn.running_mean']
    with pytest.raises(UserError, match='missing: backbone.s4.pathway0_res5.branch2.b_bn.runn'):
        convert_weights(checkpoint)


# -- Out of a checkpoint of ours -------------------------------------------------------------------


def test_select_backbone():
    model = build_tiny()
    with torch.no_grad():
        for parameter in model.target_backbone.parameters():
            parameter.add_(1)
    checkpoint = {'state_dict': {f'module.{k}': v for k, v in model.state_dict().items()}}
    assert_same(select_backbone(checkpoint), model.backbone.state_dict())
    target = model.target_backbone.module.state_dict()
    assert_same(select_backbone(checkpoint, 'target'), target)
    assert not torch.equal(target['layers.0.weight'], model.backbone.layers[0].weight)


def test_branch_that_is_not_there():
    state = {'backbone.a': torch.zeros(1), 'heads.simclr.b': torch.zeros(1)}
    with pytest.raises(
        UserError, match=r'^has no target_backbone.module.… \(found backbone, heads\);'
    ):
        select_backbone({'state_dict': state}, 'target')
    with pytest.raises(UserError, match=r'^has no backbone.… \(found nothing\);'):
        select_backbone({'state_dict': {}})


@pytest.mark.parametrize('shift_place', ['block', 'blockres'])
@pytest.mark.parametrize('temporal_pool', [False, True])
def test_tsm_is_written_without_the_shift(shift_place, temporal_pool):
    shifted = MODELS.build(
        dict(
            type='ResNetTSM',
            depth=18,
            num_segments=8,
            pretrained=None,
            pretrained2d=False,
            shift_place=shift_place,
            temporal_pool=temporal_pool,
        )
    ).state_dict()
    plain = MODELS.build(dict(type='ResNet', depth=18, pretrained=None))
    assert any('.net.' in key for key in shifted)
    exported = select_backbone({f'backbone.{key}': value for key, value in shifted.items()})
    assert exported.keys() == plain.state_dict().keys()
    assert all(torch.equal(exported[plain_name(key)], value) for key, value in shifted.items())


@pytest.mark.parametrize(
    ('key', 'plain'),
    [
        ('layer2.net.0.net.conv1.conv.weight', 'layer2.0.conv1.conv.weight'),
        ('layer1.10.conv1.conv.net.weight', 'layer1.10.conv1.conv.weight'),
        ('layer3.1.conv.0.net.conv.weight', 'layer3.1.conv.0.conv.weight'),  # MobileNetV2TSM
        ('blocks.0.net.weight', None),
        ('net.layer1.0.conv.weight', None),
        ('layer1.0.attention.net.weight', None),
        ('layer1.0.conv1.net', None),
    ],
)
def test_only_what_tsm_wraps_is_renamed(key, plain):
    assert plain_name(key) == (plain or key)


def test_a_backbone_with_a_net_of_its_own_keeps_it():
    """Out of a checkpoint, into the module."""
    backbone = nn.Module()
    backbone.net = nn.Sequential(nn.Linear(2, 3))
    backbone.blocks = nn.ModuleList([nn.ModuleDict(dict(net=nn.Linear(3, 1)))])
    checkpoint = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    assert_same(select_backbone(checkpoint), backbone.state_dict())
    fitted = fit_tensors(checkpoint, backbone, 'backbone.', 'x.pth', 'none')
    assert_same(fitted, backbone.state_dict())
