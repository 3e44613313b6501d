"""Fault 11 of `mmssl_video.compat`: AR@AN and its area, on any number of processes."""

import json
from math import floor

import numpy as np
import pytest
from mmaction.registry import METRICS
from mmaction.structures import ActionDataSample
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from processes import run_in_processes

from mmssl_video.errors import UserError

THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]
CONFIG = dict(type='ANetMetric', metric_type='AR@AN')


def make_video(number, num_proposals, num_actions):
    """Name, actions (start, end) and proposals (start, end, score) of a video of 100 s."""
    rng = np.random.default_rng([0, number])
    actions = np.sort(rng.uniform(0, 100, (num_actions, 2)), axis=1)
    proposals = np.sort(rng.uniform(0, 100, (num_proposals, 2)), axis=1)
    # Some are an action, moved, so that every threshold has its recall.
    near = min(num_proposals, 3 * num_actions)
    proposals[:near] = actions[np.arange(near) % max(num_actions, 1)]
    proposals[:near] += rng.normal(0, 3, (near, 2))
    scores = rng.permutation(num_proposals) / max(num_proposals, 1)
    return f'v_{number}', actions, np.column_stack([proposals, scores])


def as_batch(video):
    """What the metric gets for a video: the batch of the data loader and the predictions."""
    name, actions, proposals = video
    sample = ActionDataSample()
    annotations = [dict(segment=list(action), label='Jump') for action in actions]
    sample.set_metainfo(dict(video_name=name, annotations=annotations))
    found = [dict(segment=[start, end], score=score) for start, end, score in proposals]
    return dict(data_samples=[sample]), [dict(video_name=name, proposal_list=found)]


def score(videos, **options):
    """The metric's figures on these videos, in one process."""
    metric = METRICS.build(CONFIG | options)
    for video in videos:
        metric.process(*as_batch(video))
    return metric.evaluate(len(videos))


def slow_score(videos):
    """AR@AN by its definition, one action and one threshold after the other, in float64.

    AN is the average number of proposals, so that each video gives the same share of its own.
    """
    total = sum(len(proposals) for *_, proposals in videos)
    keep = min(1.0, 100 * len(videos) / total)
    kept = [proposals[np.argsort(-proposals[:, 2])] for *_, proposals in videos]
    kept = [proposals[: floor(len(proposals) * keep)] for proposals in kept]
    total = sum(map(len, kept))
    recalls = []
    for number in range(1, 101):
        found, actions = 0, 0
        for (_, ground_truth, _), proposals in zip(videos, kept, strict=True):
            taken = proposals[: floor(len(proposals) * number * len(videos) / total)]
            for action in ground_truth:
                overlaps = [overlap(action, proposal) for proposal in taken]
                for threshold in THRESHOLDS:
                    found += any(value >= threshold for value in overlaps)
                    actions += 1
        recalls.append(found / actions)
    area = sum((a + b) / 2 for a, b in zip(recalls[:-1], recalls[1:], strict=True))
    return {'auc': area} | {f'AR@{n}': recalls[n - 1] for n in (1, 5, 10, 100)}


def overlap(first, second):
    """Temporal intersection over union."""
    shared = max(0, min(first[1], second[1]) - max(first[0], second[0]))
    return shared / (first[1] - first[0] + second[1] - second[0] - shared)


def test_values_worked_out_by_hand():
    # 100 proposals of one video with the action [0, 10]: the best has an overlap of 0.72, over 5
    # of the 10 thresholds; the next 3 are shorter, the fifth is the action, the others miss it.
    proposals = np.array([[0, 7.2], *[[0, 3]] * 3, [0, 10], *[[50, 60]] * 95])
    proposals = np.column_stack([proposals, np.linspace(1, 0, 100)])
    video = 'v_a', np.array([[0, 10.0]]), proposals[::-1]
    # Trapezia between 1 and 100 proposals: 3 * 0.5 + 0.75 + 95 * 1.
    expected = {'AR@1': 0.5, 'AR@5': 1, 'AR@10': 1, 'AR@100': 1, 'auc': 97.25}
    assert score([video]) == pytest.approx(expected, abs=1e-6)

    # A second video of two actions that is never found: a third of the recall.
    missed = np.column_stack([np.full((100, 2), [80, 90]), np.linspace(1, 0, 100)])
    other = 'v_b', np.array([[0, 10.0], [20, 30]]), missed
    third = {key: value / 3 for key, value in expected.items()}
    assert score([video, other]) == pytest.approx(third, abs=1e-6)


@pytest.mark.parametrize(
    ('sizes', 'actions'),
    # Fewer and more than 100 a video; no share of one is a whole number, which floats could miss.
    [
        ((31, 37, 33), (1, 2, 3)),
        ((7, 1, 93), (1, 2, 3)),
        ((103, 107, 113), (1, 2, 3)),
        ((400, 1, 2), (1, 2, 3)),
        ((31, 0, 33, 37), (2, 3, 0, 1)),  # videos without proposals or actions
    ],
)
def test_definition(sizes, actions):
    videos = [make_video(i, *counts) for i, counts in enumerate(zip(sizes, actions, strict=True))]
    assert score(videos) == pytest.approx(slow_score(videos), abs=1e-6)


VIDEOS = [make_video(i, 20 + 9 * i, 1 + i % 3) for i in range(7)]


def _evaluate(rank, videos, path):
    metric = METRICS.build(CONFIG | dict(dump_config=dict(out=path, output_format='json')))
    evaluator = Evaluator(metric)
    rounds = []
    for chosen in (videos, videos[:4]):  # another round starts from nothing
        # As DefaultSampler: every other video each, and as many, so that one comes twice.
        padded = [*chosen, *chosen[: len(chosen) % 2]]
        for video in padded[rank::2]:
            batch, predictions = as_batch(video)
            evaluator.process(predictions, batch)
        scores = evaluator.evaluate(len(chosen))
        rounds.append({key: float(value) for key, value in scores.items()})
    return rounds


def test_two_processes_score_as_one(tmp_path):
    path = tmp_path / 'results.json'
    ranks = run_in_processes(_evaluate, tmp_path, VIDEOS, str(path))
    assert ranks[0] == ranks[1] == [score(VIDEOS), score(VIDEOS[:4])]
    results = json.loads(path.read_text())['results']
    assert results.keys() == {name[2:] for name, *_ in VIDEOS[:4]}
    assert results['3'] == as_batch(VIDEOS[3])[1][0]['proposal_list']


def test_config_and_predictions_stay_as_they_are(tmp_path):
    config = ConfigDict(CONFIG | dict(dump_config=dict(out='x.json', output_format='json')))
    config.metric_options = {'AR@AN': dict(max_avg_proposals=100)}
    before = config.to_dict()
    first, second = METRICS.build(config), METRICS.build(config)
    assert first.output_format == second.output_format == 'json'
    first.out = str(tmp_path / 'x.json')
    batch, predictions = as_batch(VIDEOS[0])
    first.process(batch, predictions)
    assert first.evaluate(1) == score(VIDEOS[:1])
    assert config.to_dict() == before
    assert predictions[0].keys() == {'video_name', 'proposal_list'}


def test_a_batch_predicted_in_part_is_an_error():
    (batch, predictions), (more, _) = as_batch(VIDEOS[0]), as_batch(VIDEOS[1])
    batch['data_samples'] += more['data_samples']
    with pytest.raises(UserError, match='only 1 of 2 videos .* set val_dataloader.batch_size=1'):
        METRICS.build(CONFIG).process(batch, predictions)


def test_other_metric_type_is_as_upstream(tmp_path):
    metric = METRICS.build(dict(type='ANetMetric', dump_config=dict(out=str(tmp_path / 'csv'))))
    rows = np.arange(10.0).reshape(2, 5)
    metric.process(dict(data_samples=[None]), [('v_a', rows)])
    assert metric.evaluate(1) == {}
    written = np.loadtxt(tmp_path / 'csv/v_a.csv', delimiter=',', skiprows=1)
    np.testing.assert_array_equal(written, rows)
