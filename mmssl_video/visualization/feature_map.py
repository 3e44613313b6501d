"""Map features to points in a plane, coloured by class."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, knn_accuracy

from .figures import class_name, save_figure

METHODS = ('tsne', 'pca')
# Matplotlib's ten colours except grey, then colours that are at least 27 apart in CIE Lab from
# these and each other.
COLORS = (
    '#1f77b4', '#ff7f0e', '#2ca02c', '#d62728', '#9467bd', '#8c564b', '#e377c2', '#17becf',
    '#bcbd22', '#0000ff', '#ff1eff', '#004b2d', '#00f000', '#f0d2a5', '#3c0fa5', '#00f0b4',
    '#ff0078', '#78004b', '#966900', '#c3c3ff',
)  # fmt: skip
MARKERS = 'osD^vP*XHp<>'
UNKNOWN = '#b4b8bd'
MAX_LEGEND = 128  # classes


@dataclass
class FeatureMap:
    """Points in a plane for rows of a feature set.

    Attributes:
        points (np.ndarray): float32 [n, 2]; distances have no unit.
        rows (np.ndarray): int64 [n], ascending, the rows of the feature set.
        labels (np.ndarray): int64 [n], -1 if unknown.
        knn (dict | None): :func:`~mmssl_video.evaluation.knn_accuracy` of the labelled rows, each
            video left out in turn, by the features and not the points. None with fewer than two
            classes.
        unit (str): Unit of the rows: ``'videos'`` or ``'clips'``.
    """

    points: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    knn: dict | None
    unit: str = 'videos'


def feature_map(
    features: FeatureSet, method: str = 'tsne', max_videos: int = 2000, seed: int = 0
) -> FeatureMap:
    """Map L2-normalised features to a plane.

    ``'tsne'`` (van der Maaten and Hinton, JMLR 2008) uses the first 50 principal components and
    shows which videos are neighbours; the sizes of groups and the distances between them mean
    little. ``'pca'`` shows the first two principal components. For normalised features, the squared
    Euclidean distance is 2 - 2 cos.

    Args:
        features: Videos, or clips, labelled or not.
        method: ``'tsne'`` or ``'pca'``. With fewer than 5 videos, or features that are all the
            same, ``'tsne'`` shows PCA.
        max_videos: If there are more videos, this number is drawn, the same number of each class as
            far as it has them.
        seed: Seed of the draw and of t-SNE. The same seed gives the same map.

    Raises:
        UserError: If there are fewer than 3 rows or 2 features.
    """
    if method not in METHODS:
        raise UserError(f'method is {method!r}; choose one of {", ".join(METHODS)}')
    if max_videos < 3 or len(features) < 3 or features.dim < 2:
        raise UserError(
            f'{features.source}: {min(len(features), max_videos)} videos of {features.dim} features'
            ' are too few for a map; give 3 videos or more, of 2 features or more'
        )
    rows = _draw_rows(features.labels, max_videos, seed)
    drawn = FeatureSet(
        np.asarray(features.features[rows]),
        features.labels[rows],
        features.names[rows],
        features.source,
    )
    points = normalize(drawn.features.astype(np.float64))
    as_pca = method == 'pca' or len(rows) < 5
    num_components = 2 if as_pca else min(50, *points.shape)
    points = PCA(num_components, random_state=seed).fit_transform(points)
    if not as_pca and points[:, 0].std() > 1e-12:  # t-SNE starts from points divided by it
        # The perplexity is about the number of neighbours of a point; 30 is the authors' value.
        perplexity = min(30, (len(rows) - 1) / 3)
        points = TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(points)
    unit = 'videos' if features.clips is None else 'clips'
    return FeatureMap(points[:, :2].astype(np.float32), rows, drawn.labels, _knn(drawn), unit)


def _draw_rows(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw rows at random: one of each class, then another of each, until there are enough."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank_in_class = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank_in_class[rows] = np.arange(len(rows))
    return np.sort(order[np.argsort(rank_in_class[order], kind='stable')[:count]])


def _knn(features: FeatureSet) -> dict | None:
    """Classify each labelled video by the others; None if that is not meaningful."""
    known = features.labels >= 0
    if len(np.unique(features.labels[known])) < 2:
        return None
    labelled = FeatureSet(features.features[known], features.labels[known], features.names[known])
    # No more neighbours than a class has on average: more would have to be of other classes.
    k = min(20, max(1, len(labelled) // len(np.unique(labelled.labels)) - 1))
    # Rows of one video share its name and do not vote for each other.
    k = min(k, len(labelled) - np.unique(labelled.names, return_counts=True)[1].max())
    return knn_accuracy(labelled, labelled, int(k), leave_one_out=True) if k else None


def save_feature_maps(
    path: str | os.PathLike,
    maps: Sequence[FeatureMap],
    titles: Sequence[str],
    class_names: Sequence[str] | None = None,
    dpi: int = 150,
) -> None:
    """Write maps side by side, with the same colour (and marker) for a class in all of them.

    Below each title is the percentage of rows that their nearest neighbours classify correctly: the
    quality of the features themselves, not of the map.

    Args:
        path: The file; its suffix names the format (``.png``, ``.pdf``, ``.svg``).
        maps: One or more.
        titles: A title for each.
        class_names: Name of each label; without it the legend says ``class 3``.
        dpi: Pixels per inch; a map is 4 inches wide.

    Raises:
        UserError: If the file cannot be written.
    """
    labels = np.unique(np.concatenate([each.labels for each in maps]))
    labels = [*labels[labels >= 0].tolist(), *labels[labels < 0].tolist()]
    styles = {
        label: (COLORS[place % len(COLORS)], MARKERS[place // len(COLORS) % len(MARKERS)])
        for place, label in enumerate(label for label in labels if label >= 0)
    }
    styles[-1] = UNKNOWN, 'o'
    handles = [
        Line2D([], [], color=styles[label][0], marker=styles[label][1], linestyle='', markersize=5)
        for label in labels
    ]
    names = [class_name(label, class_names) for label in labels]
    legend = 1 < len(labels) <= MAX_LEGEND
    num_columns = math.ceil(len(labels) / 24) if legend else 0
    longest = max(map(len, names))
    legend_width = num_columns * (0.4 + 0.075 * longest)
    figure = Figure(figsize=(4 * len(maps) + legend_width, 4.5), layout='constrained')
    for column, (each, title) in enumerate(zip(maps, titles, strict=True)):
        axes = figure.add_subplot(1, len(maps), column + 1)
        size = float(np.clip(10000 / len(each.points), 6, 36))
        # In a random order, so that the last class does not cover the others.
        order = np.random.default_rng(0).permutation(len(each.points))
        for marker in sorted({marker for _, marker in styles.values()}):
            rows = [row for row in order if styles[int(each.labels[row])][1] == marker]
            colors = [styles[int(each.labels[row])][0] for row in rows]
            axes.scatter(
                *each.points[rows].T, s=size, c=colors, marker=marker, alpha=0.8, linewidths=0
            )
        axes.set(xticks=[], yticks=[])
        axes.set_aspect('equal', adjustable='datalim')
        axes.spines[:].set(color='#c9ccd1', linewidth=0.8)
        axes.margins(0.04)
        axes.set_title(f'{title}\n', size=11, weight='bold', pad=4, parse_math=False)
        axes.annotate(
            _caption(each),
            (0.5, 1),
            (0, 5),
            'axes fraction',
            'offset points',
            size=8.5,
            ha='center',
        )
    if legend:
        box = figure.legend(
            handles,
            names,
            loc='outside right upper',
            ncols=num_columns,
            fontsize=8,
            frameon=False,
            handletextpad=0.2,
            columnspacing=1,
        )
        for text in box.get_texts():
            text.set_parse_math(False)
    save_figure(path, figure, dpi)


def _caption(each: FeatureMap) -> str:
    """Caption with the number of rows and their kNN accuracy."""
    count = f'{len(each.rows)} {each.unit}'
    if each.knn is None:
        return count
    k, top1, chance = (each.knn[key] for key in ('k', 'top1', 'chance'))
    return f'{count} · {k}-NN {top1:.1f} % (chance {chance:.1f} %)'
