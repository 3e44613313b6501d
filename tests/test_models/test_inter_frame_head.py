"""VCLR's inter-frame objective against a loop in float64."""

import pytest
import torch
from head_helpers import (
    N,
    build_head,
    cross_entropy,
    features,
    mean,
    project,
    queue_list,
    refused,
    similarity,
)
from scipy.stats import chisquare
from tiny_vclr import SEGMENTS

from mmssl_video.models.heads.inter_frame import draw_query_segment


@pytest.mark.parametrize('query_segment', [0, 1, 2, 'random'])
def test_inter_frame_loss(query_segment):
    head = build_head('InterFrameHead', query_segment=query_segment, queue_size=12)
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
            losses.append(
                mean([cross_entropy(k, negatives, query, head.temperature) for k in keys])
            )
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


@pytest.mark.parametrize('name', ['InterFrameHead', 'IntraFrameHead'])
@pytest.mark.parametrize('segment', [-1, 3])
def test_query_segment_out_of_range(name, segment):
    head = build_head(name, query_segment=segment)
    with refused(f'query_segment is {segment}, but a view has 3 segments.*from 0 to 2'):
        head.loss(features(0), features(2))


@pytest.mark.parametrize('name', ['InterFrameHead', 'IntraFrameHead'])
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
    with refused("query_segment is 'random', but the query view has 1 seg"):
        build_head(name).loss(alone, target)
    with refused('query_segment is 1, but a view has 1 segments'):
        build_head(name, query_segment=1).loss(alone, target)


def test_views_are_settings():
    head = build_head('InterFrameHead', query_view=1, key_view=3)
    assert (head.online_views, head.target_views) == ((1,), (3,))
    swapped = build_head('InterFrameHead')
    online, target = features(0)[0], features(2, seed=1)[2]
    torch.manual_seed(0)
    value = head.loss({1: online}, {3: target})['loss']
    torch.manual_seed(0)
    assert value == swapped.loss({0: online}, {2: target})['loss']
