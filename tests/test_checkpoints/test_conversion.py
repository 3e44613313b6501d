"""Weights of other projects, made on the spot, converted by name and back.

The sources are networks of our own with torchvision's or SlowFast's names inside, so that a
converted backbone can be compared with what it came from not only key by key but image by image.
"""

import re
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from head_helpers import refused
from mmaction.registry import MODELS
from tiny_vclr import build_tiny, tiny_model
from torch import nn

from mmssl_video.checkpoints.conversion import convert_weights, to_layout
from mmssl_video.checkpoints.fitting import fit_tensors, plain_name, select_backbone

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
EXPANSION = {18: 1, 50: 4}
EMBEDDING = 8


def conv(inputs, outputs, *kernel, stride=1):
    """Without a bias; it keeps the size, but for its stride."""
    kind = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
    padding = [length // 2 for length in kernel]
    return kind(inputs, outputs, kernel, stride, padding, bias=False)


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
            layer = conv(channels_in, channels_out, kernel, kernel, stride=step)
            self.add_module(f'conv{number}', layer)
            self.add_module(f'bn{number}', nn.BatchNorm2d(channels_out))
        if stride != 1 or inputs != outputs:
            layer = conv(inputs, outputs, 1, 1, stride=stride)
            self.downsample = nn.Sequential(layer, nn.BatchNorm2d(outputs))

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


@pytest.fixture(scope='module')
def resnet_18():
    return SourceResNet(18)


def of_backbone(converted):
    return {
        key.removeprefix('backbone.'): value
        for key, value in converted.items()
        if key.startswith('backbone.')
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def without_weights(**cfg):
    with torch.device('meta'):
        return MODELS.build(cfg)


def with_weights(converted, **cfg):
    """A backbone of converted weights, all of which it needs."""
    backbone = without_weights(**cfg)
    backbone.load_state_dict(of_backbone(converted), assign=True)
    backbone.eval()
    return backbone


def random_clips(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def assert_near(got, expected):
    """To the last bit of rtol."""
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


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


CHECKPOINTS = dict(torchvision=torchvision_checkpoint, mocov2=moco_checkpoint, vclr=vclr_checkpoint)


def state_of(checkpoint):
    return checkpoint.get('state_dict', checkpoint.get('model', checkpoint))


def test_backbone_of_every_format(source):
    """Every key is hit, and the network computes what its source does."""
    state = source.state_dict()
    converted = convert_weights(torchvision_checkpoint(source))
    assert len(converted) == len(state)  # all but the classifier
    for make in (moco_checkpoint, vclr_checkpoint):
        assert_same(of_backbone(convert_weights(make(source))), of_backbone(converted))
    assert_same(convert_weights(dict(reversed(state.items()))), converted)

    backbone = with_weights(converted, type='ResNet', depth=source.depth, pretrained=None)
    images = random_clips(2, 3, 32, 32)
    with torch.no_grad():
        assert_near(backbone(images), source(images))


def heads_of(converted):
    return {key.split('.')[1] for key in converted if key.startswith('heads.')}


def test_moco_heads_may_be_chosen(resnet_18):
    for heads in ((), ('video',), ('mine', 'yours')):
        assert heads_of(convert_weights(moco_checkpoint(resnet_18), heads)) == set(heads)


@pytest.mark.parametrize('make', [moco_checkpoint, vclr_checkpoint])
def test_heads_of_every_format(resnet_18, make):
    """MoCo's MLP initialises every head, VCLR's each its own."""
    cfg = tiny_model()
    for head in cfg['heads'].values():
        channels = dict(in_channels=512, hidden_channels=512, out_channels=EMBEDDING)
        head['projector'] = head['projector'] | channels
    model = MODELS.build(cfg)
    missing, unexpected = model.load_state_dict(convert_weights(make(resnet_18)), strict=False)
    assert all(key.startswith('backbone.') for key in unexpected)
    of_order = {'heads.order.classifier.weight', 'heads.order.classifier.bias'}
    missing = {key for key in missing if 'backbone' not in key and 'queue' not in key}
    assert missing == (of_order if make is moco_checkpoint else set())
    for seed, name in enumerate(('inter', 'intra', 'video', 'order')):
        expected = mlp(512, 'fc', 1 if make is moco_checkpoint else seed)
        for projector in (model.heads[name].projector, model.heads[name].target_projector.module):
            for key, value in projector.layers.state_dict().items():
                assert torch.equal(value, expected[f'fc.{key}'])
    if make is vclr_checkpoint:
        order = state_of(vclr_checkpoint(resnet_18))
        for key, value in model.heads.order.classifier.state_dict().items():
            assert torch.equal(value, order[f'module.fc_order_classifier.{key}'])


@pytest.mark.parametrize(
    ('layout', 'keys'),
    [
        ('torchvision', ['queue', 'encoder_k.fc.bias']),
        ('mocov2', ['encoder_q.queue']),
        ('vclr', ['queue']),
    ],
)
def test_unknown_key_is_named(resnet_18, layout, keys):
    """Each format has classifiers, queues and target networks of its own."""
    checkpoint = CHECKPOINTS[layout](resnet_18)
    state, complete = state_of(checkpoint), convert_weights(checkpoint)
    common = ['layer1.0.se.weight', 'conv1.bias.extra', 'fc_other.0.weight', 'head.weight', 'iter']
    for key in (*common, 'memory.x', *keys):
        state[key] = torch.zeros(1)
        with refused(f'^1 keys of this {layout} checkpoint .* unknown: {re.escape(key)}; use'):
            convert_weights(checkpoint)
        with pytest.warns(UserWarning, match=f'unknown: {re.escape(key)}$'):
            converted = convert_weights(checkpoint, allow_unknown=True)
        assert converted.keys() == complete.keys()
        del state[key]


@pytest.mark.parametrize(
    'keys',
    [
        [],
        ['stem.weight', 'head.weight'],
        ['backbone.conv1.conv.weight'],  # MMAction2's, nothing to convert
        ['stem.0.weight', 'layer1.0.conv1.0.weight'],  # r3d_18
        ['s1.pathway0_stem', 'conv1.conv.weight'],
        ['visual.conv1.weight'],
    ],
)
def test_unknown_format_is_an_error(keys):
    with refused('^has neither a ResNet of torchvision, MoCo'):
        convert_weights({'state_dict': dict.fromkeys(keys, torch.zeros(1))})


@pytest.mark.parametrize('layout', CHECKPOINTS)
def test_every_missing_key_is_named(resnet_18, layout):
    """Whatever is taken out of a complete file, that key and no other is missed."""
    checkpoint = CHECKPOINTS[layout](resnet_18)
    state = state_of(checkpoint)
    prefix = 'encoder_q.' if layout == 'mocov2' else ''
    for key in list(state):
        name = key.removeprefix('module.')
        if not name.startswith(prefix) or (layout == 'torchvision' and name[:3] == 'fc.'):
            continue
        value = state.pop(key)
        if name.endswith('num_batches_tracked'):  # of files from before torch 0.4.1
            convert_weights(checkpoint)
        else:
            with refused(f'^1 keys .* checkpoint are missing: {re.escape(name)}; use'):
                convert_weights(checkpoint)
        state[key] = value
    convert_weights(checkpoint)


def test_a_missing_block(source):
    """An R50 without its last block is not taken for another network."""
    lost = [key for key in source.state_dict() if key.startswith(('layer3.1', 'layer4.1'))]
    state = {key: value for key, value in source.state_dict().items() if key not in lost}
    needed = [key for key in lost if not key.endswith('num_batches_tracked')]
    with refused(f'^{len(needed)} keys of this torchvision .* missing: '):
        convert_weights(state)
    with pytest.warns(UserWarning) as warned:
        converted = convert_weights(state, allow_missing=True)
    assert len(converted) == len(state)
    listed = str(warned[0].message).split(': ')[1].split(', ')
    assert sorted(listed) == sorted(needed)


def test_a_head_that_vclr_was_trained_without(resnet_18):
    checkpoint = vclr_checkpoint(resnet_18)
    checkpoint['model'] = {k: v for k, v in checkpoint['model'].items() if 'fc_order' not in k}
    assert heads_of(convert_weights(checkpoint)) == {'inter', 'intra', 'video'}


# -- Back --------------------------------------------------------------------------------------


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


R18 = dict(depth=18, pretrained=None)


@pytest.mark.parametrize(
    ('cfg', 'layout', 'words'),
    [
        (dict(type='TinyBackbone'), 'torchvision', '2D ResNets only.*layers.0.weight'),
        (dict(type='TinyBackbone', ndim=3), 'slowfast', '3D ResNets only.*layers.0'),
        (
            dict(R18, type='ResNet3dSlowOnly', lateral=False),
            'torchvision',
            '2D.* conv1.conv.weight',
        ),
        (dict(R18, type='ResNet'), 'slowfast', '3D ResNets only.* conv1.conv.weight;'),
        (
            dict(R18, type='ResNet3d', conv_cfg=dict(type='Conv2plus1d')),
            'slowfast',
            'unknown: .*conv_s',
        ),
    ],
)
def test_what_has_no_names_there(cfg, layout, words):
    with refused(words):
        to_layout(without_weights(**cfg).state_dict(), layout)


def test_incomplete_backbone_is_not_given_away(resnet_18):
    backbone = of_backbone(convert_weights(resnet_18.state_dict()))
    del backbone['layer4.1.conv2.bn.running_var']
    with refused('missing: layer4.1.conv2.bn.running_var; use'):
        to_layout(backbone, 'torchvision')
    with pytest.warns(UserWarning, match='missing: layer4.1.conv2.bn.running_var$'):
        assert len(to_layout(backbone, 'torchvision', allow_missing=True)) == len(backbone)


# -- SlowFast ----------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """SlowFast's branch2: a is Tx1x1, b is 1x3x3 with the stride, c is 1x1x1."""

    def __init__(self, inputs, width, outputs, kernel, stride):
        super().__init__()
        self.a, self.a_bn = conv(inputs, width, kernel, 1, 1), nn.BatchNorm3d(width)
        self.b = conv(width, width, 1, 3, 3, stride=(1, stride, stride))
        self.b_bn = nn.BatchNorm3d(width)
        self.c, self.c_bn = conv(width, outputs, 1, 1, 1), nn.BatchNorm3d(outputs)

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
            stem = nn.Module()
            stem.conv = conv(3, channels, kernels[pathway][0], 7, 7, stride=(1, 2, 2))
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
                stride = (self.ALPHA, 1, 1)
                fuse.conv_f2s = conv(channels, 2 * channels, 7, 1, 1, stride=stride)
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


@pytest.fixture(scope='module')
def slowfast():
    torch.manual_seed(1)
    return with_own_statistics(SlowFastSource(width=16, fast=True))


def test_slow(slow):
    """ResNet3dSlowOnly gives the features that a Slow R50 gives."""
    converted = convert_weights(slow_checkpoint(slow))
    assert_same(convert_weights(rho_checkpoint(slow)), converted)
    assert all(key.startswith('backbone.') for key in converted)
    cfg = dict(type='ResNet3dSlowOnly', depth=50, base_channels=8, pretrained=None, lateral=False)
    clips = random_clips(2, 3, 4, 32, 32)
    with torch.no_grad():
        (expected,) = slow(clips)
        assert expected.shape == (2, 256, 4, 1, 1)
        assert_near(with_weights(converted, **cfg)(clips), expected)


def test_slowfast(slowfast):
    """ResNet3dSlowFast with normalised lateral connections gives what theirs gives."""
    converted = convert_weights(slow_checkpoint(slowfast))
    pathway = dict(type='resnet3d', depth=50, pretrained=None, conv1_stride_t=1, pool1_stride_t=1)
    backbone = with_weights(
        converted,
        type='ResNet3dSlowFast',
        resample_rate=slowfast.ALPHA,  # every frame for the fast pathway
        speed_ratio=slowfast.ALPHA,
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
    clips = random_clips(1, 3, 8, 32, 32)
    with torch.no_grad():
        expected = slowfast(clips[:, :, :: slowfast.ALPHA], clips)
        for got, wanted in zip(backbone(clips), expected, strict=True):
            assert_near(got, wanted)
    del converted['backbone.slow_path.layer2_lateral.bn.weight']
    with refused('missing: slow_path.layer2_lateral.bn.weight; use'):
        to_layout(of_backbone(converted), 'slowfast')


def test_slowfast_there_and_back(slow, slowfast):
    for network in (slow, slowfast):
        state = network.state_dict()
        backbone = of_backbone(convert_weights(state))
        theirs = to_layout(backbone, 'slowfast')
        of_network = {k: v for k, v in state.items() if not k.startswith('head.')}
        assert_same(theirs['model_state'], of_network)
        assert_same(of_backbone(convert_weights(theirs)), backbone)


def test_errors_of_slowfast(slow):
    state = slow.state_dict()
    state['s3.pathway0_nonlocal1.conv_theta.weight'] = torch.zeros(1)
    with refused('slowfast .* unknown: s3.pathway0_nonlocal1.conv_theta'):
        convert_weights(state)
    with refused('slowfast .* unknown: fc.weight, encoder_k.x; use'):
        convert_weights(
            slow.state_dict() | dict.fromkeys(['fc.weight', 'encoder_k.x'], torch.ones(1))
        )
    checkpoint = rho_checkpoint(slow)
    del checkpoint['model_state']['backbone.s4.pathway0_res5.branch2.b_bn.running_mean']
    with refused('missing: backbone.s4.pathway0_res5.branch2.b_bn.runn'):
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
    with refused(r'^has no target_backbone.module.… \(found backbone, heads\);'):
        select_backbone({'state_dict': state}, 'target')
    with refused(r'^has no backbone.… \(found nothing\);'):
        select_backbone({'state_dict': {}})


@pytest.mark.parametrize(
    ('shift_place', 'temporal_pool'), list(product(('block', 'blockres'), (0, 1)))
)
def test_tsm_is_written_without_the_shift(shift_place, temporal_pool):
    resnet = dict(depth=18, pretrained=None)
    tsm = dict(pretrained2d=False, shift_place=shift_place, temporal_pool=bool(temporal_pool))
    shifted = without_weights(type='ResNetTSM', num_segments=8, **resnet, **tsm).state_dict()
    assert any('.net.' in key for key in shifted)
    exported = select_backbone({f'backbone.{key}': value for key, value in shifted.items()})
    assert exported.keys() == without_weights(type='ResNet', **resnet).state_dict().keys()
    assert all(exported[plain_name(key)] is value for key, value in shifted.items())


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
