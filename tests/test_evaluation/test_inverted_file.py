"""Approximate retrieval: exact where nothing is left out, and what it leaves out is told."""

import sys
from functools import partial

import faiss
import numpy as np
import pytest

from mmssl_video.errors import UserError
from mmssl_video.evaluation import (
    FeatureSet,
    IndexPlan,
    InvertedFile,
    nearest_neighbours,
    neighbours_found,
    retrieval,
)
from mmssl_video.evaluation import inverted_file as module
from mmssl_video.evaluation.retrieval import unit_rows


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads of Faiss wait for each other where tests share the cores."""
    faiss.omp_set_num_threads(1)


def make_sets(num_gallery=600, num_query=40, dim=12, seed=0):
    """Features with a mean, of 20 clusters, of which the names are 'a0', 'a1', ..."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim)) + 1
    sets = []
    for num, letter in ((num_gallery, 'a'), (num_query, 'b')):
        labels = rng.integers(0, 20, num)
        features = centres[labels] + 0.4 * rng.normal(size=(num, dim))
        names = np.array([f'{letter}{i}' for i in range(num)])
        sets.append(FeatureSet(features.astype(np.float32), labels, names, letter))
    return sets


def equal(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert (found[0].dtype, found[1].dtype) == (np.int64, np.float64)


@pytest.mark.parametrize('code_size', [12, 5])  # of 12 features
def test_all_lists_and_candidates_are_the_exact_search(code_size):
    gallery, query = make_sets()
    index = InvertedFile(gallery, 10, code_size)
    found = index.nearest_neighbours(query, 15, num_probes=10, num_candidates=600)
    equal(found, nearest_neighbours(gallery, query, 15))
    assert neighbours_found(gallery, query, found[0], 40) == {'@1': 100, '@5': 100, '@10': 100}


def test_candidates_are_the_nearest_by_their_principal_components():
    gallery, query = make_sets()
    index = InvertedFile(gallery, 10, 5)
    found, _ = index.nearest_neighbours(query, 30, num_probes=10, num_candidates=30)
    unit = [unit_rows(s.features) for s in (gallery, query)]
    mean = unit[0].mean(axis=0)
    axes = np.linalg.svd(unit[0] - mean, full_matrices=False)[2][:5]
    coded = [(u - mean) @ axes.T for u in unit]
    distances = ((coded[0] - coded[1][:, None]) ** 2).sum(axis=-1)
    expected = np.argsort(distances, axis=1)[:, :30]
    # 8 bits move few over the edge; candidates by anything else would share about half of these.
    same = [len(set(a) & set(b)) / 30 for a, b in zip(found, expected, strict=True)]
    assert np.mean(same) > 0.97
    assert (np.diff(_cosines(unit, found)) <= 1e-9).all()  # in the order of all features


def _cosines(unit, rows):
    return np.einsum('qkd,qd->qk', unit[0][rows], unit[1])


def test_one_list_is_searched_as_k_means_made_it():
    gallery, query = make_sets()
    index = InvertedFile(gallery, 10)
    found, similarities = index.nearest_neighbours(query, 3, num_probes=1, num_candidates=600)
    centres = index._lists.quantizer.reconstruct_n(0, 10)
    unit = [unit_rows(s.features) for s in (gallery, query)]
    in_list, wanted = (((u[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1) for u in unit)
    for row in range(40):
        members = np.flatnonzero(in_list == wanted[row])
        cosines = unit[0][members] @ unit[1][row]
        order = np.argsort(-cosines)[:3]
        np.testing.assert_array_equal(found[row], members[order])
        np.testing.assert_allclose(similarities[row], cosines[order], atol=1e-6)

    exact, _ = nearest_neighbours(gallery, query, 3)
    share = [len(set(exact[row]) & set(found[row])) / 3 for row in range(40)]
    assert 0 < np.mean(share) < 1
    told = neighbours_found(gallery, query, found, 40)
    assert told == {'@1': round(100 * np.mean(exact[:, 0] == found[:, 0]), 2)}


def test_shares_found_by_hand():
    gallery, query = make_sets(num_query=5)
    exact, _ = nearest_neighbours(gallery, query, 5)
    found = exact.copy()
    found[:, 0], found[:, 4] = exact[:, 4], exact[:, 0]  # the first is among five, not first
    found[0, 1] = 599 if 599 not in exact[0] else 598
    assert neighbours_found(gallery, query, found, 5) == {'@1': 0.0, '@5': 96.0}
    # Of two queries the first and the last are checked.
    assert neighbours_found(gallery, query, found, 2) == {'@1': 0.0, '@5': 90.0}


@pytest.mark.parametrize('code_size', [12, 5])
def test_leave_one_out_and_ties(code_size):
    gallery, _ = make_sets(300)
    gallery.features[150:] = gallery.features[:150]  # each feature twice: ties
    gallery.names[10:40] = 'copies'
    index = InvertedFile(gallery, 4, code_size)
    found = index.nearest_neighbours(
        gallery, 8, leave_one_out=True, num_probes=4, num_candidates=270
    )
    equal(found, nearest_neighbours(gallery, gallery, 8, leave_one_out=True))
    assert (gallery.names[found[0]] != gallery.names[:, None]).all()

    # Thirty own videos are nearer than any other; nine candidates must not be all of them.
    gallery.features[10:40] = 1
    index = InvertedFile(gallery, 1)
    found, _ = index.nearest_neighbours(gallery, 8, leave_one_out=True, num_candidates=9)
    assert (gallery.names[found] != gallery.names[:, None]).all()


def test_ties_among_what_was_found_have_no_order():
    gallery, query = make_sets(num_query=4)
    gallery.features[:2], gallery.labels[:2] = query.features[0], [99, query.labels[0]]
    index = InvertedFile(gallery, 1)
    search = partial(index.nearest_neighbours, num_candidates=600)
    result = retrieval(gallery, query, [1, 5], search=search)
    assert result.indices[0, :2].tolist() == [0, 1] and result.tied == 25
    assert result.recall == retrieval(gallery, query, [1, 5]).recall == {'R@1': 87.5, 'R@5': 100}
    # One neighbour cannot be told to tie.
    result = retrieval(gallery, query, [1], search=search)
    assert (result.recall, result.tied) == ({'R@1': 75.0}, 0)


def test_chunks_and_disk_do_not_matter(tmp_path, monkeypatch):
    gallery, query = make_sets()
    expected = InvertedFile(gallery, 10, 5).nearest_neighbours(query, 5, num_probes=2)
    np.save(tmp_path / 'features.npy', gallery.features)
    gallery.features = np.load(tmp_path / 'features.npy', mmap_mode='r')
    monkeypatch.setattr(module, 'CHUNK_BYTES', 96 * 7)
    index = InvertedFile(gallery, 10, 5)
    assert index.plan.chunk_videos == 7
    equal(index.nearest_neighbours(query, 5, num_probes=2), expected)


@pytest.mark.parametrize('code_size', [64, 16])
def test_plan_has_the_size_of_the_index(code_size):
    gallery, _ = make_sets(2000, dim=64)
    index = InvertedFile(gallery, 20, code_size)
    actual = len(faiss.serialize_index(index._index))
    assert abs(index.plan.index_bytes - actual) < 3000  # small tables and headers
    assert index.plan.training_bytes == 4 * 64 * 2000


def test_plan_of_a_million():
    plan = IndexPlan.make(1_000_000, 2048)
    assert (plan.num_lists, plan.code_size, plan.num_training) == (1000, 256, 40_000)
    # A row is 256 + 8 bytes; 1000 centres of 256, 2048 + 256 components of 2048, in float32.
    assert plan.index_bytes == 264_000_000 + 4 * 256_000 + 4 * 2304 * 2048
    assert plan.training_bytes == 40_000 * 8192
    assert plan.chunk_bytes == 16_384 * plan.chunk_videos == 2**26
    # Few videos make few lists, and cannot have more components than there are videos.
    assert IndexPlan.make(400, 16).num_lists == 10
    assert IndexPlan.make(400, 16).code_size == 16
    assert IndexPlan.make(5, 16) == IndexPlan(
        1, 5, 5, 5 * 13 + 4 * (5 + 21 * 16), 320, 2**19, 2**26
    )


def test_bad_input(monkeypatch):
    gallery, query = make_sets()
    for arguments, message in (
        ((0,), '0 lists for a gallery of 600 videos; use 1 to 600'),
        ((601,), '601 lists'),
        ((10, 13), 'codes of 13 bytes for 600 videos with 12 features; use 1 to 12$'),
        ((10, 0), 'codes of 0 bytes'),
    ):
        with pytest.raises(UserError, match=message):
            InvertedFile(gallery, *arguments)
    index = InvertedFile(gallery, 100)
    for options, message in (
        (dict(num_probes=101), 'cannot search 101 of 100 lists'),
        (dict(num_probes=0), 'cannot search 0 of'),
        (dict(num_candidates=49), '49 candidates are too few for 50 neighbours'),
        (dict(num_probes=1), r'b0: the 1 lists searched have \d+ videos for 50 neighbours'),
    ):
        with pytest.raises(UserError, match=message):
            index.nearest_neighbours(query, 50, **options)
    with pytest.raises(UserError, match='cannot find 601 neighbours in a, it has 600'):
        index.nearest_neighbours(query, 601)
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(UserError, match=r"pip install 'mmssl_video\[faiss\]'"):
        InvertedFile(gallery)
