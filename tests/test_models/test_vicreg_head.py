"""VICReg against the paper's equations, one number at a time in float64."""

import math
from itertools import combinations

import pytest
import torch
from head_helpers import N, build_head, features, mean, refused


def slow_covariance(rows):
    """C(Z), Eq. 3: the covariance matrix of a list of embeddings."""
    centres = [mean(column) for column in zip(*rows, strict=True)]
    return [
        [
            sum((row[i] - centres[i]) * (row[j] - centres[j]) for row in rows) / (len(rows) - 1)
            for j in range(len(centres))
        ]
        for i in range(len(centres))
    ]


def slow_variance(rows, eps=1e-4):
    """v(Z), Eq. 1 and 2."""
    matrix = slow_covariance(rows)
    return mean([max(0, 1 - math.sqrt(matrix[d][d] + eps)) for d in range(len(matrix))])


def slow_covariance_term(rows):
    """c(Z), Eq. 4."""
    size = len(rows[0])
    matrix = slow_covariance(rows)
    return sum(matrix[i][j] ** 2 for i in range(size) for j in range(size) if i != j) / size


def slow_invariance(rows, others):
    """s(Z, Z'), Eq. 5, of each dimension."""
    pairs = zip(sum(rows, []), sum(others, []), strict=True)
    return mean([(a - b) ** 2 for a, b in pairs])


@torch.no_grad()
def embed(head, online):
    """[view][sample][dimension]."""
    return {view: head.projector(clips.mean(dim=1)).tolist() for view, clips in online.items()}


@pytest.mark.parametrize('scale', [1, 8])  # with and without dimensions that vary enough
@pytest.mark.parametrize(('views', 'num_segments'), [((0, 1), 1), ((0, 1), 3), ((2, 0, 5), 1)])
def test_loss_and_its_terms(views, num_segments, scale):
    head = build_head('VICRegHead', views=views, loss_weight=0.5)
    with torch.no_grad():
        head.projector.layers[-1].weight.mul_(scale)
    online = features(*views, num_segments=num_segments)
    value = head.loss(online, {})
    rows = embed(head, online)
    invariance = mean([slow_invariance(rows[i], rows[j]) for i, j in combinations(views, 2)])
    variance = mean([slow_variance(rows[view]) for view in views])
    covariance = 2 * mean([slow_covariance_term(rows[view]) for view in views])
    assert value['invariance'].item() == pytest.approx(invariance)
    assert value['variance'].item() == pytest.approx(variance)
    assert value['covariance'].item() == pytest.approx(covariance)
    loss = 25 * invariance + 25 * variance + covariance
    assert value['loss'].item() == pytest.approx(0.5 * loss)


def test_weights_of_the_terms():
    head = build_head('VICRegHead', invariance_weight=2, variance_weight=3, covariance_weight=4)
    value = head.loss(features(0, 1), {})
    expected = 2 * value['invariance'] + 3 * value['variance'] + 4 * value['covariance']
    torch.testing.assert_close(value['loss'].detach(), expected)


def test_gradient_equals_finite_differences():
    head = build_head('VICRegHead')
    views = [view.requires_grad_() for view in features(0, 1, num=3, num_segments=1).values()]
    assert torch.autograd.gradcheck(lambda *x: head.loss(dict(enumerate(x)), {})['loss'], views)


@pytest.mark.parametrize(('weight', 'deviation'), [(25, 0.25), (10, 0.625), (5, 1)])
def test_chance_is_the_least_loss_of_views_that_have_nothing_in_common(weight, deviation):
    """Of independent dimensions; a grid of standard deviations has its least loss there."""
    head = build_head('VICRegHead', invariance_weight=weight)
    head.projector = torch.nn.Identity()
    online = features(0, 1, num_segments=1, num=4000)
    grid = torch.arange(0.125, 1.3, 0.125).tolist()
    losses = [head.loss({v: x * s for v, x in online.items()}, {})['loss'].item() for s in grid]
    assert grid[losses.index(min(losses))] == deviation
    assert min(losses) == pytest.approx(head.chance_level(N), rel=0.03)


def test_the_pair_are_directions_of_two_views():
    head = build_head('VICRegHead')
    online = features(0, 1)
    query, positive = head.loss(online, {})['pair']
    rows = [torch.tensor(rows).double() for rows in embed(head, online).values()]
    first, second = (x / x.norm(dim=1, keepdim=True) for x in rows)
    torch.testing.assert_close(query, torch.cat([first, second]))
    torch.testing.assert_close(positive, torch.cat([second, first]))


def test_without_invariance_it_is_no_task():
    with refused('VICRegHead.invariance_weight is 0; set it above 0'):
        build_head('VICRegHead', invariance_weight=0)
