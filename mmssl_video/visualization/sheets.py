"""Draw retrieval sheets: a query video and its nearest neighbours, one thumbnail each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet

from .figures import class_name, save_figure
from .frames import frames_at

RIGHT, WRONG, UNKNOWN = '#2f8f5b', '#c2513f', '#8a8f96'
TEXT, EMPTY = '#24282d', '#f1f2f4'
TILE, GAP, ABOVE, BELOW = 1.3, 0.1, 0.22, 0.3  # inches: a tile, beside it, above and below it
ASIDE = 0.2  # inches between the query and its neighbours


@dataclass
class Tile:
    """One video of a sheet.

    Attributes:
        image (np.ndarray | None): uint8 [H, W, 3], RGB; None if the video cannot be read.
        caption (str): The class if known, else the file's name.
        name (str): The video's full name.
        correct (bool | None): Whether a neighbour has the query's class; None if unknown.
        similarity (float | None): Cosine similarity with the query, in [-1, 1].
    """

    image: np.ndarray | None
    caption: str
    name: str = ''
    correct: bool | None = None
    similarity: float | None = None


@dataclass
class Sheet:
    """A query and its neighbours, nearest first."""

    query: Tile
    neighbours: list[Tile]


def middle_frame(path: str | os.PathLike, max_size: int = 240) -> np.ndarray:
    """Read the frame in the middle of a video, or of a folder of raw frames.

    Args:
        path: As for :func:`~mmssl_video.visualization.frames.frames_at`.
        max_size: Longest side of the result in pixels; larger frames are scaled down.

    Returns:
        np.ndarray: uint8 [H, W, 3], RGB.

    Raises:
        UserError: If there is no readable frame.
    """
    (image,) = frames_at(path, [0.5])
    image.thumbnail((max_size, max_size))
    return np.asarray(image)


def retrieval_sheets(
    gallery: FeatureSet,
    query: FeatureSet,
    indices: np.ndarray,
    similarities: np.ndarray,
    *,
    gallery_root: str | os.PathLike = '',
    query_root: str | os.PathLike = '',
    num_sheets: int = 6,
    num_neighbours: int = 5,
    class_names: Sequence[str] | None = None,
) -> list[Sheet]:
    """Make sheets from the results of ``retrieval`` or ``nearest_neighbours``.

    The queries are chosen independently of their results: the first of each class in order of the
    labels, then the second of each, and so on; without labels, evenly spaced ones. A video that
    cannot be read gets an empty tile.

    Args:
        gallery: The videos that were searched.
        query: The videos that were searched with.
        indices: int64 [num_query, K], gallery rows, nearest first.
        similarities: [num_query, K].
        gallery_root: Folder that the gallery's names are relative to.
        query_root: Folder that the queries' names are relative to.
        num_sheets: Number of sheets, fewer if there are fewer queries.
        num_neighbours: Neighbours to show, fewer if K is smaller.
        class_names: Name of each label; without it captions say ``class 3``.

    Returns:
        list[Sheet]: In the order of the queries' labels, then rows.
    """

    def tile(features: FeatureSet, root: str | os.PathLike, row: int, **marks: object) -> Tile:
        name, label = str(features.names[row]), int(features.labels[row])
        caption = Path(name).name if label < 0 else class_name(label, class_names)
        try:
            image = middle_frame(Path(root, name))
        except UserError:
            image = None
        return Tile(image, caption, name, **marks)

    sheets = []
    for row in _choose_rows(query.labels, num_sheets):
        neighbours = []
        for found, similarity in zip(
            indices[row, :num_neighbours], similarities[row, :num_neighbours], strict=True
        ):
            labels = query.labels[row], gallery.labels[found]
            correct = None if min(labels) < 0 else bool(labels[0] == labels[1])
            marks = dict(correct=correct, similarity=float(similarity))
            neighbours.append(tile(gallery, gallery_root, found, **marks))
        sheets.append(Sheet(tile(query, query_root, row), neighbours))
    return sheets


def _choose_rows(labels: np.ndarray, count: int) -> list[int]:
    """Choose ``count`` rows spread over the classes, or over the rows if a label is unknown."""
    count = min(count, len(labels))
    if (labels < 0).any():
        return np.linspace(0, len(labels) - 1, count).round().astype(int).tolist()
    rank_in_class = np.empty_like(labels)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank_in_class[rows] = np.arange(len(rows))
    chosen = np.lexsort((labels, rank_in_class))[:count]
    return sorted(chosen.tolist(), key=lambda row: (labels[row], row))


def save_sheet(path: str | os.PathLike, sheets: Sequence[Sheet], dpi: int = 150) -> None:
    """Write sheets as one picture: a row per query, the query first, then its neighbours.

    A correct neighbour has a green frame and a check mark, a wrong one a red frame and a cross.
    The number above it is the cosine similarity.

    Args:
        path: The file; its suffix names the format (``.png``, ``.pdf``, ``.svg``).
        sheets: One or more.
        dpi: Pixels per inch; a tile is 1.3 inches wide.

    Raises:
        UserError: If the file cannot be written.
    """
    columns = 1 + max(len(sheet.neighbours) for sheet in sheets)
    width = GAP + columns * (TILE + GAP) + ASIDE
    height = len(sheets) * (ABOVE + TILE + BELOW)
    figure = Figure(figsize=(width, height))
    for row, sheet in enumerate(sheets):
        bottom = height - ABOVE - TILE - row * (ABOVE + TILE + BELOW)
        for column, tile in enumerate([sheet.query, *sheet.neighbours]):
            left = GAP + column * (TILE + GAP) + (ASIDE if column else 0)
            axes = figure.add_axes((left / width, bottom / height, TILE / width, TILE / height))
            axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), facecolor=EMPTY)
            if tile.image is None:
                axes.text(0.5, 0.5, 'no picture', ha='center', va='center', color=UNKNOWN, size=7)
            else:
                axes.imshow(_square(tile.image), extent=(0, 1, 0, 1), interpolation='bilinear')
            color = {True: RIGHT, False: WRONG, None: UNKNOWN}[tile.correct]
            axes.spines[:].set(color=color, linewidth=1 if tile.correct is None else 3)
            mark = {True: '✓ ', False: '✗ ', None: ''}[tile.correct]
            # Three digits, because untrained features have cosines of 0.99 and more.
            number = '' if tile.similarity is None else f'{tile.similarity:.3f}'
            if column == 0:
                axes.set_title('query', size=8, color=TEXT, weight='bold', pad=4)
            else:
                axes.set_title(f'{mark}{number}', size=8, color=color, pad=4)
            axes.set_xlabel(tile.caption[:24], size=7.5, color=TEXT, labelpad=4, parse_math=False)
    save_figure(path, figure, dpi)


def _square(image: np.ndarray) -> np.ndarray:
    """Crop the largest square in the middle."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
