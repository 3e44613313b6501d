"""What every registered head must do; two gloo processes do what one does on the whole batch.

The files of the heads compare their values with the papers' formulas.
"""

import inspect
import itertools
import math
from copy import deepcopy

import pytest
import torch
from head_helpers import (
    CHANNELS,
    HEADS,
    SEGMENTS,
    N,
    apply,
    batch,
    build_head,
    example,
    map_views,
    refused,
)
from mmaction.registry import MODELS
from mmengine.dist import all_reduce
from processes import WORLD, run_in_processes
from torch import nn

from mmssl_video.models import gather as gather_module
from mmssl_video.models.gather import own_rows

CONTRASTIVE = [
    name
    for name in HEADS
    if name != 'SwAVHead'  # its codes have no gradient, its prototypes differ
    and 'temperature' in inspect.signature(MODELS.get(name)).parameters
]
every_head = pytest.mark.parametrize('name', HEADS)


def steps_until_the_queue_is_full(head):
    """4, of which each fills a third of the queue of a head that has one."""
    return range(4 if hasattr(head, 'queue') else 1)


@every_head
def test_the_loss_is_weighted_and_nothing_else(name):
    values = []
    for weight in (1.0, 0.25):
        head = build_head(name, loss_weight=weight)
        for step in range(2):  # the second with a queue
            inputs = batch(head, step)
            torch.manual_seed(step)
            value = apply(head, *inputs)
        values.append(value)
    whole, quarter = values
    assert whole['loss'] > 0
    torch.testing.assert_close(quarter.pop('loss'), whole.pop('loss') * 0.25)
    torch.testing.assert_close(quarter, whole, rtol=0, atol=0, equal_nan=True)
    assert '\n' not in head.describe()


@every_head
def test_gradients_reach_the_online_side_alone(name):
    head = build_head(name)
    apply(head, *batch(head))  # fills the queue
    online, target, fields = batch(head, 1)
    for side in (online, target):
        map_views(lambda x: x.requires_grad_(x.is_floating_point()), side)
    value = apply(head, online, target, fields)
    value['loss'].backward()
    if head.masks:  # the pixels are what is predicted
        assert all(x.tokens.grad.abs().sum() > 0 for view in online.values() for x in view)
    else:
        assert all(view.grad.abs().sum() > 0 for view in online.values())
    assert all(view.grad is None for view in target.values())
    for key, parameter in head.named_parameters():
        if key.startswith('target_projector.'):
            assert not parameter.requires_grad and parameter.grad is None, key
        else:
            assert parameter.grad.abs().sum() > 0, key
    assert not any(buffer.requires_grad for buffer in head.buffers())
    for side in value.get('pair', ()):  # the collapse monitor takes them as they are
        assert side.norm(dim=1).max().item() == pytest.approx(1)


@every_head
def test_one_sample_and_an_empty_queue_give_finite_loss_and_gradients(name):
    head = build_head(name)
    for step in range(2):
        head.zero_grad()
        loss = apply(head, *batch(head, step, num=1))['loss']
        loss.backward()
        assert loss.isfinite()
        for key, parameter in head.named_parameters():
            if parameter.requires_grad:  # DDP waits for each of them
                assert parameter.grad.isfinite().all(), key


@every_head
def test_bfloat16_features_under_autocast_give_the_float32_loss(name):
    exact, half = build_head(name), build_head(name).float()
    for step in range(3):
        online, target, fields = batch(exact, step)
        torch.manual_seed(step)
        expected = apply(exact, online, target, fields)['loss']
        torch.manual_seed(step)
        views = (
            map_views(lambda x: x.bfloat16() if x.is_floating_point() else x, side)
            for side in (online, target)
        )
        with torch.autocast('cpu', torch.bfloat16):
            value = apply(half, *views, fields)
        assert value['loss'].dtype == torch.float32
        assert value['loss'].item() == pytest.approx(expected.item(), rel=0.03, abs=1e-12)
        assert {x.dtype for x in value.get('pair', ())} <= {torch.float32}


# ---------------------------------------------------------------------------------------- chance


@every_head
def test_features_that_tell_nothing_give_the_chance_level_while_the_queue_fills(name):
    """Projections are the identity, classifiers 0, features random.

    The temperature is 1: below, the few most similar of many random negatives weigh more. The
    features are small, for the heads that do not normalise them.
    """
    num = 150
    parameters = inspect.signature(MODELS.get(name)).parameters
    changes = {
        part: cfg | dict(in_channels=CHANNELS, out_channels=CHANNELS)
        for part, cfg in example(name).items()
        if part in ('projector', 'predictor')
    }
    changes |= {key: 3 * num for key in parameters if key == 'queue_size' and name != 'SwAVHead'}
    changes |= {key: 1.0 for key in parameters if key == 'temperature'}
    head = build_head(name, **changes)
    head.init_weights()
    for part in ('projector', 'predictor', 'target_projector'):
        if part in changes or part == 'target_projector':
            setattr(head, part, nn.Identity())
    if hasattr(head, 'classifier'):
        for parameter in head.classifier.parameters():
            nn.init.zeros_(parameter)
    for step in steps_until_the_queue_is_full(head):
        filled = int(head.queue.num_filled) if getattr(head, 'queue', None) else None
        online, target, fields = batch(head, step, num=num)
        views = (
            map_views(lambda x: x / 4 if x.is_floating_point() else x, side)
            for side in (online, target)
        )
        loss = apply(head, *views, fields)['loss'].item()
        assert loss == pytest.approx(head.chance_level(num, filled), rel=0.1, abs=1e-12), step
    assert 0 <= head.chance_accuracy(num) < 100


@pytest.mark.parametrize('name', CONTRASTIVE)
def test_embeddings_that_are_all_one_give_the_chance_level_while_the_queue_fills(name):
    head = build_head(name)
    if head.target_views:
        head.target_projector.sync()
    same = torch.ones(N, SEGMENTS, CHANNELS, dtype=torch.float64)
    views = [{view: same for view in side} for side in (head.online_views, head.target_views)]
    for step in range(5):
        filled = int(head.queue.num_filled) if getattr(head, 'queue', None) else None
        loss = apply(head, *views, batch(head, step)[2])['loss'].item()
        assert loss == pytest.approx(head.chance_level(N, filled), rel=1e-6, abs=1e-12), step
    if filled is not None:
        assert filled == head.queue.size
        assert head.chance_level(N, filled) == head.chance_level(N)


WITH_DROPOUT = [
    name
    for name in HEADS
    if 'dropout' in inspect.signature(MODELS.get(name)).parameters and 'DPC' not in name
]


@pytest.mark.parametrize('name', WITH_DROPOUT)
def test_dropout_is_before_the_last_layer_in_training_alone(name):
    shown = []
    for dropout in (0.0, 0.5):
        head = build_head(name, dropout=dropout)
        *_, last = (layer for layer in head.classifier.modules() if isinstance(layer, nn.Linear))
        last.register_forward_pre_hook(lambda layer, args: shown.append(args[0].detach()))
        for training in (True, False):
            torch.manual_seed(0)
            apply(head.train(training), *batch(head, num=200))
    without, _, dropped, kept = shown
    assert torch.equal(kept, without)
    remain = dropped != 0
    torch.testing.assert_close(dropped[remain], 2 * without[remain])
    share = remain[without != 0].double().mean().item()
    assert share == pytest.approx(0.5, abs=2 / math.sqrt((without != 0).sum()))


@pytest.mark.parametrize(
    ('name', 'sides'),
    [
        ('IntraFrameHead', [1]),  # its query view may be the query alone
        ('OddOneOutHead', [0]),
        ('OrderHead', [0, 1]),
        ('PermutationHead', [0]),
        ('ShuffleLearnHead', [0]),
        ('VINCEHead', [0, 1]),
    ],
)
def test_views_with_other_segments_than_the_head_are_refused(name, sides):
    head = build_head(name)
    wanted = head.num_segments
    for side, number in itertools.product(sides, (wanted - 1, wanted + 1)):
        inputs = list(batch(head))
        inputs[side] = batch(head, num_segments=number)[side]
        with refused(f'{name}.num_segments is {wanted}, but the views have {number}'):
            apply(head, *inputs)
    assert not getattr(head, 'queue', None) or not head.queue.num_filled


@pytest.mark.parametrize('name', ['InterFrameHead', 'MoCoHead', 'NeighbourHead'])
def test_the_queue_is_not_copied(name):
    """The backward pass reads the entries where they are, before they are replaced."""
    head = build_head(name, queue_size=N)
    apply(head, *batch(head))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss = apply(head, *batch(head, 1))['loss']
    assert head.queue.embeddings.data_ptr() in [tensor.data_ptr() for tensor in kept]
    loss.backward()
    before = head.queue.embeddings.clone()
    assert (head.queue.entries != before).all(dim=1).all()


@pytest.mark.parametrize('name', CONTRASTIVE)
def test_gradient_equals_finite_differences(name):
    head = build_head(name, temperature=0.5)
    apply(head, *batch(head))
    online, target, fields = batch(head, 1, num=2)

    def loss(*views):
        torch.manual_seed(0)
        views = dict(zip(online, views, strict=True))
        return apply(deepcopy(head), views, target, fields)['loss']  # the queue moves on

    views = [view.requires_grad_() for view in online.values()]
    assert torch.autograd.gradcheck(loss, views, fast_mode=True)


# --------------------------------------------------------------------------------- two processes


def take_steps(name, batches):
    """Steps on this process's share: means of loss, accuracy and gradients, and the last state."""
    head = build_head(name)
    steps = []
    for step, inputs in enumerate(batches):
        share = [map_views(lambda x: x[own_rows()], part) for part in inputs]
        torch.manual_seed(step)
        head.zero_grad()
        value = apply(head, *share)
        value['loss'].backward()
        result = {key: value[key].detach() for key in ('loss', 'acc') if key in value}
        result |= {key: p.grad.clone() for key, p in head.named_parameters() if p.requires_grad}
        for tensor in result.values():
            all_reduce(tensor, 'mean')
        steps.append(result)
    return dict(steps=steps, state=head.state_dict())


def process(rank, batches):
    return {name: take_steps(name, batches[name]) for name in HEADS}


@pytest.fixture(scope='module')
def batches():
    """Four batches of six samples for each head; the fourth goes round the end of a queue."""
    heads = {name: build_head(name) for name in HEADS}
    return {name: [batch(head, step, num=6) for step in range(4)] for name, head in heads.items()}


@pytest.fixture(scope='module')
def ranks(batches, tmp_path_factory):
    """What each of the two processes found."""
    return run_in_processes(process, tmp_path_factory.mktemp('ranks'), batches)


@every_head
def test_two_processes_do_what_one_does(ranks, batches, name):
    expected = take_steps(name, batches[name])
    for rank in ranks:
        torch.testing.assert_close(rank[name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ('cfg', 'num_gathered'),
    [
        (example('InterFrameHead'), 1),
        (example('MoCoHead', query_views=(0, 1, 2), key_views=(0, 1, 2), queue_size=32), 1),
        (example('VINCEHead', queue_size=40), 1),
        (example('NeighbourHead'), 2),  # keys and labels
        (example('NNCLRHead'), 3),  # predictions, keys and labels
        (example('SwAVHead', queue_size=10, freeze_epochs=0), 1),
    ],
)
def test_all_rows_are_gathered_at_once(monkeypatch, cfg, num_gathered):
    """In a step of the first of two processes; the other one's rows are the same."""
    gathered = []

    def all_gather(rows):
        gathered.append(rows)
        return [rows, rows]

    monkeypatch.setattr(gather_module, 'all_gather', all_gather)
    for module in ('gather', 'heads.nnclr', 'heads.swav'):
        monkeypatch.setattr(f'mmssl_video.models.{module}.get_world_size', lambda: WORLD)
    head = MODELS.build(cfg).double()
    head.epoch = 0  # SwAV's
    apply(head, *batch(head))
    assert len(gathered) == num_gathered
