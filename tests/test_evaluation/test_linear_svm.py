"""The linear SVM: LIBLINEAR's objective at its minimum, and accuracies that can be counted."""

import numpy as np
import pytest
from config_helpers import load
from scipy.optimize import minimize
from sklearn.svm import LinearSVC

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, linear_svm


def feature_set(features, labels, source='set'):
    names = np.array([f'{source}/{i}.mp4' for i in range(len(labels))])
    return FeatureSet(np.asarray(features, dtype=np.float32), np.asarray(labels), names, source)


@pytest.fixture
def blobs():
    """Training and test videos of seven overlapping classes, labelled 0, 2, ..., 12."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(7, 10)) + 1

    def draw(count, source):
        labels = np.arange(count) % 7
        return feature_set(centres[labels] + rng.normal(size=(count, 10)), 2 * labels, source)

    return draw(140, 'train'), draw(70, 'test')


def objective(w, inputs, signs, C):
    """LIBLINEAR -s 2 and its gradient, from its definition."""
    slack = np.maximum(0, 1 - signs * (inputs @ w))
    return 0.5 * w @ w + C * np.sum(slack**2), w - 2 * C * inputs.T @ (signs * slack)


@pytest.fixture
def fitted(monkeypatch):
    """The models that ``linear_svm`` has fitted, as it goes."""
    models = []

    class Spy(LinearSVC):
        def fit(self, *args):
            models.append(self)
            return super().fit(*args)

    monkeypatch.setattr('sklearn.svm.LinearSVC', Spy)
    return models


@pytest.mark.parametrize('C', [0.01, 1.0])
@pytest.mark.parametrize('bias', [False, True])
def test_weights_minimise_the_primal_squared_hinge(fitted, blobs, C, bias):
    train, test = blobs
    result = linear_svm(train, test, C, bias=bias)

    def augmented(features):
        features = features.astype(np.float64)
        return np.column_stack([features, np.ones(len(features))]) if bias else features

    (model,) = fitted
    weights = np.column_stack([model.coef_, model.intercept_]) if bias else model.coef_
    optimum = []
    for label, w in zip(model.classes_, weights, strict=True):
        signs = np.where(train.labels == label, 1.0, -1.0)
        arguments = augmented(train.features), signs, C
        optimum.append(minimize(objective, 0 * w, arguments, jac=True, tol=1e-12).x)
    if not bias:
        np.testing.assert_array_equal(model.intercept_, 0)
    np.testing.assert_allclose(weights, optimum, atol=1e-3 * np.abs(optimum).max())

    # The accuracies of the independent optimum, counted video by video.
    scores = augmented(test.features) @ np.array(optimum).T
    ranks = [list(np.argsort(-row)) for row in scores]
    places = np.array([r.index(label // 2) for r, label in zip(ranks, test.labels, strict=True)])
    assert result['top1'] == round(100 * np.mean(places < 1), 2)
    assert result['top5'] == round(100 * np.mean(places < 5), 2)
    assert 100 / 7 < result['top1'] < result['top5'] < 100  # a problem that can tell
    for label in range(0, 14, 2):
        own = round(100 * np.mean(places[test.labels == label] < 1), 2)
        assert result['per_class'][str(label)] == {'top1': own, 'num_test': 10}


def test_rows_may_be_normalised(fitted, blobs):
    """Weights, and predictions video by video, are those of LinearSVC."""
    train, test = blobs

    def unit(features):
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    model = LinearSVC(dual=False, fit_intercept=False)
    model.fit(unit(train.features), train.labels)
    hits = model.predict(unit(test.features)) == test.labels
    result = linear_svm(train, test, l2_normalize=True)
    np.testing.assert_allclose(fitted[0].coef_, model.coef_, rtol=1e-5, atol=1e-6)
    for label, of_class in result['per_class'].items():
        assert of_class['top1'] == round(100 * hits[test.labels == int(label)].mean(), 2)
    assert result['per_class'] != linear_svm(train, test)['per_class']


@pytest.mark.parametrize('num_classes', [2, 7])
def test_decision_values_of_clips_are_averaged(num_classes):
    """In any order, and with any number of clips a video."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(num_classes, 4))
    labels = np.arange(60) % num_classes
    train = feature_set(centres[labels] + rng.normal(size=(60, 4)), labels)
    rows = [(video, clip) for video in range(20) for clip in range(1 + video % 4)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    videos = np.array([video for video, _ in rows])
    clips = FeatureSet(
        centres[videos % num_classes] + 1.5 * rng.normal(size=(len(rows), 4)),
        videos % num_classes,
        np.array([f'{video}.mp4' for video in videos]),
        clips=np.array([clip for _, clip in rows]),
    )
    model = LinearSVC(dual=False, fit_intercept=False).fit(train.features, train.labels)
    hits = []
    for video in range(20):
        weights = np.concatenate([-model.coef_, model.coef_]) if num_classes == 2 else model.coef_
        total = np.zeros(num_classes)
        for feature, name in zip(clips.features, clips.names, strict=True):
            if name == f'{video}.mp4':
                total += weights @ feature
        hits.append(total.argmax() == video % num_classes)
    result = linear_svm(train, clips)
    assert result['top1'] == round(100 * np.mean(hits), 2)
    assert (result['num_train'], result['num_test']) == (60, 20)
    assert sum(of_class['num_test'] for of_class in result['per_class'].values()) == 20
    # Clips that count one by one would give another accuracy.
    single = FeatureSet(clips.features, clips.labels, clips.names)
    assert linear_svm(train, single)['top1'] != result['top1']


def test_memory_mapped_features(blobs, tmp_path):
    mapped = []
    for i, features in enumerate(blobs):
        np.save(tmp_path / f'{i}.npy', features.features)
        array = np.load(tmp_path / f'{i}.npy', mmap_mode='r')
        mapped.append(FeatureSet(array, features.labels, features.names))
    for options in (dict(), dict(l2_normalize=True)):
        assert linear_svm(*mapped, **options) == linear_svm(*blobs, **options)


def test_two_classes_unequal_counts():
    train = feature_set([[1, 0], [2, 0], [-1, 0], [-3, 0]], [4, 4, 9, 9])
    test = feature_set([[5, 1], [-5, 1], [4, 0], [1, 2]], [4, 9, 9, 9], 'test')
    assert linear_svm(train, test) == {
        'top1': 50.0,
        'mean_class': round((100 + 100 / 3) / 2, 2),
        'chance': 50.0,
        'num_train': 4,
        'num_test': 4,
        'num_shared': 0,
        'num_classes': 2,
        'dim': 2,
        'per_class': {'4': {'top1': 100.0, 'num_test': 1}, '9': {'top1': 33.33, 'num_test': 3}},
    }


@pytest.mark.parametrize(
    ('train', 'test', 'words'),
    [
        ([0, 1, -1], [0, 1], 'tr.npz: .* 1 of 3 videos are unknown .* tr.npz/2.mp4'),
        ([0, 1], [-1, -1], 'te.npz: .* 2 of 2 videos are unknown .* te.npz/0.mp4'),
        ([3, 3], [3, 3], 'tr.npz: all labels are 3; a classifier needs videos of two classes'),
        ([0, 1], [0, 7, 5], r'te.npz: class 5, 7 \(such as te.npz/1.mp4\) is absent from tr.npz'),
    ],
)
def test_labels_that_do_not_fit(train, test, words):
    train = feature_set(np.eye(len(train), 2), train, 'tr.npz')
    test = feature_set(np.eye(len(test), 2), test, 'te.npz')
    with pytest.raises(UserError, match=words):
        linear_svm(train, test)


def test_other_bad_input(blobs):
    train, test = blobs
    wide = feature_set(np.ones((2, 11)), [0, 2], 'wide.npz')
    with pytest.raises(UserError, match='of train have 10 columns, those of wide.npz 11'):
        linear_svm(train, wide)
    for C in (0, -1.0, float('nan')):
        with pytest.raises(UserError, match='the cost C is'):
            linear_svm(train, test, C)


def test_clips_of_a_video_with_two_labels(blobs):
    clips = FeatureSet(
        np.ones((3, 10)), np.array([0, 2, 0]), np.array(['a', 'b', 'b']), 'te', clips=np.arange(3)
    )
    with pytest.raises(UserError, match='te: the clips of b have different labels'):
        linear_svm(blobs[0], clips)


@pytest.mark.parametrize('name', ['kinetics400', 'kinetics400-rawframes', 'ucf101'])
def test_features_of_the_protocol(name):
    """VCLR, Sec. 4.3: 30 frames evenly spaced, short side 256, centre crop 224."""
    cfg = load(f'vclr/vclr_r50_8x64-3seg-400e_{name}-rgb.py')
    steps = {step.type: step for step in cfg.feature_pipeline}
    sampling = dict(clip_len=1, frame_interval=1, num_clips=30, test_mode=True)
    assert steps['SampleFrames'] == dict(type='SampleFrames', **sampling)
    assert steps['Resize'].scale == (-1, 256) and steps['Resize'].get('keep_ratio', True)
    assert steps['CenterCrop'].crop_size == 224
    assert not [name for name in steps if 'Random' in name or name == 'Flip']
