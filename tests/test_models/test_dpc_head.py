"""DPC and MemDPC, place by place in float64."""

import math
from itertools import product

import pytest
import torch
from head_helpers import build_head, mean, refused
from mmaction.registry import MODELS
from tiny_vclr import CHANNELS

N, S, T, H, W = 3, 5, 2, 2, 3
SHAPE = N, S, CHANNELS, T, H, W
HEADS = dict(
    dpc=('DPCHead', {}),
    memdpc=('MemDPCHead', {}),
    forward=('MemDPCHead', dict(bidirectional=False)),
)


@torch.no_grad()
def enlarge(head, scale=3.0):
    """Make the weights so large that predictions differ, and the biases other than 0."""
    for parameter in head.parameters():
        parameter.mul_(scale).add_(torch.randn_like(parameter) * 0.1)


def build(name, scale=3.0, **changes):
    """A head in float64 that predicts two blocks."""
    kind, settings = HEADS[name]
    head = build_head(kind, **dict(num_predicted=2) | settings | changes)
    enlarge(head, scale)
    return head


def draw_maps(shape=SHAPE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def at_place(convolution, vector):
    """A 1x1 convolution of one vector."""
    return convolution.weight[:, :, 0, 0] @ vector + convolution.bias


def blocks_at_place(head, maps, y, x):
    """The vectors of all blocks of one sample."""
    return [at_place(head.reduction, block[:, :, y, x].mean(dim=1)) for block in maps]


def gru_step(gru, vector, state):
    update = at_place(gru.update, torch.cat([vector, state])).sigmoid()
    reset = at_place(gru.reset, torch.cat([vector, state])).sigmoid()
    candidate = at_place(gru.candidate, torch.cat([vector, reset * state])).tanh()
    return (1 - update) * state + update * candidate


def predict_at_place(head, gru, vectors):
    """The vectors of the unseen blocks, of those of the seen ones."""
    state = torch.zeros_like(vectors[0])
    for vector in vectors:
        state = gru_step(gru, vector.relu(), state)
    predicted = []
    for _ in range(head.num_predicted):
        hidden = at_place(head.predictor[0], state).relu()
        vector = at_place(head.predictor[2], hidden)
        if hasattr(head, 'memory'):
            shares = [math.exp(logit) for logit in vector.tolist()]
            slots = zip(shares, head.memory, strict=True)
            vector = sum(share * slot for share, slot in slots) / sum(shares)
        predicted.append(vector)
        state = gru_step(gru, vector.relu(), state)
    return predicted


@torch.no_grad()
def slow_outputs(head, maps):
    """One direction, sample, place and step at a time.

    Returns:
        Loss, ranks of all targets in order direction, sample, step, place, and in the same order
        the predicted vectors and their targets, each with length 1.
    """
    total, ranks, pairs = 0, [], []
    for backward, gru in enumerate(head.aggregators):
        predicted, targets = {}, {}
        for n, y, x in product(range(len(maps)), range(H), range(W)):
            vectors = blocks_at_place(head, maps[n], y, x)
            if backward:
                vectors.reverse()
            seen, unseen = vectors[: -head.num_predicted], vectors[-head.num_predicted :]
            for p, vector in enumerate(predict_at_place(head, gru, seen)):
                predicted[n, p, y, x], targets[n, p, y, x] = vector, unseen[p]
        losses = []
        for index in sorted(predicted):
            vector = predicted[index]
            products = {other: float(vector @ target) for other, target in targets.items()}
            own = products[index]
            losses.append(math.log(sum(map(math.exp, products.values()))) - own)
            ranks.append(sum(product >= own for product in products.values()) - 1)
            pairs.append([x / x.norm() for x in (vector, targets[index])])
        total += mean(losses)
    return total, ranks, [torch.stack(side) for side in zip(*pairs, strict=True)]


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('num_predicted', [1, 3])
def test_loss_and_accuracy(name, num_predicted):
    head = build(name, num_predicted=num_predicted, loss_weight=0.5)
    seen = []
    for seed in range(3):
        maps = draw_maps(seed=seed)
        value = head.loss({0: maps}, {})
        loss, ranks, pair = slow_outputs(head, maps)
        assert set(value) == {'loss', 'acc', 'acc5', 'pair'}
        assert value['loss'].item() == pytest.approx(0.5 * loss, rel=1e-9)
        assert value['acc'].item() == pytest.approx(100 * mean([rank == 0 for rank in ranks]))
        assert value['acc5'].item() == pytest.approx(100 * mean([rank < 5 for rank in ranks]))
        for got, expected in zip(value['pair'], pair, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
        seen += ranks
    assert 0 in seen and max(seen) > 5


@pytest.mark.parametrize('name', ['dpc', 'memdpc'])
def test_context_is_the_mean_state_after_all_blocks(name):
    """Place by place, also those that the loss predicts; forward, then backward."""
    head = build(name, dropout=0.5).eval()
    maps = draw_maps()
    expected = torch.zeros(N, len(head.aggregators), 4, dtype=torch.float64)
    for n, y, x in product(range(N), range(H), range(W)):
        vectors = blocks_at_place(head, maps[n], y, x)
        for direction, gru in enumerate(head.aggregators):
            state = torch.zeros(4, dtype=torch.float64)
            for vector in vectors[::-1] if direction else vectors:
                state = gru_step(gru, vector.relu(), state)
            expected[n, direction] += state / (H * W)
    torch.testing.assert_close(head.context(maps), expected.flatten(1), rtol=1e-9, atol=1e-12)
    # Maps of any size, and a single block.
    assert head.context(draw_maps((2, 1, CHANNELS, 1, 4, 4))).shape == (2, expected[0].numel())


@pytest.mark.parametrize('name', ['dpc', 'memdpc'])
def test_gradient_equals_finite_differences(name):
    """Into all blocks, also those that are predicted."""
    head = build(name, scale=1.0, num_predicted=1, map_size=(1, 2))
    maps = draw_maps((2, 2, CHANNELS, 1, 1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head.loss({0: x}, {})['loss'], maps, fast_mode=True)
    (gradient,) = torch.autograd.grad(head.loss({0: maps}, {})['loss'], maps)
    assert (gradient.abs().amax(dim=(2, 3, 4, 5)) > 0).all()


def test_dropout_is_of_the_state():
    head = build('dpc', dropout=0.5)
    assert [gru.dropout.p for gru in build('memdpc', dropout=0.5).aggregators] == [0.5, 0.5]
    maps = draw_maps()
    assert head.loss({0: maps}, {})['loss'] != head.loss({0: maps}, {})['loss']
    head.eval()
    assert head.loss({0: maps}, {})['loss'].item() == pytest.approx(slow_outputs(head, maps)[0])


@pytest.mark.parametrize(('name', 'directions'), [('dpc', 1), ('memdpc', 2), ('forward', 1)])
def test_blocks_that_are_all_alike_give_chance_level(name, directions):
    head = build(name)
    maps = torch.ones(SHAPE, dtype=torch.float64)
    value = head.loss({0: maps}, {})
    candidates = N * 2 * H * W
    chance = directions * math.log(candidates)
    assert value['loss'].item() == pytest.approx(head.chance_level(N)) == pytest.approx(chance)
    assert value['acc'] == 0  # the ranks of equal candidates are the worst
    assert head.chance_accuracy(N) == pytest.approx(100 / candidates)


def test_chance_of_the_papers():
    """8 blocks of which 3 are predicted, 4 x 4 places."""
    with torch.device('meta'):
        dpc = MODELS.build(dict(type='DPCHead', in_channels=512))
        memdpc = MODELS.build(dict(type='MemDPCHead', in_channels=512))
    assert dpc.chance_level(128) == pytest.approx(math.log(128 * 3 * 16))
    assert memdpc.chance_level(32) == pytest.approx(2 * math.log(32 * 3 * 16))
    assert memdpc.memory.shape == (1024, 256)
    assert dpc.predictor[-1].out_channels == 256
    for head, number in ((dpc, 1), (memdpc, 2)):
        assert len(head.aggregators) == number
        assert head.reduction.weight.shape == (256, 512, 1, 1)
        assert all(gru.dropout.p == 0.1 for gru in head.aggregators)


@pytest.mark.parametrize(
    ('name', 'options', 'gain'),
    [
        ('dpc', {}, 1.0),
        ('dpc', dict(init_gain=0.5), 0.5),
        ('memdpc', {}, 0.1),
        ('memdpc', dict(init_gain=1.0), 1.0),
    ],
)
def test_kernels_start_orthogonal_and_biases_at_zero(name, options, gain):
    head = build_head(HEADS[name][0], **options).float()
    head.init_weights()
    convolutions = [
        layer
        for module in (head.aggregators, head.predictor)
        for layer in module.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    assert len(convolutions) == 3 * len(head.aggregators) + 2
    for layer in convolutions:
        assert not layer.bias.any()
        matrix = layer.weight.flatten(1)
        small = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(small, gain**2 * torch.eye(len(small)), rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', ['dpc', 'memdpc'])
def test_what_does_not_fit_is_refused(name):
    head = build(name)
    kind, _ = HEADS[name]
    with refused(f'^{kind}.num_predicted is 2, but the view has only 2 blocks.*num_segments'):
        head.loss({0: draw_maps((N, 2, CHANNELS, T, H, W))}, {})
    with refused(rf'^{kind}.map_size is \(2, 3\), but the backbone makes maps of.*\(3, 2\)'):
        head.loss({0: draw_maps((N, S, CHANNELS, T, W, H))}, {})
    with refused(f'{kind}.num_predicted is 0'):
        build(name, num_predicted=0)
