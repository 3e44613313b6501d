"""kNN accuracy against a loop over votes."""

import math

import numpy as np
import pytest
from processes import run_in_processes

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, knn, knn_accuracy


def feature_set(features, labels, source='set', names=None):
    names = names or [f'{source}/{i}.mp4' for i in range(len(labels))]
    return FeatureSet(np.asarray(features, dtype=np.float32), np.asarray(labels), names, source)


@pytest.fixture
def blobs():
    """Gallery and queries of seven overlapping classes, labelled 0, 3, ..., 18."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(7, 6))

    def draw(count, source):
        labels = rng.integers(7, size=count)
        return feature_set(centres[labels] + 1.5 * rng.normal(size=(count, 6)), 3 * labels, source)

    return draw(150, 'gallery'), draw(80, 'query')


def slow(gallery, query, k, temperature, leave_one_out=False):
    """Shares of the queries whose class has the largest, or one of the five largest, votes."""
    top1 = top5 = 0
    for feature, label, name in zip(query.features, query.labels, query.names, strict=True):
        neighbours = []
        for other, its_label, its_name in zip(
            gallery.features, gallery.labels, gallery.names, strict=True
        ):
            if leave_one_out and its_name == name:
                continue
            a, b = feature.astype(np.float64), other.astype(np.float64)
            cosine = sum(a * b) / math.sqrt(sum(a * a)) / math.sqrt(sum(b * b))
            neighbours.append((cosine, its_label))
        votes = {}
        for cosine, its_label in sorted(neighbours, reverse=True)[:k]:
            votes[its_label] = votes.get(its_label, 0) + math.exp(cosine / temperature)
        order = sorted(votes, key=lambda its_label: (-votes[its_label], its_label))
        top1 += label == order[0]
        top5 += label in order[:5]
    return 100 * top1 / len(query), 100 * top5 / len(query)


@pytest.mark.parametrize(('k', 'temperature'), [(1, 0.07), (3, 0.07), (20, 0.07), (150, 1.0)])
def test_votes_are_those_of_a_loop(blobs, k, temperature):
    result = knn_accuracy(*blobs, k, temperature)
    top1, top5 = slow(*blobs, k, temperature)
    assert (result['top1'], result['top5']) == (round(top1, 2), round(top5, 2))
    assert 100 / 7 < top1 < top5 + (k == 1)  # a problem that can tell
    assert result['chance'] == 14.29
    assert [result[f'num_{name}'] for name in ('gallery', 'query', 'classes')] == [150, 80, 7]
    assert (result['k'], result['temperature'], result['dim']) == (k, temperature, 6)


def test_leave_one_out_is_a_loop_over_the_others(blobs):
    videos = blobs[0]
    result = knn_accuracy(videos, videos, 9, leave_one_out=True)
    top1, top5 = slow(videos, videos, 9, 0.07, leave_one_out=True)
    assert (result['top1'], result['top5']) == (round(top1, 2), round(top5, 2))
    assert knn_accuracy(videos, videos, 1)['top1'] == 100  # each finds itself
    assert top1 < 100


def test_the_temperature_decides_between_near_and_many():
    """One neighbour at cosine 0.8 against three at 0.6: equal where 0.2 / temperature is ln 3."""
    angle = np.arccos([0.8, 0.6, 0.6, 0.6])
    gallery = feature_set(np.stack([np.cos(angle), np.sin(angle)], axis=1), [1, 0, 0, 0])
    query = feature_set([[1.0, 0.0]], [1], 'query')
    balance = 0.2 / math.log(3)
    assert knn_accuracy(gallery, query, 4, balance * 0.99)['top1'] == 100
    assert knn_accuracy(gallery, query, 4, balance * 1.01)['top1'] == 0


@pytest.mark.parametrize('temperature', [1e-2, 1e-4, 1e-9])
def test_a_small_temperature_leaves_the_nearest_neighbour(blobs, temperature):
    """exp(1 / 0.0001) is beyond float64, and exp of the others below it."""
    with np.errstate(over='raise', invalid='raise'):
        result = knn_accuracy(*blobs, 20, temperature)
    nearest = knn_accuracy(*blobs, 1)
    if temperature < 1e-3:
        assert result['top1'] == nearest['top1']
    assert result['top5'] > nearest['top5']  # the votes of the others still rank


def test_a_class_without_a_vote_is_no_hit():
    """Two neighbours vote for classes 8 and 9; the rest of the top 5 is empty, not 0, 1 and 2."""
    features = np.eye(10)
    gallery = feature_set(features, np.arange(10))
    query = feature_set([features[9] + 0.5 * features[8]] * 10, np.arange(10), 'query')
    result = knn_accuracy(gallery, query, 2)
    assert (result['top1'], result['top5'], result['chance']) == (10, 20, 10)


def test_of_equal_votes_the_smaller_label_wins():
    gallery = feature_set([[0.0, 1.0], [0.0, 1.0]], [5, 2])
    assert knn_accuracy(gallery, feature_set([[0.0, 1.0]], [2], 'query'), 2)['top1'] == 100


def test_a_class_that_the_gallery_lacks_is_missed():
    gallery = feature_set([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    query = feature_set([[0.0, 1.0], [0.0, 1.0]], [0, 7], 'query')
    result = knn_accuracy(gallery, query, 1)
    assert (result['top1'], result['chance'], 'top5' in result) == (50, 50, False)


def test_ties_that_the_order_of_the_list_decides_are_counted(blobs):
    assert knn_accuracy(*blobs, 5)['tied'] == 0
    axes = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    gallery = feature_set(axes, [0, 1, 2])
    # The first finds row 0; the second, rows 1 and 2, of which one votes; the third, at 45 degrees
    # to all, any.
    query = feature_set([*axes[:2], [1.0, 1.0]], [0, 1, 2], 'query')
    assert knn_accuracy(gallery, query, 1)['tied'] == 66.67
    # Now all of what ties votes for the second, and classes 1 and 2 get the same.
    assert knn_accuracy(gallery, feature_set([axes[1]], [1], 'query'), 2)['tied'] == 100
    assert knn_accuracy(gallery, feature_set([axes[0]], [1], 'query'), 3)['tied'] == 0


def test_videos_that_vote_for_themselves_are_counted(blobs):
    gallery, query = blobs
    query.names = np.concatenate([gallery.names[:3], query.names[3:]])
    assert knn_accuracy(gallery, query, 1)['num_shared'] == 3
    assert knn_accuracy(gallery, gallery, 1, leave_one_out=True)['num_shared'] == 0


def accuracies(rank, gallery, query, one):
    """The body of each process; how many queries it has searched with."""
    shares, search = [], knn.search_exactly

    def watched(*args, rows, **kwargs):
        shares.append(len(rows))
        return search(*args, rows=rows, **kwargs)

    knn.search_exactly = watched
    knn.VOTES = 70  # ten queries at a time
    return [knn_accuracy(gallery, query, 9), knn_accuracy(gallery, one, 9)], shares


def test_processes_share_the_queries(blobs, tmp_path):
    gallery, query = blobs
    query = feature_set(query.features[:79], query.labels[:79], 'query')
    one = feature_set(query.features[:1], query.labels[:1], 'query')
    expected = [knn_accuracy(gallery, query, 9), knn_accuracy(gallery, one, 9)]
    ranks = run_in_processes(accuracies, tmp_path, gallery, query, one)
    assert ranks == [(expected, [40, 1]), (expected, [39, 0])]
    assert 0 < expected[0]['top1'] < expected[0]['top5'] < 100


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(k=0), 'cannot find 0 neighbours in gallery'),
        (dict(k=151), 'cannot find 151 neighbours in gallery, it has 150 videos; use a smaller K'),
        (dict(temperature=0), 'temperature is 0; use a number above 0'),
        (dict(temperature=-0.07), 'temperature is -0.07'),
        (dict(temperature=math.nan), 'temperature is nan'),
    ],
)
def test_wrong_arguments_are_refused(blobs, arguments, words):
    with pytest.raises(UserError) as error:
        knn_accuracy(*blobs, **arguments)
    assert words in str(error.value)
    assert '\n' not in str(error.value)


def test_wrong_sets_are_refused(blobs):
    gallery, query = blobs
    with pytest.raises(UserError, match='it has 149 videos besides the query itself'):
        knn_accuracy(gallery, gallery, 150, leave_one_out=True)
    unlabelled = feature_set(query.features, [-1] * 80, 'unlabelled')
    for pair in ((unlabelled, query), (gallery, unlabelled)):
        with pytest.raises(UserError, match="unlabelled: 'labels' of 80 of 80 videos are unknown"):
            knn_accuracy(*pair)
    with pytest.raises(UserError, match='have 6 columns, those of .* 5'):
        knn_accuracy(gallery, feature_set(query.features[:, :5], query.labels))
    clips = FeatureSet(query.features, query.labels, query.names, 'clips.npz', np.zeros(80, int))
    for pair in ((clips, query), (gallery, clips)):
        with pytest.raises(UserError, match='clips.npz: a row is a frame or clip'):
            knn_accuracy(*pair)
