"""Draw a part of an annotation list in which every class keeps its share, for few labels."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.passes import run_pass, workers_for
from mmssl_video.video import VideoReader, is_video
from mmssl_video.video.find import is_local

from .sources import FileCheck, join


def _split_columns(lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Split lines into the path and its numbers: the label, for raw frames after their count."""
    rows = []
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r'(\S.*?)((?:\s+\d+)+)\s*', line)
        if match is None:
            raise UserError(f'line {number}: {line!r} does not end in a label; correct the line')
        path, columns = match[1], match[2].split()
        # For raw frames, the number of frames is before the label; for files, all are labels.
        if len(columns) > (1 if is_video(path) else 2):
            raise UserError(
                f'line {number}: {line!r} has several labels, so classes cannot be balanced; use '
                'a list with one label per video'
            )
        if rows and len(columns) != len(rows[0][1]):
            raise UserError(
                f'line {number}: {line!r} ends in {len(columns)} numbers, the lines before it in '
                f'{len(rows[0][1])}; correct the line'
            )
        rows.append((path, columns))
    return rows


def read_labels(lines: Sequence[str]) -> np.ndarray:
    """Read the labels of a list of MMAction2: the last column.

    Args:
        lines: ``path label``, or ``folder num_frames label`` for raw frames. Paths may have spaces.

    Returns:
        int64 [N].

    Raises:
        UserError: If a line has no label or several labels; the message has the line's number.
    """
    return np.array([int(columns[-1]) for _, columns in _split_columns(lines)], dtype=np.int64)


def find_bad_videos(lines: Sequence[str], root: str, numbers: Sequence[int]) -> dict[int, str]:
    """Decode local videos of a list completely; for raw frames, only check that the folder exists.

    Args:
        lines: As for :func:`read_labels`.
        root: Folder that their paths are relative to.
        numbers: Positions of the lines to look at.

    Returns:
        Why videos cannot be read, by position. The log names each of them.
    """
    rows = _split_columns(lines)
    paths = {number: join(root, rows[number][0]) for number in numbers}
    paths = {number: path for number, path in paths.items() if is_local(path)}
    if rows and len(rows[0][1]) == 2:
        entries = [dict(frame_dir=path, total_frames=1) for path in paths.values()]
        found = FileCheck('existence').find_faults(entries)
        faults = {entries[place]['frame_dir']: reason for place, (reason, _) in found.items()}
    else:
        faults = run_pass(
            list(paths.values()),
            _read_whole,
            description='Videos',
            num_workers=workers_for(len(paths)),
            skip_bad=True,
        )
    return {number: faults[path] for number, path in paths.items() if path in faults}


def _read_whole(path: str) -> None:
    with VideoReader(path, forward=True) as video:
        for _ in video.play():
            pass


def draw_subset(
    lines: Sequence[str],
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
    left_out: Collection[int] = (),
) -> np.ndarray:
    """Draw a part of a list at random, balanced by class.

    Each class has its own random order of videos. For a ``fraction`` p of N videos, round(pN) are
    drawn: first one of each class, however small p is, then one after another by Sainte-Laguë's
    (Webster's) method, in which the k-th video of a class of n videos has its turn at
    (k - 1/2) / n. So p of the videos of each class are drawn, rounded, and the total is exact. If
    turns are equal, the seed decides which class is first. The order of turns does not depend on p.
    So a draw is contained in every draw with the same seed and a larger fraction, or more per
    class. The method of largest remainders does not have this property.

    The order of the lines has no influence. If a video is left out, the next one of its class takes
    its turn; all other turns stay the same.

    Args:
        lines: As for :func:`read_labels`, without empty lines.
        fraction: Part of all videos, in (0, 1]. Give either this or ``per_class``.
        per_class: Number of videos of each class.
        seed: Not negative.
        left_out: Positions of lines that are not drawn.

    Returns:
        Positions of the lines drawn, int64, ascending.

    Raises:
        UserError: If an argument is out of its range, or a class has fewer videos than
            ``per_class``.
    """
    if (fraction is None) == (per_class is None):
        raise UserError('give either a fraction or a number per class')
    if fraction is not None and not 0 < fraction <= 1:
        raise UserError(f'fraction is {fraction}; it must be above 0 and at most 1')
    if per_class is not None and per_class < 1:
        raise UserError(f'the number per class is {per_class}; give 1 or more')
    if seed < 0:
        raise UserError(f'seed is {seed}; it must not be negative')
    labels = read_labels(lines)
    by_text = np.array(sorted(range(len(lines)), key=lines.__getitem__), dtype=np.int64)
    classes, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = np.ones(len(lines), dtype=bool)
    kept[list(left_out)] = False
    place = np.full(len(lines), -1)  # of each video in the order of its class
    for index, label in enumerate(classes):
        members = by_text[class_of[by_text] == index]
        members = np.random.default_rng([seed, label]).permutation(members)
        members = members[kept[members]]
        place[members] = np.arange(len(members))

    if per_class is not None:
        there = np.bincount(class_of[kept], minlength=len(classes))
        if len(there) and there.min() < per_class:
            raise UserError(
                f'class {classes[there.argmin()]} has {there.min()} videos, fewer than '
                f'{per_class}; draw fewer per class'
            )
        return np.flatnonzero(kept & (place < per_class))
    turn = np.where(place == 0, 0, (place + 0.5) / sizes[class_of])
    precedence = np.random.default_rng(seed).permutation(len(classes))[class_of]
    total = max(round(fraction * len(lines)), len(classes))
    order = np.lexsort((precedence, turn))
    return np.sort(order[kept[order]][:total])
