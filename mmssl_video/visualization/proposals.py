"""Draw temporal action proposals of a video below its frames and its actions, on a time axis."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mmaction.evaluation import pairwise_temporal_iou
from PIL import Image, ImageOps

from mmssl_video.datasets.lists import find_video, index_videos
from mmssl_video.errors import UserError
from mmssl_video.video import VIDEO_SUFFIXES

from .figures import save_figure
from .frames import frames_at

# From no overlap to full overlap; the brightness alone shows it too.
OVERLAP = LinearSegmentedColormap.from_list('overlap', ['#d9dde3', '#a8cfc4', '#4fa68a', '#0f5c4a'])
ACTION, BAND, TEXT, FAINT = '#30507a', '#e9eef6', '#22262b', '#8a8f96'
WIDTH, MARGIN, COLUMNS = 10.0, 1.0, 1.2  # inches: page, left of the axis, numbers right of it
STRIP, LANE = 0.62, 0.21  # inches: height of the frames, and of an action or proposal
TITLE, GAP, TIME, LEGEND = 0.42, 0.05, 0.36, 0.55  # inches: above, between and below them


@dataclass
class VideoProposals:
    """The actions and proposals of a video, with times in seconds.

    Attributes:
        name (str): Name in the annotation.
        duration (float): Length of the video.
        segments (np.ndarray): float64 [G, 2], start and end of each action.
        labels (list[str]): G names.
        proposals (np.ndarray): float64 [P, 2], start and end, best score first.
        scores (np.ndarray): float64 [P].
        frames (list[np.ndarray]): uint8 [H, W, 3], RGB, evenly spaced; empty for no film strip.
    """

    name: str
    duration: float
    segments: np.ndarray
    labels: list[str]
    proposals: np.ndarray
    scores: np.ndarray
    frames: list[np.ndarray] = field(default_factory=list)

    @property
    def overlaps(self) -> np.ndarray:
        """float64 [P], temporal intersection over union with the best matching action, or 0."""
        if not len(self.segments) or not len(self.proposals):
            return np.zeros(len(self.proposals))
        return pairwise_temporal_iou(self.proposals, self.segments).max(axis=0).astype(float)


def read_proposals(
    results: str | os.PathLike,
    annotations: str | os.PathLike,
    videos: Sequence[str] | None = None,
    *,
    num_videos: int = 4,
    top: int = 5,
    min_score: float = 0.0,
) -> list[VideoProposals]:
    """Read the proposals of a localizer and the annotated actions.

    Args:
        results: File from MMAction2's ``ANetMetric`` (``dump_config.out``).
        annotations: File in the format of MMAction2's ``ActivityNetDataset``.
        videos: Names, with or without the ``v_`` of the annotation; by default, evenly spaced
            videos in the order of the annotation, independent of their results.
        num_videos: Number of videos, if ``videos`` does not name them.
        top: Largest number of proposals per video.
        min_score: Smallest score of a proposal.

    Raises:
        UserError: A file is missing or has another format, a video is not in both files, or no
            video is.
    """
    found = _read_json(results, 'results file').get('results')
    if not isinstance(found, dict) or not all(isinstance(rows, list) for rows in found.values()):
        raise UserError(
            f'{results}: does not hold proposals by video; give the file that ANetMetric writes, '
            'results.json in the work directory'
        )
    truth = _read_json(annotations, 'annotation file')
    if not all(
        isinstance(video, dict) and {'duration_second', 'annotations'} <= video.keys()
        for video in truth.values()
    ):
        raise UserError(
            f'{annotations}: not every video has duration_second and annotations; give the '
            'ann_file of the test, in the format of ActivityNetDataset'
        )
    both = [name for name in truth if name[2:] in found]  # ANetMetric cuts `v_` off
    if not both:
        raise UserError(
            f'{results}: none of its {len(found)} videos is among the {len(truth)} of '
            f'{annotations}; give the ann_file of the test'
        )
    if videos is None:
        rows = np.linspace(0, len(both) - 1, min(num_videos, len(both))).round().astype(int)
        chosen = [both[row] for row in rows]
    else:
        chosen = [_full_name(name, both, results, annotations) for name in videos]
    read = []
    for name in chosen:
        duration, actions = truth[name]['duration_second'], truth[name]['annotations']
        if not isinstance(duration, (int, float)):
            raise UserError(f'{annotations}: duration_second of {name} is {duration}; correct it')
        segments = _table(annotations, name, actions)
        labels = [str(action.get('label', '')) for action in actions]
        proposals = _table(results, name[2:], found[name[2:]], 'score')
        proposals = proposals[np.argsort(-proposals[:, 2], kind='stable')][:top]
        proposals = proposals[proposals[:, 2] >= min_score]
        read.append(
            VideoProposals(
                name, float(duration), segments, labels, proposals[:, :2], proposals[:, 2]
            )
        )
    return read


def _read_json(path: str | os.PathLike, kind: str) -> dict:
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f'{path}: no such {kind}') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be read as JSON ({error}); check the file') from error
    if not isinstance(content, dict):
        raise UserError(f'{path}: does not hold videos by name; give the {kind}')
    return content


def _full_name(name: str, both: list[str], results: object, annotations: object) -> str:
    for full in (name, f'v_{name}'):
        if full in both:
            return full
    raise UserError(
        f'no video {name} in both {results} and {annotations}; they share {len(both)}, '
        f'the first is {both[0]}'
    )


def _table(path: str | os.PathLike, name: str, rows: list[dict], *keys: str) -> np.ndarray:
    """float64 [N, 2 + len(keys)], the start and end of each row and the values of ``keys``."""
    try:
        table = [[*map(float, row['segment']), *(float(row[key]) for key in keys)] for row in rows]
        return np.array(table).reshape(len(table), 2 + len(keys))
    except (KeyError, TypeError, ValueError) as error:
        wanted = ' and '.join(['segment [start, end] in seconds', *keys])
        raise UserError(
            f'{path}: not every entry of {name} has a {wanted}; correct it, or leave the video out'
        ) from error


def locate_videos(root: str | os.PathLike, names: Sequence[str]) -> list[Path]:
    """Find the files of videos below a folder, named with or without ``v_``.

    Raises:
        UserError: If a video is missing.
    """
    index = index_videos(Path(root))
    paths = []
    for name in names:
        path = find_video(index, name)
        if path is None:
            raise UserError(
                f'{root}: no video {name} ({", ".join(VIDEO_SUFFIXES)}); check `data_root=FOLDER`'
            )
        paths.append(Path(root, path))
    return paths


def film_strip(path: str | os.PathLike, height: int = 128) -> list[np.ndarray]:
    """Read frames from the middles of equal parts of a video, enough to fill the page.

    Args:
        path: As for :func:`~mmssl_video.visualization.frames.frames_at`.
        height: Height of a frame, in pixels.

    Returns:
        uint8 [height, W, 3], RGB; all with the same size.

    Raises:
        UserError: If no frame can be read.
    """
    (first,) = frames_at(path, [0])
    shape = first.width / first.height
    count = max(3, round((WIDTH - MARGIN - COLUMNS) / (STRIP * shape)))
    size = max(1, round(height * shape)), height
    frames = frames_at(path, (np.arange(count) + 0.5) / count)
    return [np.asarray(frame.resize(size, Image.Resampling.LANCZOS)) for frame in frames]


def save_proposals(
    path: str | os.PathLike, videos: Sequence[VideoProposals], dpi: int = 150
) -> None:
    """Write videos as one picture, one below the other.

    A video has its film strip, a lane with its actions, and a lane for each proposal, best score
    first, coloured by the overlap with the best matching action. Score and overlap (tIoU) are on
    the right.

    Args:
        path: The file; its suffix names the format (``.png``, ``.pdf``, ``.svg``).
        videos: One or more.
        dpi: Pixels per inch; the page is 10 inches wide.

    Raises:
        UserError: If the file cannot be written.
    """
    save_figure(path, draw_proposals(videos), dpi)


def draw_proposals(videos: Sequence[VideoProposals]) -> Figure:
    """Draw the figure of :func:`save_proposals`, with two axes for a video: film strip, then lanes.

    In the lanes' axes, x is in seconds; the actions are in the lane around y = 0, proposal i in the
    lane around y = i + 1.
    """
    heights = [_block_height(video) for video in videos]
    height = sum(heights) + LEGEND
    figure = Figure(figsize=(WIDTH, height))

    def add_axes(left: float, bottom: float, width: float, tall: float) -> Axes:
        """Add axes at a position in inches from the lower left corner."""
        return figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, tall / height))

    across = WIDTH - MARGIN - COLUMNS
    top = height
    for video, tall in zip(videos, heights, strict=True):
        figure.text(
            MARGIN / WIDTH,
            (top - TITLE + 0.1) / height,
            f'{video.name}   {_as_time(video.duration)}',
            size=10,
            weight='bold',
            color=TEXT,
            parse_math=False,
        )
        below = top - TITLE
        if video.frames:
            below -= STRIP
            _draw_strip(add_axes(MARGIN, below, across, STRIP), video)
            below -= GAP
        lanes = LANE * (1 + max(1, len(video.proposals)))
        _draw_lanes(add_axes(MARGIN, below - lanes, across, lanes), video)
        top -= tall
    axes = add_axes(WIDTH - COLUMNS - 2.2, 0.3, 2.2, 0.09)
    bar = figure.colorbar(ScalarMappable(cmap=OVERLAP), cax=axes, orientation='horizontal')
    bar.set_ticks([0, 0.5, 1])
    bar.ax.tick_params(labelsize=7, length=2, pad=2, colors=FAINT)
    bar.outline.set_visible(False)
    axes.set_ylabel(
        'overlap with an action (tIoU)',
        rotation=0,
        size=7.5,
        color=FAINT,
        ha='right',
        va='center',
        labelpad=8,
    )
    return figure


def _block_height(video: VideoProposals) -> float:
    """Height of a video in inches: title, film strip, lanes, time axis."""
    strip = STRIP + GAP if video.frames else 0
    return TITLE + strip + LANE * (1 + max(1, len(video.proposals))) + TIME


def _as_time(seconds: float) -> str:
    return f'{seconds:.1f} s' if seconds < 60 else f'{seconds // 60:.0f}:{seconds % 60:02.0f} min'


def _draw_strip(axes: Axes, video: VideoProposals) -> None:
    """Draw each frame over the part of the time that it is the middle of."""
    box = axes.get_window_extent()
    edges = np.linspace(0, video.duration, len(video.frames) + 1)
    shape = round(1000 * box.width / box.height / len(video.frames)), 1000
    for frame, left, right in zip(video.frames, edges[:-1], edges[1:], strict=True):
        height, width = frame.shape[:2]
        # Crop the frame to the shape of its place, so that it is not stretched.
        scale = min(width / shape[0], height / shape[1])
        tile = ImageOps.fit(Image.fromarray(frame), [max(1, round(scale * side)) for side in shape])
        axes.imshow(tile, extent=(left, right, 0, 1), aspect='auto', interpolation='antialiased')
    axes.vlines(edges[1:-1], 0, 1, color='white', linewidth=1)
    axes.set(xlim=(0, video.duration), ylim=(0, 1))
    axes.set_axis_off()


def _draw_lanes(axes: Axes, video: VideoProposals) -> None:
    num_lanes = 1 + max(1, len(video.proposals))
    axes.set(xlim=(0, video.duration), ylim=(num_lanes - 0.5, -0.5), yticks=[])
    axes.spines[['left', 'right', 'top']].set_visible(False)
    axes.spines['bottom'].set_color(FAINT)
    axes.tick_params(labelsize=7.5, length=3, colors=FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter('{x:g} s')

    def beside(y: float, text: str, **style: object) -> None:
        """Write text left of the lanes."""
        style = dict(ha='right', color=TEXT, size=8.5) | style
        axes.annotate(text, (0, y), (-7, 0), textcoords='offset points', va='center', **style)

    def column(y: float, place: int, text: str, **style: object) -> None:
        """Write text in one of the columns right of the lanes."""
        style = dict(ha='right', color=TEXT, size=8) | style
        spot = (video.duration, y), (40 + 34 * place, 0)
        axes.annotate(text, *spot, textcoords='offset points', va='center', **style)

    beside(0, 'actions')
    inch = video.duration / (WIDTH - MARGIN - COLUMNS)
    for (start, end), label in zip(video.segments, video.labels, strict=True):
        axes.axvspan(start, end, color=BAND, linewidth=0, zorder=0)
        axes.barh(0, end - start, 0.74, start, color=ACTION, edgecolor='white', linewidth=0.8)
        room = int((end - start) / inch / 0.075)  # characters of 8 points
        label = label if len(label) <= room else f'{label[: room - 1]}…'
        if room > 2:
            middle = (start + end) / 2
            axes.text(
                *(middle, 0, label),
                **dict(ha='center', va='center', size=8, color='white', parse_math=False),
            )
    if not len(video.proposals):
        beside(1, 'proposals')
        axes.text(0, 1, ' none', va='center', size=8, color=FAINT)
        return
    beside((1 + len(video.proposals)) / 2, 'proposals')
    column(0, 0, 'score', color=FAINT)
    column(0, 1, 'tIoU', color=FAINT)
    found = zip(video.proposals, video.scores, video.overlaps, strict=True)
    for y, ((start, end), score, overlap) in enumerate(found, 1):
        axes.axhline(y, color='#e3e6ea', linewidth=0.6, zorder=0.5)
        axes.barh(y, end - start, 0.62, start, color=OVERLAP(overlap))
        column(y, 0, f'{score:.2f}')
        column(y, 1, f'{overlap:.2f}')
