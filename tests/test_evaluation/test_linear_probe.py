"""The linear probe is scikit-learn's logistic regression; clips count as their video."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_info, threadpool_limits

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, classification, linear_probe, linear_svm


def feature_set(features, labels, source='set', names=None, clips=None):
    if names is None:
        names = [f'{source}/{i}.mp4' for i in range(len(labels))]
    features = np.asarray(features, dtype=np.float32)
    return FeatureSet(features, np.asarray(labels), np.array(names), source, clips)


@pytest.fixture
def blobs():
    """Training and test videos of seven overlapping classes, labelled 0, 2, ..., 12."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(7, 10)) + 1

    def draw(count, source):
        labels = np.arange(count) % 7
        return feature_set(centres[labels] + rng.normal(size=(count, 10)), 2 * labels, source)

    return draw(140, 'train'), draw(70, 'test')


@pytest.fixture
def fitted(monkeypatch):
    """The models that ``linear_probe`` has fitted, as it goes."""
    models = []

    class Spy(LogisticRegression):
        def fit(self, *args):
            models.append(self)
            return super().fit(*args)

    monkeypatch.setattr('sklearn.linear_model.LogisticRegression', Spy)
    return models


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize('l2_normalize', [True, False])
def test_equals_sklearn(fitted, blobs, l2_normalize):
    train, test = blobs
    prepare = unit if l2_normalize else np.asarray
    model = LogisticRegression(C=3.0, solver='newton-cg', tol=1e-8)
    model.fit(prepare(train.features.astype(np.float64)), train.labels)
    result = linear_probe(train, test, 3.0, l2_normalize=l2_normalize)
    np.testing.assert_allclose(fitted[0].coef_, model.coef_, rtol=1e-4, atol=1e-5)
    scores = model.predict_proba(prepare(test.features))
    hits = model.predict(prepare(test.features)) == test.labels
    best = model.classes_[np.argsort(-scores, axis=1)[:, :5]]
    assert result['top1'] == round(100 * hits.mean(), 2)
    assert result['top5'] == round(100 * (best == test.labels[:, None]).any(axis=1).mean(), 2)
    for label in range(0, 14, 2):
        own = {'top1': round(100 * hits[test.labels == label].mean(), 2), 'num_test': 10}
        assert result['per_class'][str(label)] == own
    assert result['C'] == 3.0
    # All other keys are the SVM's.
    assert result.keys() - {'C'} == linear_svm(train, test).keys()


def test_two_classes_have_half_of_the_cost(fitted):
    """At the rows w/2 and -w/2 of W, the formula has no slope in the first row, with C / 2."""
    rng = np.random.default_rng(0)
    train = feature_set(rng.normal(size=(60, 3)), np.arange(60) % 2)
    linear_probe(train, train, 3.0, l2_normalize=False)
    excess = fitted[0].predict_proba(train.features)[:, 1] - train.labels
    slope = fitted[0].coef_[0] / 2 + 3.0 / 2 * excess @ train.features
    np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_many_classes_around_a_large_common_mean():
    """All derivatives of the mean loss start below scikit-learn's default tolerance of 1e-4."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(101, 128))
    labels = np.arange(606) % 101

    def draw(source):
        noise = 0.5 * rng.normal(size=(606, 128))
        return feature_set(1 + 0.02 * (centres[labels] + noise), labels, source)

    train, test = draw('train'), draw('test')
    default = LogisticRegression().fit(unit(train.features), labels)
    assert (default.n_iter_[0], default.score(unit(test.features), labels)) == (0, 1 / 101)
    assert linear_probe(train, test)['top1'] > 99


@pytest.mark.parametrize('num_classes', [2, 7])
def test_probabilities_of_clips_are_averaged(num_classes):
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(num_classes, 4))
    labels = np.arange(60) % num_classes
    train = feature_set(centres[labels] + rng.normal(size=(60, 4)), labels)
    rows = [(video, clip) for video in range(21) for clip in range(1 + video % 4)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    videos = np.array([video for video, _ in rows])
    features = centres[videos % num_classes] + 1.5 * rng.normal(size=(len(rows), 4))
    names = [f'{video}.mp4' for video in videos]
    clips = np.array([clip for _, clip in rows])
    test = feature_set(features, videos % num_classes, 'test', names, clips)

    model = LogisticRegression(C=20.0, max_iter=1000).fit(unit(train.features), train.labels)
    hits = []
    for video in range(21):
        total = np.zeros(num_classes)
        for feature, name in zip(test.features, names, strict=True):
            if name == f'{video}.mp4':
                total += model.predict_proba(unit(feature[None]))[0]
        hits.append(total.argmax() == video % num_classes)
    result = linear_probe(train, test, 20.0)
    assert result['top1'] == round(100 * np.mean(hits), 2)
    assert result['num_test'] == 21
    single = feature_set(features, videos % num_classes, 'test', names)
    assert linear_probe(train, single, 20.0)['top1'] != result['top1']


def test_best_cost_by_cross_validation(blobs):
    train, test = blobs
    result = linear_probe(train, test, [1e-4, 1.0, 1e4])
    assert result['C'] == 1.0
    assert result == linear_probe(train, test, 1.0)


def test_folds_of_the_cross_validation_share_no_video(monkeypatch, blobs):
    """Clips of a video are alike; a fold that has seen one would know the others by heart."""
    train, test = blobs
    names = np.array([f'{i // 2}.mp4' for i in range(140)])
    clips = feature_set(
        train.features, (np.arange(140) // 2) % 2, 'clips', names, np.arange(140) % 2
    )
    splits = []

    class Spy(GridSearchCV):
        def fit(self, *args):
            splits.extend(self.cv)
            return super().fit(*args)

    monkeypatch.setattr('sklearn.model_selection.GridSearchCV', Spy)
    linear_probe(clips, clips, [1.0, 2.0])
    assert len(splits) == 5
    for learned, held_out in splits:
        assert not set(names[learned]) & set(names[held_out])
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(140))


@pytest.mark.parametrize(('size', 'expected'), [(2**22, 1), (1, 2)])
def test_threads_of_a_fit(monkeypatch, blobs, size, expected):
    """One if the features are few, for which more only wait for each other; else all."""
    found = []

    def threads():
        return max(pool['num_threads'] for pool in threadpool_info())

    class Spy(LogisticRegression):
        def fit(self, *args):
            found.append(threads())
            return super().fit(*args)

    monkeypatch.setattr('sklearn.linear_model.LogisticRegression', Spy)
    monkeypatch.setattr(classification, 'SIZE_FOR_THREADS', size)
    with threadpool_limits(2):
        linear_probe(*blobs)
        assert found == [expected] and threads() == 2


def test_memory_mapped_features(blobs, tmp_path):
    train, test = blobs
    np.save(tmp_path / 'features.npy', train.features)
    array = np.load(tmp_path / 'features.npy', mmap_mode='r')
    mapped = FeatureSet(array, train.labels, train.names)
    for options in (dict(), dict(l2_normalize=False)):
        assert linear_probe(mapped, test, **options) == linear_probe(train, test, **options)


def test_bad_input(blobs):
    train, test = blobs
    for C in (0, -1.0, float('nan'), [1.0, 0.0]):
        with pytest.raises(UserError, match='the cost C is'):
            linear_probe(train, test, C)
    for labels in ([0, 0, 1, 1], [0] * 9 + [1]):  # no five videos; a fold without class 1
        few = feature_set(np.eye(len(labels)), labels, 'few.npz')
        with pytest.raises(UserError, match='few.npz: too few videos to choose among 2 costs'):
            linear_probe(few, few, [1.0, 2.0])
    unknown = feature_set(test.features, np.full(70, -1), 'te.npz')
    with pytest.raises(UserError, match='te.npz: .* 70 of 70 videos are unknown'):
        linear_probe(train, unknown)
