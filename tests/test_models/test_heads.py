"""Each objective against a loop in float64 over its own projections."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from head_helpers import (
    HEADS,
    N,
    apply,
    batch,
    build_head,
    cross_entropy,
    features,
    latest,
    mean,
    project,
    queue_list,
    similarity,
)
from mmaction.registry import MODELS
from scipy.stats import chisquare
from tiny_vclr import CHANNELS, SEGMENTS, tiny_model
from torch import nn

from mmssl_video.errors import UserError
from mmssl_video.models.heads.base import normalize
from mmssl_video.models.heads.inter_frame import draw_query_segment
from mmssl_video.models.losses import contrast


@pytest.mark.parametrize('query_segment', [0, 1, 2, 'random'])
def test_inter_frame_loss(query_segment):
    head = build_head('inter', query_segment=query_segment, queue_size=12)
    pushed = []
    for step in range(4):  # the queue fills with step 2 and wraps around with step 3
        online, target = features(0, seed=step), features(2, seed=100 + step)
        negatives = queue_list(head)
        assert len(negatives) == min(N * step, 12)
        torch.manual_seed(step)
        value = head.loss(online, target)
        torch.manual_seed(step)
        segments = (
            torch.randint(SEGMENTS, (N,)).tolist()
            if query_segment == 'random'
            else [query_segment] * N
        )
        losses, nearest = [], []
        for n, own in enumerate(segments):
            query = project(head.projector, online[0][n, own])
            keys = [project(head.target_projector.module, f) for f in target[2][n]]
            losses.append(mean([cross_entropy(k, negatives, query, 0.1) for k in keys]))
            similar = [similarity(query, k) for k in (keys[own], *negatives)]
            nearest.append(all(similar[0] > s for s in similar[1:]))
            pushed.append(keys[own])
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9, abs=1e-12)
        assert value['acc'].item() == pytest.approx(100 * mean(nearest))
    # v1' of every sample, in order; slots 0 to 7 have been written twice.
    expected = torch.tensor(pushed[12:20] + pushed[8:12], dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-9, atol=1e-12)


def test_inter_frame_random_segments_are_uniform():
    torch.manual_seed(0)
    drawn = draw_query_segment('random', *torch.zeros(2, 9000, SEGMENTS, 1))
    assert drawn.dtype == torch.int64
    assert chisquare(drawn.bincount(minlength=SEGMENTS).numpy()).pvalue > 1e-3


@pytest.mark.parametrize('name', ['inter', 'intra'])
@pytest.mark.parametrize('segment', [-1, 3, 7])
def test_query_segment_out_of_range(name, segment):
    head = build_head(name, query_segment=segment)
    with pytest.raises(UserError) as error:
        head.loss(features(0), features(2))
    message = str(error.value)
    assert f'query_segment is {segment}, but a view has 3 segments' in message
    assert 'from 0 to 2' in message
    assert '\n' not in message


@pytest.mark.parametrize('pairwise', [False, True])
@pytest.mark.parametrize(
    ('num_segments', 'query_segment'),
    [(2, 1), (2, 'random'), (3, 0), (3, 1), (3, 2), (3, 'random'), (5, 4), (5, 'random')],
)
def test_intra_frame_loss(pairwise, num_segments, query_segment):
    head = build_head(
        'intra', query_segment=query_segment, pairwise=pairwise, num_segments=num_segments
    )
    online = features(0, num_segments=num_segments)
    target = features(2, seed=1, num_segments=num_segments)
    torch.manual_seed(5)
    value = head.loss(online, target)
    torch.manual_seed(5)
    segments = (
        torch.randint(num_segments, (N,)).tolist()
        if query_segment == 'random'
        else [query_segment] * N
    )
    losses, nearest = [], []
    for n, own in enumerate(segments):
        query = project(head.projector, online[0][n, own])
        keys = [project(head.target_projector.module, f) for f in target[2][n]]
        others = [key for s, key in enumerate(keys) if s != own]
        problems = [[key] for key in others] if pairwise else [others]
        losses += [cross_entropy(keys[own], problem, query, 0.1) for problem in problems]
        similar = [similarity(query, k) for k in (keys[own], *others)]
        nearest.append(all(similar[0] > s for s in similar[1:]))
    assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9)
    assert value['acc'].item() == pytest.approx(100 * mean(nearest))
    assert head.chance_level(N) == pytest.approx(math.log(2 if pairwise else num_segments))


def test_video_level_loss():
    head = build_head('video', queue_size=12)
    pushed = []
    for step in range(4):
        online, target = features(0, seed=step), features(1, seed=100 + step)
        negatives = queue_list(head)
        value = head.loss(online, target)
        losses = []
        for anchor, positive in zip(online[0], target[1], strict=True):
            query = project(head.projector, sum(anchor) / SEGMENTS)
            key = project(head.target_projector.module, sum(positive) / SEGMENTS)
            losses.append(cross_entropy(key, negatives, query, 0.1))
            pushed.append(key)
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9, abs=1e-12)
    expected = torch.tensor(pushed[12:20] + pushed[8:12], dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-9, atol=1e-12)


def test_video_level_consensus_is_of_features_not_of_embeddings():
    """The two differ through the ReLU; what is enqueued is the projection of the mean."""
    head = build_head('video')
    target = features(1)
    head.loss(features(0), target)
    after = head.embed_target(target[1]).mean(dim=1)
    before = head.embed_target(target[1].mean(dim=1))
    torch.testing.assert_close(head.queue.entries, before)
    assert (before - F.normalize(after, dim=1)).abs().max() > 1e-2


def test_video_level_accuracy_counts_ties_as_wrong():
    head = build_head('video', queue_size=10)
    online, target = features(0), features(1)
    assert head.loss(online, target)['acc'] == 100  # nothing in the queue to be nearer
    # The same keys again: each query's positive lies in the queue too.
    assert head.loss(online, target)['acc'] == 0


@pytest.mark.parametrize('num_segments', [3, 4])
def test_order_loss(num_segments):
    head = build_head('order', num_segments=num_segments)
    online = features(0, num_segments=num_segments)
    target = features(1, seed=1, num_segments=num_segments)
    identity = list(range(num_segments))
    classes = set()
    for seed in range(8):
        torch.manual_seed(seed)
        value = head.loss(online, target)
        torch.manual_seed(seed)
        query_draws, key_draws = head.draw_orders(N), head.draw_orders(N)
        losses, right = [], []
        for n in range(N):
            shown = []
            query_order, key_order = query_draws[0][n].tolist(), key_draws[0][n].tolist()
            for segment in query_order:
                shown += project(head.projector, online[0][n, segment])
            for segment in key_order:
                shown += project(head.target_projector.module, target[1][n, segment])
            shown = torch.tensor(shown, dtype=torch.float64)
            logits = head.classifier(shown).tolist()
            label = (query_order != identity) + 2 * (key_order != identity)
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
            right.append(max(logits) == logits[label])
            classes.add(label)
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert classes == {0, 1, 2, 3}


@pytest.mark.parametrize('num_segments', [3, 4])
def test_order_draws(num_segments):
    head = build_head('order', num_segments=num_segments)
    torch.manual_seed(0)
    (query, query_shuffled), (key, key_shuffled) = head.draw_orders(20000), head.draw_orders(20000)
    identity = torch.arange(num_segments)
    for order, shuffled in ((query, query_shuffled), (key, key_shuffled)):
        assert torch.equal(order.sort(dim=1).values, identity.expand_as(order))
        assert torch.equal((order != identity).any(dim=1), shuffled)
        assert not (order == identity.flip(0)).all(dim=1).any()
        _, counts = order[shuffled].unique(dim=0, return_counts=True)
        assert len(counts) == math.factorial(num_segments) - 2
        assert chisquare(counts.numpy()).pvalue > 1e-3
    labels = query_shuffled.long() + 2 * key_shuffled.long()
    assert chisquare(labels.bincount(minlength=4).numpy()).pvalue > 1e-3


def test_order_embeddings_are_normalised_over_channels(monkeypatch):
    """What the classifier is shown: six embeddings, each of length 1."""
    head = build_head('order')
    shown = []
    monkeypatch.setattr(
        head.classifier, 'forward', lambda x: shown.append(x) or x.new_zeros(len(x), 4)
    )
    loss = head.loss(features(0), features(1, seed=1))['loss']
    assert loss.item() == pytest.approx(math.log(4))  # equal logits
    lengths = shown[0].unflatten(1, (2 * SEGMENTS, -1)).norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_order_gradient_reaches_the_query_side_only():
    head = build_head('order')
    online, target = features(0), features(1, seed=1)
    for view in (online[0], target[1]):
        view.requires_grad_()
    head.loss(online, target)['loss'].backward()
    assert online[0].grad.abs().sum() > 0
    assert target[1].grad is None
    assert all(p.grad is None for p in head.target_projector.parameters())
    assert all(p.grad.abs().sum() > 0 for p in head.projector.parameters())


def test_order_needs_three_segments():
    with pytest.raises(UserError, match='OrderHead.num_segments is 2; a tuple needs 3'):
        build_head('order', num_segments=2)


@pytest.mark.parametrize('name', ['inter', 'intra', 'video', 'order'])
def test_loss_weight_scales_the_loss_alone(name):
    values = []
    for weight in (1.0, 0.25):
        head = build_head(name, loss_weight=weight)
        views = features(*head.online_views), features(*head.target_views, seed=1)
        torch.manual_seed(1)
        head.loss(*views)
        values.append(head.loss(*views))
    assert values[0]['loss'] > 0
    assert values[1]['loss'] == values[0]['loss'] * 0.25
    assert values[1]['acc'] == values[0]['acc']


@pytest.mark.parametrize(
    ('name', 'changes', 'chance'),
    [
        ('inter', dict(queue_size=131072), 11.78),
        ('inter', dict(queue_size=65536), 11.09),
        ('video', dict(queue_size=131072), 11.78),
        ('intra', dict(), math.log(3)),
        ('intra', dict(pairwise=True), math.log(2)),
        ('intra', dict(num_segments=5), math.log(5)),
        ('order', dict(), 1.386),
    ],
)
def test_chance_levels(name, changes, chance):
    cfg = tiny_model(heads=(name,))['heads'][name]
    head = MODELS.build({**cfg, **changes})
    assert head.chance_level(N) == pytest.approx(chance, abs=5e-3)
    assert '\n' not in head.describe()
    if 'queue_size' in changes:
        assert str(changes['queue_size']) in head.describe()


@pytest.mark.parametrize('name', ['inter', 'video'])
def test_equal_embeddings_give_chance_level(name):
    """A collapsed encoder, all features one: the loss is the chance level of the filled queue."""
    head = build_head(name, queue_size=N)
    head.target_projector.sync()
    same = torch.ones(N, SEGMENTS, CHANNELS, dtype=torch.float64)
    views = {v: same for v in head.online_views}, {v: same for v in head.target_views}
    assert head.loss(*views)['loss'] == 0  # nothing in the queue yet
    assert head.loss(*views)['loss'].item() == pytest.approx(math.log(1 + N))
    assert head.loss(*views)['loss'].item() == pytest.approx(head.chance_level(N))


def test_a_row_without_direction_gets_no_gradient():
    """1 / length, the gradient of the other rows, would be 1e12."""
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1e-9]], requires_grad=True)
    unit_rows = normalize(rows)
    unit_rows.backward(torch.tensor([[1.0, 0.0]]).expand(3, 2))
    assert unit_rows.tolist() == [pytest.approx([0.6, 0.8]), [0, 0], [0, 0]]
    # (g - u (u g)) / length
    assert rows.grad.tolist() == [pytest.approx([0.64 / 5, -0.48 / 5]), [0, 0], [0, 0]]
    assert normalize(torch.tensor([[math.nan, 1.0]])).isnan().any()


def test_views_are_settings():
    head = build_head('inter', query_view=1, key_view=3)
    assert (head.online_views, head.target_views) == ((1,), (3,))
    swapped = build_head('inter')
    online, target = features(0)[0], features(2, seed=1)[2]
    torch.manual_seed(0)
    value = head.loss({1: online}, {3: target})['loss']
    torch.manual_seed(0)
    assert value == swapped.loss({0: online}, {2: target})['loss']


def test_half_precision_features_give_float32_embeddings():
    head = build_head('intra').bfloat16()
    views = features(0)[0].bfloat16(), features(2, seed=1)[2].bfloat16()
    embedded = head.embed_online(views[0])
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(N, SEGMENTS))
    assert head.loss({0: views[0]}, {2: views[1]})['loss'].dtype == torch.float32


@pytest.mark.parametrize(('name', 'key_view'), [('intra', 2), ('order', 1)])
def test_views_with_other_segments_than_the_head_are_refused(name, key_view):
    head = build_head(name)
    with pytest.raises(UserError, match=r'num_segments is 3, but the views have 5') as error:
        head.loss(features(0, num_segments=5), features(key_view, num_segments=5))
    assert '\n' not in str(error.value)


def test_intra_frame_needs_another_frame():
    with pytest.raises(UserError, match='2 or more'):
        build_head('intra', num_segments=1)


@pytest.mark.parametrize(
    ('query_views', 'key_views'),
    [
        ((0, 1, 2), (0, 1, 2)),
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((0,), (2, 0, 1)),
        ((2, 1), (1,)),
        ((0, 1), (1, 2)),  # two partners and one
    ],
)
def test_momentum_contrast_of_all_pairs_of_views(query_views, key_views):
    """ρ-MoCo: every query view with every key view but itself, and every key view enqueued."""
    size = 4 * N + 2
    head = build_head('video', query_views=query_views, key_views=key_views, queue_size=size)
    assert head.keys_per_sample == len(key_views)
    pushed = []
    for step in range(4):
        online, target, _ = batch(head, step)
        negatives = queue_list(head)
        assert len(negatives) == min(N * len(key_views) * step, size)
        value = head.loss(online, target)
        losses, nearest, pairs = [], [], []
        for i in query_views:
            for j in key_views:
                if i == j:
                    continue
                for n in range(N):
                    query = project(head.projector, sum(online[i][n]) / SEGMENTS)
                    key = project(head.target_projector.module, sum(target[j][n]) / SEGMENTS)
                    losses.append(cross_entropy(key, negatives, query, 0.1))
                    similar = similarity(query, key)
                    nearest.append(all(similar > similarity(query, other) for other in negatives))
                    pairs.append((query, key))
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9, abs=1e-12)
        assert value['acc'].item() == pytest.approx(100 * mean(nearest))
        for got, expected in zip(value['pair'], zip(*pairs, strict=True), strict=True):
            torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
        # Sample by sample, in the order of the key views.
        for n in range(N):
            for j in key_views:
                mean_feature = sum(target[j][n]) / SEGMENTS
                pushed.append(project(head.target_projector.module, mean_feature))
    expected = torch.tensor(latest(pushed, size), dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-9, atol=1e-12)


def test_momentum_contrast_compares_a_query_with_the_queue_once(monkeypatch):
    compared = []

    def count(query, *args):
        compared.append(len(query))
        return contrast(query, *args)

    monkeypatch.setattr('mmssl_video.models.heads.moco.contrast', count)
    head = build_head('video', query_views=range(4), key_views=range(4), queue_size=4 * N)
    head.loss(*batch(head)[:2])
    assert compared == [N] * 4


@pytest.mark.parametrize('name', ['inter', 'video', 'neighbour'])
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


def test_a_view_is_named_once():
    with pytest.raises(UserError, match=r'views \(0, 1, 1\) of a head: name each view once'):
        build_head('video', query_views=(0, 1, 1), key_views=(0, 1))


def test_a_view_makes_no_pair_with_itself():
    with pytest.raises(UserError, match=r'query views \(1,\) and key views \(1,\) .* make no pair'):
        build_head('video', query_views=(1,), key_views=(1,))


# Every objective ---------------------------------------------------------------------------------

PROJECTING = [name for name, cfg in HEADS.items() if 'projector' in cfg]
CONTRASTIVE = [name for name in PROJECTING if 'order' not in name]


def identity_projections(head):
    """Features are embeddings, but for their length."""
    for name in ('projector', 'predictor', 'target_projector'):
        if hasattr(head, name):
            setattr(head, name, nn.Identity())


@pytest.mark.parametrize('name', ['vince', 'nnclr', 'neighbour', 'seco_order'])
def test_weight_scales_the_loss_of_later_heads_alone(name):
    values = []
    for weight in (1.0, 0.25):
        head = build_head(name, loss_weight=weight)
        apply(head, *batch(head))
        values.append(apply(head, *batch(head, 1)))
    assert values[0]['loss'] > 0
    assert values[1]['loss'] == values[0]['loss'] * 0.25
    assert values[1]['acc'] == values[0]['acc']


@pytest.mark.parametrize('name', HEADS)
def test_gradients_reach_the_online_side_alone(name):
    head = build_head(name)
    apply(head, *batch(head))  # fills the queue
    online, target, fields = batch(head, 1)
    for view in (*online.values(), *target.values()):
        view.requires_grad_()
    apply(head, online, target, fields)['loss'].backward()
    assert all(view.grad.abs().sum() > 0 for view in online.values())
    assert all(view.grad is None for view in target.values())
    for key, parameter in head.named_parameters():
        if key.startswith('target_projector.'):
            assert not parameter.requires_grad and parameter.grad is None, key
        else:
            assert parameter.grad.abs().sum() > 0, key
    assert not any(buffer.requires_grad for buffer in head.buffers())


@pytest.mark.parametrize('name', CONTRASTIVE)
def test_gradient_equals_finite_differences(name):
    head = build_head(name, temperature=0.5)
    apply(head, *batch(head))
    online, target, fields = batch(head, 1)

    def loss(*views):
        torch.manual_seed(0)
        views = dict(zip(online, views, strict=True))
        return apply(deepcopy(head), views, target, fields)['loss']  # the queue moves on

    views = [view.requires_grad_() for view in online.values()]
    assert torch.autograd.gradcheck(loss, views)


@pytest.mark.parametrize('name', CONTRASTIVE)
def test_collapsed_embeddings_give_chance_level_while_the_queue_fills(name):
    head = build_head(name)
    if head.target_views:
        head.target_projector.sync()
    same = torch.ones(N, SEGMENTS, CHANNELS, dtype=torch.float64)
    views = {v: same for v in head.online_views}, {v: same for v in head.target_views}
    for step in range(5):
        filled = int(head.queue.num_filled) if hasattr(head, 'queue') else None
        chance = head.chance_level(N, filled)
        loss = apply(head, *views, batch(head, step)[2])['loss'].item()
        assert loss == pytest.approx(chance, rel=1e-6, abs=1e-12), step
    if hasattr(head, 'queue'):
        assert filled == head.queue.size and chance == head.chance_level(N)


@pytest.mark.parametrize('name', PROJECTING)
def test_random_embeddings_give_about_chance_level_while_the_queue_fills(name):
    """The temperature is 1: below, the few most similar of many random negatives weigh more."""
    num = 150
    whole = dict(in_channels=CHANNELS, out_channels=CHANNELS)
    changes = {
        part: HEADS[name][part] | whole
        for part in ('projector', 'predictor')
        if part in HEADS[name]
    }
    if 'queue_size' in HEADS[name]:
        changes['queue_size'] = 3 * num
    if name in CONTRASTIVE:
        changes['temperature'] = 1.0
    head = build_head(name, **changes)
    identity_projections(head)
    for step in range(4):
        filled = int(head.queue.num_filled) if hasattr(head, 'queue') else None
        loss = apply(head, *batch(head, step, num=num))['loss'].item()
        assert loss == pytest.approx(head.chance_level(num, filled), rel=0.05), step


@pytest.mark.parametrize(
    ('name', 'changes', 'chance'),
    [
        ('vince', dict(queue_size=65536, num_segments=4), math.log(1 + 65536 + 4 * 63)),
        ('nnclr', dict(), math.log(64)),
        ('neighbour', dict(queue_size=65536), math.log(65536)),
        ('seco_order', dict(), math.log(2)),
        ('video', dict(queue_size=65536, query_views=(0, 1), key_views=(0, 1)), 11.0904),
    ],
)
def test_chance_levels_of_later_heads(name, changes, chance):
    head = build_head(name, **changes)
    assert head.chance_level(64) == pytest.approx(chance, abs=1e-4)
    assert '\n' not in head.describe()
    if 'queue_size' in changes:
        assert str(changes['queue_size']) in head.describe()


@pytest.mark.parametrize('name', HEADS)
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


@pytest.mark.parametrize('name', HEADS)
def test_bfloat16_features_under_autocast_give_the_float32_loss(name):
    exact, half = build_head(name), build_head(name).float()
    for step in range(3):
        online, target, fields = batch(exact, step)
        torch.manual_seed(step)
        expected = apply(exact, online, target, fields)['loss']
        torch.manual_seed(step)
        views = ({v: x.bfloat16() for v, x in view.items()} for view in (online, target))
        with torch.autocast('cpu', torch.bfloat16):
            value = apply(half, *views, fields)
        assert value['loss'].dtype == torch.float32
        assert value['loss'].item() == pytest.approx(expected.item(), rel=0.03, abs=1e-12)
        assert {x.dtype for x in value.get('pair', ())} <= {torch.float32}


@pytest.mark.parametrize('name', ['inter', 'intra'])
def test_a_query_view_of_the_query_alone(name):
    """As SeCo has it: the query's segment is fixed, and its view needs no other."""
    head = build_head(name, query_segment=0)
    whole, target = features(0), features(2, seed=1)
    alone = {0: whole[0][:, :1]}
    for _ in range(2):  # the second time with a queue
        value = head.loss(alone, target)['loss']
    again = build_head(name, query_segment=0)
    for _ in range(2):
        expected = again.loss(whole, target)['loss']
    assert value == expected
    with pytest.raises(UserError, match="query_segment is 'random', but the query view has 1 seg"):
        build_head(name).loss(alone, target)
    with pytest.raises(UserError, match='query_segment is 1, but a view has 1 segments'):
        build_head(name, query_segment=1).loss(alone, target)
