"""SwAV: its formulas and head against loops in float64, and a run with the hook it needs."""

import logging
import math
from functools import partial
from types import SimpleNamespace

import head_helpers
import pytest
import torch
import torch.nn.functional as F
from head_helpers import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop, Runner
from tiny_vclr import CHANNELS, tiny_config, write_videos

from mmssl_video.engine.hooks import HeadEpochHook
from mmssl_video.models.losses import sinkhorn, swapped_prediction

N = 6
P = 4
PROJECTOR = dict(type='ProjectionMLP', in_channels=CHANNELS, hidden_channels=16, out_channels=5)


SETTINGS = dict(projector=PROJECTOR, num_prototypes=P)


def build_head(epoch=1, **changes):
    head = head_helpers.build_head('SwAVHead', **SETTINGS | dict(freeze_epochs=1) | changes)
    if epoch is not None:
        head.set_epoch(epoch)
    return head


features = partial(head_helpers.features, num_segments=1, num=N)


def slow_sinkhorn(scores, epsilon, iterations):
    """Appendix A.1 of the paper, entry by entry: rows are prototypes, columns samples."""
    batch, prototypes = range(len(scores)), range(len(scores[0]))
    q = [[math.exp(scores[b][p] / epsilon) for b in batch] for p in prototypes]
    total = sum(map(sum, q))
    q = [[entry / total for entry in row] for row in q]
    for _ in range(iterations):
        q = [[entry / sum(row) / len(prototypes) for entry in row] for row in q]
        sums = [sum(row[b] for row in q) for b in batch]
        q = [[row[b] / sums[b] / len(batch) for b in batch] for row in q]
    return [[q[p][b] * len(batch) for p in prototypes] for b in batch]


def slow_swap(scores, codes, temperature):
    """Mean cross-entropy of [N, P] lists."""
    losses = []
    for s, q in zip(scores, codes, strict=True):
        total = math.log(sum(math.exp(x / temperature) for x in s))
        losses.append(sum(qp * (total - sp / temperature) for qp, sp in zip(q, s, strict=True)))
    return sum(losses) / len(losses)


# Codes ------------------------------------------------------------------------------------------


@given(
    st.integers(1, 8),
    st.integers(1, 6),
    st.integers(1, 5),
    st.floats(0.03, 1.0),
    st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_sinkhorn_equals_the_slow_loop(batch, prototypes, iterations, epsilon, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, prototypes, generator=generator, dtype=torch.float64) * 2 - 1
    codes = sinkhorn(scores, epsilon, iterations)
    expected = slow_sinkhorn(scores.tolist(), epsilon, iterations)
    torch.testing.assert_close(codes, torch.tensor(expected, dtype=torch.float64))


def random_scores(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_limit_is_the_optimum_of_equation_3():
    """There, ln Q is S / epsilon plus a term of the row and one of the column."""
    scores, epsilon = random_scores(7, 4), 0.2
    codes = sinkhorn(scores, epsilon, 500)
    torch.testing.assert_close(sinkhorn(codes.log(), 1.0, 1), codes)  # a fixed point
    rest = codes.log() - scores / epsilon
    rest = rest - rest.mean(dim=0) - rest.mean(dim=1, keepdim=True) + rest.mean()
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-9)

    def objective(q):
        return (q * scores).sum() - epsilon * (q * q.log()).sum()

    for _ in range(20):  # no other assignment with the same sums is better
        step = torch.randn(7, 4, dtype=torch.float64)
        step = step - step.mean(dim=0) - step.mean(dim=1, keepdim=True) + step.mean()
        assert objective(codes + 1e-2 * codes.min() * step) < objective(codes)


@pytest.mark.parametrize('scale', [1e3, 1e6, 1e30])
def test_extreme_scores_give_valid_codes(scale):
    """Also where a prototype, or a sample, is far from all others: no share may become 0 / 0."""
    scores = scale * (random_scores(6, 4).float() * 2 - 1)
    scores[:, 1] -= 3 * scale
    scores[2] += 5 * scale
    codes = sinkhorn(scores, 0.05, 3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(6), rtol=1e-4, atol=1e-4)


# Swapped prediction -----------------------------------------------------------------------------


def test_swapped_prediction_equals_the_slow_loop():
    scores, codes = random_scores(5, 7), sinkhorn(random_scores(7, 5).T, 0.2, 3)
    value = swapped_prediction(scores, codes, 0.1)
    assert value.item() == pytest.approx(slow_swap(scores.tolist(), codes.tolist(), 0.1), rel=1e-12)


def test_swapped_prediction_gradient_equals_finite_differences():
    codes = sinkhorn(random_scores(3, 4), 0.2, 3)
    scores = random_scores(4, 3).T.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, codes, 0.3), scores)


def test_half_precision_and_autocast_compute_in_float32():
    scores, other = random_scores(2, 8, 20).float()
    codes = sinkhorn(other, 0.05, 3)
    exact = swapped_prediction(scores, codes, 0.1)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(sinkhorn(other, 0.05, 3), codes)
        assert torch.equal(swapped_prediction(scores, codes, 0.1), exact)
        half_codes = sinkhorn(other.bfloat16(), 0.05, 3)
        half = swapped_prediction(scores.bfloat16(), half_codes, 0.1)
    assert {x.dtype for x in (exact, codes, half, half_codes)} == {torch.float32}
    assert torch.equal(half_codes, sinkhorn(other.bfloat16().float(), 0.05, 3))


# The head ---------------------------------------------------------------------------------------


@torch.no_grad()
def slow_loss(head, online, queued=None):
    """Loss and accuracy, one pair of views and one sample at a time.

    ``queued`` holds a list of earlier embeddings for each view.
    """
    prototypes = [w / w.norm() for w in head.prototypes.weight]
    embedded = {
        view: [(z := head.projector(clips.mean(dim=0)[None])[0]) / z.norm() for clips in samples]
        for view, samples in online.items()
    }
    scores, codes = {}, {}
    for view, embeddings in embedded.items():
        rows = embeddings + (queued[view] if queued else [])
        rows = [[float(z @ prototype) for prototype in prototypes] for z in rows]
        scores[view] = rows[:N]
        codes[view] = slow_sinkhorn(rows, head.epsilon, head.sinkhorn_iterations)[:N]
    losses, right = [], []
    for i in online:
        for j in online:
            if i != j:
                losses.append(slow_swap(scores[j], codes[i], head.temperature))
                right += [
                    s.index(max(s)) == q.index(max(q))
                    for s, q in zip(scores[j], codes[i], strict=True)
                ]
    return sum(losses) / len(losses), 100 * sum(right) / len(right), embedded


@pytest.mark.parametrize(
    ('views', 'num_segments', 'changes'),
    [
        ((0, 1), 1, {}),
        ((0, 1), 3, dict(temperature=0.3, epsilon=0.2, sinkhorn_iterations=5)),
        ((0, 1, 2), 1, {}),
        ((4, 1), 1, dict(freeze_epochs=0)),
    ],
)
def test_head_loss_and_accuracy(views, num_segments, changes):
    head = build_head(views=views, **changes)
    online = features(*views, num_segments=num_segments)
    for view in views[1:]:  # near enough for some predictions to be right
        online[view] = online[views[0]] + 0.4 * online[view]
    value = head.loss(online, {})
    loss, acc, embedded = slow_loss(head, online)
    assert acc not in (0, 50, 100)  # the share of wrong ones is another
    assert value['loss'].item() == pytest.approx(loss, rel=1e-9)
    assert value['acc'].item() == pytest.approx(acc, rel=1e-6)
    queries, positives = value['pair']
    first, second = torch.stack(embedded[views[0]]), torch.stack(embedded[views[1]])
    torch.testing.assert_close(queries[:N], first)
    torch.testing.assert_close(positives[:N], second)
    assert len(queries) == len(positives) == N * len(views) * (len(views) - 1)


def test_head_gradient_goes_through_predictions_only():
    """As with codes that are constants."""
    head, online = build_head(), features(0, 1)
    with torch.no_grad():
        head.prototypes.weight.copy_(F.normalize(head.prototypes.weight, dim=1))
    head.loss(online, {})['loss'].backward()
    scores = [head.embed_online(online[i][:, 0]) @ head.prototypes.weight.T for i in (0, 1)]
    codes = [sinkhorn(one.detach(), 0.05, 3) for one in scores]
    loss = sum(swapped_prediction(scores[i], codes[1 - i], 0.1) / 2 for i in (0, 1))
    parameters = list(head.parameters())
    for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(parameter.grad, expected)
        assert expected.abs().max() > 1e-3


def test_prototypes_are_normalised_before_each_use():
    head = build_head()
    with torch.no_grad():
        head.prototypes.weight.mul_(torch.arange(1.0, P + 1)[:, None] * 7)
    before = head.prototypes.weight.clone()
    head.loss(features(0, 1), {})['loss'].backward()
    torch.testing.assert_close(head.prototypes.weight, F.normalize(before, dim=1))
    assert head.prototypes.weight.grad.abs().sum() > 0
    assert head.prototypes.bias is None and head.prototypes.weight.shape == (P, 5)


@pytest.mark.parametrize('freeze_epochs', [0, 1, 3])
def test_prototypes_are_frozen_for_the_first_epochs(freeze_epochs):
    """Zero gradients, not None: DDP refuses parameters without. Weight decay only shrinks them."""
    head = build_head(freeze_epochs=freeze_epochs, temperature=0.5)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-2)
    start = F.normalize(head.prototypes.weight.detach(), dim=1)
    for epoch in range(4):
        frozen = epoch < freeze_epochs
        head.set_epoch(epoch)
        optimizer.zero_grad()
        online = features(0, 1, seed=epoch)
        value = head.loss(online, {})['loss']
        assert value.item() == pytest.approx(slow_loss(head, online)[0])
        value.backward()
        optimizer.step()
        assert (head.prototypes.weight.grad == 0).all() == frozen
        now = F.normalize(head.prototypes.weight.detach(), dim=1)
        assert torch.allclose(now, start, rtol=0, atol=1e-12) == frozen


@pytest.mark.parametrize(
    ('start_epoch', 'expected'),
    # In the first step there is nothing to differ by. Full after four batches of 6; it wraps.
    [(3, [True] + [False] * 5 + [True] * 2), (0, [True] + [False] * 3 + [True] * 4)],
)
def test_queue_joins_the_codes_from_its_epoch_and_when_full(start_epoch, expected):
    """A queue of 20 samples in epochs of two batches."""
    head = build_head(queue_size=20, queue_start_epoch=start_epoch)
    pushed, used = {0: [], 1: []}, []
    for step in range(8):
        head.set_epoch(step // 2)
        online = features(0, 1, seed=step)
        value = head.loss(online, {})['loss'].item()
        queued = {view: embeddings[-20:] for view, embeddings in pushed.items()}
        without, _, embedded = slow_loss(head, online)
        used.append(value == pytest.approx(slow_loss(head, online, queued)[0], rel=1e-9))
        assert used[-1] or value == pytest.approx(without, rel=1e-9)
        for view, embeddings in embedded.items():
            pushed[view] += embeddings
        head.prototypes.weight.data += 0.1  # what was pushed is scored by the prototypes of now
    assert used == expected


def test_state_dict_continues_a_run():
    heads = [build_head(queue_size=12, queue_start_epoch=0) for _ in range(2)]
    for step in range(3):
        heads[0].loss(features(0, 1, seed=step), {})
    heads[1].load_state_dict(heads[0].state_dict())
    values = [head.loss(features(0, 1, seed=9), {})['loss'] for head in heads]
    assert values[0] == values[1]
    names = ['queue.embeddings', 'queue.pointer', 'queue.num_filled', 'prototypes.weight']
    assert set(names) <= heads[0].state_dict().keys()


def test_the_epoch_must_be_told_to_a_head_that_depends_on_it():
    online = features(0, 1)
    for changes in (dict(), dict(freeze_epochs=0, queue_size=12)):
        with refused(r"add dict\(type='HeadEpochHook'\) to custom_hooks"):
            build_head(epoch=None, **changes).loss(online, {})
    told, untold = (build_head(epoch, freeze_epochs=0) for epoch in (7, None))
    assert told.loss(online, {})['loss'] == untold.loss(online, {})['loss']


def test_equal_similarities_give_chance_level():
    """One embedding for all, at the same angle to all prototypes."""
    head = build_head()
    with torch.no_grad():
        head.prototypes.weight.copy_(torch.eye(P, 5))
        head.projector.layers[2].weight.zero_()
        head.projector.layers[2].bias.fill_(1)
    value = head.loss(features(0, 1), {})['loss']
    assert value.item() == pytest.approx(math.log(P)) == head.chance_level(N)
    assert 'over 4 prototypes' in head.describe()
    assert 'queue 20 from epoch 15' in build_head(queue_size=20).describe()


@pytest.mark.parametrize('queue_size', [0, 7, 8])  # the last is enough, once it is in use
def test_too_few_samples_for_the_prototypes_are_warned_of_once(queue_size):
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    head = build_head(num_prototypes=N + 8, queue_size=queue_size)
    for _ in range(2):
        head.loss(features(0, 1), {})
    logger.removeHandler(handler)
    (line,) = lines
    assert line.startswith('SwAVHead: 6 samples, with the queue where it is in use, cannot use 14 ')


# The hook ---------------------------------------------------------------------------------------


class Watch(Hook):
    """Notes losses, the head's epoch, whether its prototypes have turned, whether they have moved.

    They turn in an iteration, and move since the beginning.
    """

    def before_train(self, runner):
        self.start, self.seen, self.unmoved = self.prototypes(runner), [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = self.prototypes(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        now = self.prototypes(runner)
        turned = (F.normalize(now, dim=1) - F.normalize(self.before, dim=1)).abs().max() > 1e-6
        self.seen.append((outputs['loss'].item(), runner.model.heads['swav'].epoch, turned.item()))
        self.unmoved.append(torch.equal(now, self.start))

    @staticmethod
    def prototypes(runner):
        return runner.model.heads['swav'].prototypes.weight.detach().clone()


def train(videos, work_dir, name, epochs, resume=False, freeze_epochs=1, **optim):
    cfg = tiny_config(videos, work_dir, name, epochs=epochs)
    changes = dict(queue_size=8, queue_start_epoch=2, freeze_epochs=freeze_epochs)
    cfg.model.heads = dict(swav=dict(type='SwAVHead', **SETTINGS, **changes))
    cfg.optim_wrapper = dict(cfg.optim_wrapper, **optim)
    cfg.custom_hooks.append(dict(type='HeadEpochHook'))
    cfg.resume = resume
    runner, watch = Runner.from_cfg(cfg), Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    return watch


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Two batches an epoch."""
    return write_videos(tmp_path_factory.mktemp('swav') / 'videos', 8)


def test_a_resumed_run_goes_on_with_its_epoch(videos, tmp_path):
    whole = train(videos, tmp_path / 'whole', 'swav whole', 4).seen
    epochs = 0, 0, 1, 1, 2, 2, 3, 3
    assert [seen[1:] for seen in whole] == [(epoch, epoch > 0) for epoch in epochs]
    train(videos, tmp_path / 'parts', 'swav first', 2)
    rest = train(videos, tmp_path / 'parts', 'swav second', 4, resume=True).seen
    assert rest == whole[4:]


@pytest.mark.parametrize(
    ('optimizer', 'accumulative_counts', 'wrapper'),
    [
        ('AdamW', 2, 'Bf16OptimWrapper'),
        ('Adam', 1, 'Bf16OptimWrapper'),
        ('LARS', 2, 'OptimWrapper'),
    ],
)
def test_frozen_prototypes_stay_to_the_bit(
    videos, tmp_path, optimizer, accumulative_counts, wrapper
):
    """Weight decay and momentum would move what has a gradient of zeros."""
    watch = train(
        videos,
        tmp_path,
        f'frozen under {optimizer}',
        epochs=2,
        type=wrapper,
        optimizer=dict(type=optimizer, lr=0.01, weight_decay=0.5),
        accumulative_counts=accumulative_counts,
    )
    assert watch.unmoved == [True] * 2 + [False] * 2


def test_hook_tells_only_the_heads_that_ask():
    told = []
    heads = dict(swav=SimpleNamespace(set_epoch=told.append), moco=SimpleNamespace())
    loop = object.__new__(IterBasedTrainLoop)
    runner = SimpleNamespace(model=SimpleNamespace(heads=heads), epoch=3, train_loop=loop)
    with refused('model.heads.swav need an EpochBasedTrainLoop'):
        HeadEpochHook().before_train_epoch(runner)
    assert told == []
    del heads['swav']
    HeadEpochHook().before_train_epoch(runner)
