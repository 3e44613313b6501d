"""Retrieval sheets: a query video and its nearest neighbours, one thumbnail each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet
from mmssl_video.files import atomic_path

RIGHT, WRONG, UNKNOWN = '#2f8f5b', '#c2513f', '#8a8f96'


@dataclass
class Tile:
    """One video of a sheet.

    Attributes:
        image (np.ndarray | None): uint8 [H, W, 3], RGB; None where the video cannot be read.
        caption (str): The class if it is known, else the file's name.
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

    Read with PyAV, since a thumbnail needs no exact frame number and PyAV takes frames of any
    width and files without a frame count.

    Args:
        path: A video file, or a folder with ``img_*`` files (MMAction2's raw frames) or images.
        max_size: Longest side of the result in pixels; larger frames are scaled down.

    Returns:
        np.ndarray: uint8 [H, W, 3], RGB.

    Raises:
        UserError: If there is no readable frame.
    """
    path = Path(path)
    try:
        if path.is_dir():
            frames = sorted(path.glob('img_*')) or sorted(
                file for file in path.iterdir() if file.suffix.lower() in ('.jpg', '.jpeg', '.png')
            )
            if not frames:
                raise OSError('the folder holds no image')
            image = Image.open(frames[len(frames) // 2]).convert('RGB')
        else:
            image = _decode_middle(path)
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise UserError(f'{path}: no frame can be read ({reason}); check the file') from error
    image.thumbnail((max_size, max_size))
    return np.asarray(image)


def _decode_middle(path: Path) -> Image.Image:
    """Decode the first frame at or after half the duration, or the last one before it."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise OSError('it has no video stream')
        middle = None
        if container.duration:
            middle = (container.start_time or 0) + container.duration // 2  # microseconds
            container.seek(middle)
        frame = None
        for frame in container.decode(video=0):
            # XviD packets may carry no time; the key frame found by the seek will do.
            if middle is None or frame.time is None or frame.time * av.time_base >= middle:
                break
        if frame is None:
            raise OSError('it holds no frame')
        return frame.to_image()


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
    """Make sheets from what ``retrieval`` or ``nearest_neighbours`` found.

    The queries are not chosen by their result: the first of each class in order of the labels,
    then the second of each, and so on; without labels, evenly spaced ones. A video that cannot be
    read gets an empty tile.

    Args:
        gallery: The videos that were searched.
        query: The videos that were searched with.
        indices: int64 [num_query, K], gallery rows, nearest first.
        similarities: float32 [num_query, K].
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
        if label < 0:
            caption = Path(name).name
        else:
            caption = class_names[label] if class_names is not None else f'class {label}'
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

    A right neighbour has a green frame and a check mark, a wrong one a red frame and a cross.

    Args:
        path: The file; its suffix names the format (``.png``, ``.pdf``, ``.svg``).
        sheets: One or more.
        dpi: Pixels per inch; a tile is 1.4 inches wide.
    """
    columns = 1 + max(len(sheet.neighbours) for sheet in sheets)
    figure = Figure(figsize=(1.4 * columns, 1.65 * len(sheets)), layout='constrained')
    for row, sheet in enumerate(sheets):
        for column, tile in enumerate([sheet.query, *sheet.neighbours]):
            axes = figure.add_subplot(len(sheets), columns, row * columns + column + 1)
            axes.set(xticks=[], yticks=[], aspect='equal', xlim=(0, 1), ylim=(0, 1))
            if tile.image is None:
                axes.text(0.5, 0.5, 'no picture', ha='center', va='center', color=UNKNOWN, size=7)
            else:
                axes.imshow(_square(tile.image), extent=(0, 1, 0, 1), interpolation='bilinear')
            color = {True: RIGHT, False: WRONG, None: UNKNOWN}[tile.correct]
            axes.spines[:].set(color=color, linewidth=1 if tile.correct is None else 2.5)
            mark = {True: '✓ ', False: '✗ ', None: ''}[tile.correct]
            number = '' if tile.similarity is None else f'{tile.similarity:.2f}'
            title = 'query' if column == 0 else f'{mark}{number}'
            axes.set_title(title, size=8, color='black' if column == 0 else color, pad=3)
            axes.set_xlabel(tile.caption[:24], size=7, labelpad=2, parse_math=False)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.') or 'png', dpi=dpi)


def _square(image: np.ndarray) -> np.ndarray:
    """Cut the largest square out of the middle."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
