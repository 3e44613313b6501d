"""Weights of torchvision, MoCo v2 and VCLR's authors, made on the spot and converted by name.

The source is a ResNet of our own with torchvision's names inside, so that a converted backbone can
be compared with what it came from not only key by key but image by image.
"""

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from tiny_vclr import tiny_model
from torch import nn

from mmssl_video.errors import UserError
from mmssl_video.models.weights import convert_weights, detect_format, rename_resnet_key

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

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@pytest.fixture(scope='module', params=[18, 50])
def source(request):
    """A network in eval mode whose normalisation statistics and scales are all its own."""
    torch.manual_seed(request.param)
    network = SourceResNet(request.param)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(int(torch.randint(1, 1000, ())))
    network.depth = request.param
    return network.eval()


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


def test_moco_mlp_initialises_every_head(source):
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


def test_vclr_heads_go_to_their_objectives(source):
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
    assert f': {key}; remove' in message
    assert '\n' not in message


@pytest.mark.parametrize(
    'state',
    [
        {},
        {'stem.weight': torch.zeros(1), 'head.weight': torch.zeros(1)},
        {'backbone.conv1.conv.weight': torch.zeros(1)},  # MMAction2's, nothing to convert
        {'state_dict': {'visual.conv1.weight': torch.zeros(1)}},
    ],
)
def test_unknown_format_is_an_error(state):
    with pytest.raises(UserError, match='^no ResNet of torchvision, MoCo v2 or VCLR') as error:
        convert_weights(state)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'key', ['fc.weight', 'layer1.weight', 'layer1.0.conv.weight', 'xconv1.weight', 'queue', '']
)
def test_what_is_no_resnet_key(key):
    assert rename_resnet_key(key) is None
