"""Retrieval: neighbours as scikit-learn and a plain loop find them, and R@K by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from sklearn.neighbors import NearestNeighbors

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, nearest_neighbours, retrieval


def feature_set(features, labels, names=None, source='set'):
    names = [f'{source}/{i}.mp4' for i in range(len(labels))] if names is None else names
    features = np.asarray(features, dtype=np.float32)
    return FeatureSet(features, np.asarray(labels), np.array(names), source)


def directions(*degrees):
    """Unit vectors in the plane, scaled: cosine must not see the length."""
    angles, lengths = np.deg2rad(degrees), np.arange(1, len(degrees) + 1)
    return np.stack([np.cos(angles) * lengths, np.sin(angles) * lengths], axis=1)


def test_recall_and_chance_by_hand():
    gallery = feature_set(directions(0, 40, 90, 180), [0, 1, 1, 0])
    # Nearest first: 0 40 90 180 | 90 40 0 180 (10° off each way) | 180 90 40 0.
    query = feature_set(directions(10, 80, 170), [1, 1, 5])
    result = retrieval(gallery, query, [1, 2, 4])
    np.testing.assert_array_equal(result.indices, [[0, 1, 2, 3], [2, 1, 0, 3], [3, 2, 1, 0]])
    np.testing.assert_allclose(
        result.similarities[0], np.cos(np.deg2rad([10, 30, 80, 170])), atol=1e-6
    )
    assert result.recall == {'R@1': 33.33, 'R@2': 66.67, 'R@4': 66.67}
    # Two of four videos match for two of three queries: 1/2, 1 - 1/6 and 1 of 2/3.
    assert result.chance == {'R@1': 33.33, 'R@2': 55.56, 'R@4': 66.67}
    assert result.num_without_match == 1
    assert result.per_class == {
        1: {'R@1': 50.0, 'R@2': 100.0, 'R@4': 100.0, 'num_query': 2},
        5: {'R@1': 0.0, 'R@2': 0.0, 'R@4': 0.0, 'num_query': 1},
    }


@pytest.mark.parametrize('chunks', [(7, 13), (1024, 8192)])
def test_equals_sklearn(tmp_path, chunks):
    """Of features in memory, or on disk if they are compared in small chunks."""
    rng = np.random.default_rng(0)
    gallery = feature_set(rng.normal(size=(200, 16)) + 0.5, rng.integers(0, 8, 200))
    query = feature_set(rng.normal(size=(50, 16)) + 0.5, rng.integers(0, 8, 50))
    if chunks == (7, 13):
        for name, features in (('gallery', gallery), ('query', query)):
            np.save(tmp_path / f'{name}.npy', features.features)
            features.features = np.load(tmp_path / f'{name}.npy', mmap_mode='r')
    indices, similarities = nearest_neighbours(
        gallery, query, 20, query_chunk=chunks[0], gallery_chunk=chunks[1]
    )
    reference = NearestNeighbors(n_neighbors=20, metric='cosine', algorithm='brute')
    distances, expected = reference.fit(gallery.features.astype(float)).kneighbors(
        query.features.astype(float)
    )
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(similarities, 1 - distances, atol=1e-6)
    assert (indices.dtype, similarities.dtype) == (np.int64, np.float64)

    recall = retrieval(gallery, query, [1, 5, 20]).recall
    for k in (1, 5, 20):
        hits = [
            label in gallery.labels[row[:k]]
            for label, row in zip(query.labels, expected, strict=True)
        ]
        assert recall[f'R@{k}'] == round(100 * sum(hits) / 50, 2)


def test_per_class_and_chance_as_a_slow_loop_has_them():
    rng = np.random.default_rng(1)
    names = np.array([f'{i}' for i in rng.integers(0, 25, 40)])  # some videos have several rows
    both = feature_set(rng.normal(size=(40, 5)), rng.integers(0, 6, 40), names)
    result = retrieval(both, both, [1, 3, 8], leave_one_out=True)
    unit = both.features.astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    hits, guesses = {}, []
    for i in range(40):
        others = [j for j in range(40) if names[j] != names[i]]
        others.sort(key=lambda j: -unit[i] @ unit[j])  # noqa: B023
        same = [both.labels[j] == both.labels[i] for j in others]
        hits.setdefault(both.labels[i], []).append([any(same[:k]) for k in (1, 3, 8)])
        # Without replacement: the chance that k draws miss every video of the class.
        miss = [
            np.prod([(len(same) - sum(same) - d) / (len(same) - d) for d in range(k)])
            for k in (1, 3, 8)
        ]
        guesses.append(1 - np.array(miss))
    for label, rows in hits.items():
        percent = 100 * np.mean(rows, axis=0)
        found = result.per_class[label]
        np.testing.assert_allclose([found[f'R@{k}'] for k in (1, 3, 8)], percent, atol=0.005)
        assert found['num_query'] == len(rows)
    assert list(result.per_class) == sorted(hits)
    np.testing.assert_allclose(
        list(result.chance.values()), 100 * np.mean(guesses, axis=0), atol=0.005
    )


def test_more_neighbours_than_the_largest_k():
    gallery = feature_set(np.eye(6), [0] * 6, [str(i) for i in range(6)])
    result = retrieval(gallery, gallery, [1], num_neighbours=4)
    assert (list(result.recall), result.indices.shape) == (['R@1'], (6, 4))
    result = retrieval(gallery, gallery, [1], num_neighbours=99, leave_one_out=True)
    assert result.indices.shape == (6, 5)


@settings(max_examples=40, deadline=None)
@given(
    seed=strategies.integers(0, 2**32 - 1),
    num_gallery=strategies.integers(1, 30),
    query_chunk=strategies.integers(1, 8),
    gallery_chunk=strategies.integers(1, 31),
    data=strategies.data(),
)
def test_ties_go_to_the_earlier_row_whatever_the_chunks(
    seed, num_gallery, query_chunk, gallery_chunk, data
):
    # Coordinates of -1, 0 and 1 make many ties, negative cosines, zeros of both signs, and
    # features that are all zero.
    rng = np.random.default_rng(seed)
    gallery = rng.integers(-1, 2, (num_gallery, 3)) * np.float32(1)
    query = rng.integers(-1, 2, (9, 3)) * np.float32(1)
    k = data.draw(strategies.integers(1, num_gallery))
    indices, similarities = nearest_neighbours(
        feature_set(gallery, [0] * num_gallery),
        feature_set(query, [0] * 9),
        k,
        query_chunk=query_chunk,
        gallery_chunk=gallery_chunk,
    )
    for row in range(9):
        # Exact: the sign and the squared cosine times integers, as one sortable fraction.
        dots = gallery @ query[row]
        norms = np.maximum(1, (gallery**2).sum(axis=1)) * max(1, (query[row] ** 2).sum())
        squared = np.sign(dots) * dots**2 / norms
        expected = sorted(range(num_gallery), key=lambda i: (-squared[i], i))[:k]  # noqa: B023
        np.testing.assert_array_equal(indices[row], expected)
        np.testing.assert_allclose(similarities[row], (dots / np.sqrt(norms))[expected], atol=1e-6)


def test_copies_of_a_feature_tie_in_a_large_gallery():
    rng = np.random.default_rng(0)
    feature = rng.normal(size=515)
    gallery = rng.normal(size=(1003, 515))
    copies = [3, 500, 501, 1002]
    gallery[copies] = feature
    query = np.stack([feature + rng.normal(size=515), -feature])
    indices, similarities = nearest_neighbours(
        feature_set(gallery, [0] * 1003), feature_set(query, [0] * 2), 1003, gallery_chunk=64
    )
    np.testing.assert_array_equal(indices[0, :4], copies)
    np.testing.assert_array_equal(indices[1, -4:], copies)
    np.testing.assert_array_equal(similarities[1, -4:], -1)


def test_features_that_are_all_alike_have_the_recall_of_chance():
    """Whatever the order of the list; of more videos than are compared at once."""
    labels = np.sort(np.random.default_rng(0).integers(0, 30, 2100))
    for order in (labels, labels[::-1]):
        gallery = feature_set(np.ones((2100, 2)), order)
        query = feature_set(np.full((600, 2), 3.0), np.arange(600) % 30, source='query')
        result = retrieval(gallery, query, [1, 5, 2100])
        assert result.recall == result.chance
        assert 3 < result.recall['R@1'] < 4 and result.recall['R@2100'] == 100
        assert result.tied == 100
    result = retrieval(gallery, gallery, [1, 5], leave_one_out=True)
    assert result.recall == result.chance


@settings(max_examples=10, deadline=None)
@given(seed=strategies.integers(0, 2**32 - 1), leave_one_out=strategies.booleans())
def test_recall_of_ties_is_the_mean_over_all_orders_of_the_gallery(seed, leave_one_out):
    rng = np.random.default_rng(seed)
    features, labels = rng.integers(0, 2, (4, 2)), rng.integers(0, 3, 4)
    names = np.array(list('abcd'))
    query = feature_set(rng.integers(0, 2, (6, 2)), rng.integers(0, 3, 6), list('abefgh'))
    topks = [1, 2, 3]
    hits = []
    for order in map(list, permutations(range(4))):
        gallery = feature_set(features[order], labels[order], names[order])
        indices, similarities = nearest_neighbours(gallery, query, 3, leave_one_out=leave_one_out)
        right = gallery.labels[indices] == query.labels[:, None]
        hits.append([right[:, :k].any(axis=1) for k in topks])
    result = retrieval(gallery, query, topks, leave_one_out=leave_one_out)
    expected = 100 * np.mean(hits, axis=(0, 2))
    np.testing.assert_allclose(list(result.recall.values()), expected, atol=0.0051)
    for label, row in result.per_class.items():
        of_class = np.mean(hits, axis=0)[:, query.labels == label].mean(axis=1)
        np.testing.assert_allclose([row[f'R@{k}'] for k in topks], 100 * of_class, atol=0.0051)


def test_queries_that_tie_and_videos_in_both_sets_are_counted():
    gallery = feature_set(directions(0, 10, 10, 90), [0, 0, 1, 1], list('abcd'))
    query = feature_set(directions(10, 89, 5), [0, 1, 1], list('ade'))
    # Rows 1 and 2 for the first; 3 for the second, 0 to 2 for the third.
    result = retrieval(gallery, query, [1])
    assert (result.recall, result.tied, result.num_shared) == ({'R@1': 61.11}, 66.67, 2)
    assert retrieval(gallery, query, [1], leave_one_out=True).num_shared == 0


def test_leave_one_out_skips_the_own_name_only():
    # Each video's nearest other one is of its class, except for the lonely fourth.
    features = directions(0, 10, 90, 140)
    same = feature_set(features, [0, 0, 1, 1], ['a', 'b', 'c', 'd'])
    assert retrieval(same, same, [1]).recall == {'R@1': 100.0}
    np.testing.assert_array_equal(retrieval(same, same, [1]).indices[:, 0], [0, 1, 2, 3])

    result = retrieval(same, same, [1, 3], leave_one_out=True)
    np.testing.assert_array_equal(result.indices, [[1, 2, 3], [0, 2, 3], [3, 1, 0], [2, 1, 0]])
    assert result.recall == {'R@1': 100.0, 'R@3': 100.0}
    assert result.chance == {'R@1': 33.33, 'R@3': 100.0}  # one match among three

    # A copy of the best neighbour's name in the gallery is withheld twice.
    twice = feature_set(features, [0, 0, 1, 1], ['a', 'a', 'c', 'd'])
    result = retrieval(twice, same, [1, 2], leave_one_out=True)
    np.testing.assert_array_equal(result.indices, [[2, 3], [1, 0], [3, 1], [2, 1]])
    assert result.recall == {'R@1': 75.0, 'R@2': 75.0}
    assert result.num_without_match == 1  # 'a' has no other video of class 0


def test_default_k_are_those_the_gallery_can_fill():
    gallery = feature_set(np.eye(10), [0] * 10, [str(i) for i in range(10)])
    assert list(retrieval(gallery, gallery).recall) == ['R@1', 'R@5', 'R@10']
    assert list(retrieval(gallery, gallery, leave_one_out=True).recall) == ['R@1', 'R@5']


def test_bad_input():
    gallery = feature_set(np.eye(3), [0, 1, 2], ['a', 'b', 'c'], 'gallery.npz')
    with pytest.raises(UserError, match='cannot find 4 neighbours in gallery.npz, it has 3 videos'):
        retrieval(gallery, gallery, [1, 4])
    with pytest.raises(UserError, match='it has 2 videos besides the query itself'):
        retrieval(gallery, gallery, [3], leave_one_out=True)
    for topks in ([], [0, 1]):
        with pytest.raises(UserError, match='K = '):
            retrieval(gallery, gallery, topks)
    unlabelled = feature_set(np.eye(3), [0, -1, 2], source='query.npz')
    with pytest.raises(UserError, match='query.npz: .* unknown .* query.npz/1.mp4'):
        retrieval(gallery, unlabelled)
    assert nearest_neighbours(gallery, unlabelled, 1)[0].tolist() == [[0], [1], [2]]
    with pytest.raises(UserError, match='gallery.npz have 3 columns, those of wide.npz 4'):
        retrieval(gallery, feature_set(np.eye(4), [0] * 4, source='wide.npz'))
    clips = FeatureSet(gallery.features, gallery.labels, gallery.names, 'clips.npz', np.arange(3))
    for search, k in ((retrieval, [1]), (nearest_neighbours, 1)):
        for pair in ((clips, gallery), (gallery, clips)):
            with pytest.raises(UserError, match='clips.npz: a row is a frame or clip'):
                search(*pair, k)
