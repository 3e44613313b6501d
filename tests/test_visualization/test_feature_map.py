"""Feature maps keep groups apart, are the same every time, and tell how good the features are."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image, ImageColor
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, knn_accuracy
from mmssl_video.visualization.feature_map import (
    COLORS,
    MARKERS,
    UNKNOWN,
    FeatureMap,
    feature_map,
    save_feature_maps,
)
from mmssl_video.visualization.figures import read_class_names


def clusters(per_class=12, num_classes=5, dim=64, spread=0.1, seed=0):
    """Gaussian clusters around orthogonal directions, with lengths that mean nothing."""
    rng = np.random.default_rng(seed)
    labels = np.arange(per_class * num_classes) % num_classes
    features = np.eye(dim)[labels] + spread * rng.normal(size=(len(labels), dim)) / np.sqrt(dim)
    features *= rng.uniform(0.1, 10, size=(len(labels), 1))
    names = np.array([f'{row}.mp4' for row in range(len(labels))])
    return FeatureSet(features, labels, names)


@pytest.mark.parametrize('dim', [64, 8])
def test_clusters_stay_apart(dim):
    features = clusters(dim=dim)
    found = feature_map(features)
    assert found.points.shape == (60, 2) and found.points.dtype == np.float32
    np.testing.assert_array_equal(found.rows, np.arange(60))
    np.testing.assert_array_equal(found.labels, features.labels)
    assert silhouette_score(found.points, features.labels) > 0.6
    assert found.knn == knn_accuracy(features, features, 11, leave_one_out=True)
    assert found.knn['top1'] == 100


def test_pca_is_that_of_the_normalised_features():
    features = clusters(num_classes=3)
    points = feature_map(features, 'pca').points
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    np.testing.assert_allclose(points, PCA(2).fit_transform(unit.astype(np.float64)), atol=1e-5)
    assert silhouette_score(points, features.labels) > 0.8


def test_accuracy_is_that_of_the_features_not_of_the_picture():
    # What tells the classes is in the third and fourth components, which PCA in 2D leaves out.
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    features = np.stack([rng.normal(size=80), rng.normal(size=80), 0.3 * labels - 0.15], axis=1)
    found = feature_map(
        FeatureSet(features, labels, np.array([str(row) for row in range(80)])), 'pca'
    )
    assert silhouette_score(found.points, labels) < 0.1
    assert found.knn['top1'] > 75


def test_same_seed_gives_the_same_map():
    features = clusters(spread=1)
    first = feature_map(features, max_videos=40, seed=3)
    again = feature_map(features, max_videos=40, seed=3)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.rows, again.rows)
    other = feature_map(features, max_videos=40, seed=4)
    assert (first.rows != other.rows).any()


def test_subset_has_equally_many_of_each_class():
    labels = np.array([0] * 50 + [1] * 7 + [2] * 20 + [-1] * 23)
    rng = np.random.default_rng(0)
    names = np.array([str(row) for row in range(100)])
    features = FeatureSet(rng.normal(size=(100, 4)), labels, names)
    found = feature_map(features, 'pca', max_videos=39)
    np.testing.assert_array_equal(found.labels, labels[found.rows])
    assert (np.diff(found.rows) > 0).all()
    counts = [int((found.labels == label).sum()) for label in (0, 1, 2, -1)]
    assert sum(counts) == 39 and counts[1] == 7 and set(counts) == {7, 10, 11}
    known = found.rows[labels[found.rows] >= 0]
    subset = FeatureSet(features.features[known], labels[known], names[known])
    assert found.knn == knn_accuracy(subset, subset, len(known) // 3 - 1, leave_one_out=True)


@pytest.mark.parametrize('count', [3, 4, 13])
def test_fewer_videos_than_the_perplexity(count):
    features = clusters(per_class=1, num_classes=count)
    points = feature_map(features).points
    assert points.shape == (count, 2) and np.isfinite(points).all()


def test_features_that_are_all_the_same():
    """As of a network that has collapsed."""
    same = FeatureSet(np.ones((20, 8), np.float32), np.arange(20) % 2, np.arange(20).astype(str))
    np.testing.assert_allclose(feature_map(same).points, np.zeros((20, 2)), atol=1e-12)


def test_too_little_for_a_map():
    for features in (clusters(1, 2), clusters(3, 1, dim=1)):
        features.source = 'x.npz'
        with pytest.raises(
            UserError, match=r'x.npz: \d videos of \d+ features are too few for a map'
        ):
            feature_map(features)
    with pytest.raises(UserError, match='x.npz: 2 videos of 64'):
        features = clusters()
        features.source = 'x.npz'
        feature_map(features, max_videos=2)
    with pytest.raises(UserError, match="'umap'; choose one of tsne, pca"):
        feature_map(features, 'umap')


def test_accuracy_without_other_videos_of_the_class_or_without_classes():
    features = clusters(per_class=4, num_classes=2, spread=0)
    # Four clips of one video in each class: nothing of the right class is left.
    names = np.array([f'{label}.mp4' for label in features.labels])
    clips = np.arange(8) // 2
    found = feature_map(FeatureSet(features.features, features.labels, names, clips=clips), 'pca')
    assert found.knn['top1'] == 0 and found.unit == 'clips'
    for labels in (np.full(8, -1), np.zeros(8, int)):
        assert feature_map(FeatureSet(features.features, labels, features.names), 'pca').knn is None


def lab(color):
    """CIE L*a*b* of an sRGB colour under D65."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = np.cbrt(xyz @ linear / [0.9505, 1, 1.089])  # none of the colours is near black
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_colours_can_be_told_apart():
    assert len(COLORS) == 20
    colors = np.array([lab(color) for color in (*COLORS, UNKNOWN, 'white')])
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2)
    assert distances[np.triu_indices(22, 1)].min() > 20


def test_picture_has_the_colour_of_each_class_at_its_points(tmp_path):
    labels = np.array([0, 1, 7, -1])
    points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    found = FeatureMap(points, np.arange(4), labels, None)
    save_feature_maps(tmp_path / 'a' / 'm.png', [found, found], ['one', '$_x'], dpi=100)
    picture = np.asarray(Image.open(tmp_path / 'a' / 'm.png').convert('RGB'))
    assert picture.shape[0] == 450 and picture.shape[1] > 800
    # Colours are drawn a little transparent.
    drawn = [np.rint(0.8 * np.array(ImageColor.getrgb(c)) + 51) for c in (*COLORS[:3], UNKNOWN)]
    for panel in (picture[:, :400], picture[:, 400:800]):
        places = []
        for color in drawn:
            near = np.abs(panel.astype(int) - color).max(axis=-1) <= 2
            assert near.sum() > 20
            places.append(np.argwhere(near).mean(axis=0))
        (y0, x0), (y1, x1), (y2, x2), (y3, x3) = places
        assert abs(x0 - x1) < 5 and abs(y0 - y2) < 5 and abs(x2 - x3) < 5 and abs(y1 - y3) < 5
        assert y1 < y0 - 50 and x2 > x0 + 50


def test_more_classes_than_colours_get_other_markers(tmp_path):
    labels = np.arange(50)
    points = np.stack([labels % 10, labels // 10], axis=1).astype(np.float32)
    save_feature_maps(tmp_path / 'm.svg', [FeatureMap(points, labels, labels, None)], ['many'])
    assert len(MARKERS) * len(COLORS) >= 240
    assert (tmp_path / 'm.svg').read_text().count('PathCollection') == 3  # 20 + 20 + 10 classes


# ------------------------------------------------------------------------------------------ tool


@pytest.fixture
def run_tool(tool_runner, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tool_runner('feature_map')


def test_tool_compares_files_and_folders(run_tool, tmp_path):
    clusters().save(tmp_path / 'good' / 'test.npz')
    clusters(spread=50, seed=1).save(tmp_path / 'bad' / 'test')
    (tmp_path / 'names.txt').write_text('a\nb\nc\nd\ne\n', encoding='utf-8-sig')
    options = ('--method', 'pca', '--class-names', 'names.txt')
    code, output = run_tool('good/test.npz', 'bad/test', '--out', 'm.png', *options)
    assert code == 0, output.err
    lines = output.out.splitlines()
    assert lines[0] == 'good/test: 60 of 60 rows, 11-NN 100.00 %, chance 20.00 %'
    assert lines[1].startswith('bad/test: 60 of 60 rows, 11-NN ')
    assert lines[2] == 'written to m.png'
    assert Image.open(tmp_path / 'm.png').height == 675
    assert read_class_names(tmp_path / 'names.txt') == list('abcde')


def test_tool_says_in_one_line_what_is_wrong(run_tool, tmp_path):
    clusters().save(tmp_path / 'x.npz')
    (tmp_path / 'four.txt').write_text('a\nb\nc\nd\n')
    for arguments, message in (
        (('absent.npz',), 'absent.npz: no such'),
        (('x.npz', '--titles', 'a', 'b'), '--titles: 2 titles for 1 sets'),
        (('x.npz', '--class-names', 'absent.txt'), 'absent.txt: cannot be read'),
        (('x.npz', '--class-names', 'four.txt'), 'four.txt: 4 names, but there is a label 4'),
        (('x.npz', '--max-videos', '2'), 'are too few for a map'),
        (('absent.npz', '--out', 'x.xyz'), 'x.xyz: pictures end in .png'),
    ):
        code, output = run_tool('--out', 'm.png', *arguments)
        assert code == 2 and message in output.err and output.err.count('\n') == 1
    assert not (tmp_path / 'm.png').exists()
