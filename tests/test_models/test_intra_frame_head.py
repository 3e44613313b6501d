"""VCLR's intra-frame objective against a loop in float64."""

import math

import pytest
import torch
from head_helpers import N, build_head, cross_entropy, features, mean, project, refused, similarity


@pytest.mark.parametrize('pairwise', [False, True])
@pytest.mark.parametrize(
    ('num_segments', 'query_segment'),
    [(2, 1), (3, 0), (3, 1), (3, 'random'), (5, 4)],
)
def test_intra_frame_loss(pairwise, num_segments, query_segment):
    head = build_head(
        'IntraFrameHead', query_segment=query_segment, pairwise=pairwise, num_segments=num_segments
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


def test_intra_frame_needs_another_frame():
    with refused('2 or more'):
        build_head('IntraFrameHead', num_segments=1)
