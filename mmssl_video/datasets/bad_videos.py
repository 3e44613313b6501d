"""Replace videos that turn out bad in training, and stop when there are too many of them."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path
from mmssl_video.video.find import one_line

MAX_REASONS = 3  # named in the error that stops a run


def draw_replacements(
    index: int, order: np.ndarray, batch_size: int, num_videos: int, generator: np.random.Generator
) -> Iterator[int]:
    """Draw videos that may replace a bad video in its batch.

    The video at place s of its batch is replaced by the one at place s of another batch. So the
    replacement is never in the same batch, where it may be a negative, and no two videos of a
    batch draw the same one, whichever of them are bad. The worker or process that reads the video
    only needs to know the order of the epoch.

    A sampler may repeat videos: MMEngine's repeats the first ones, so that all processes have the
    same number. A repeated video counts as part of each of its batches. Two videos can draw the
    same replacement only next to such a repetition, in the last batches of an epoch.

    Args:
        index: The video to be replaced.
        order: Videos of the epoch, of all processes; every ``batch_size`` in a row are a batch.
        batch_size: Number of videos in a batch of all processes together.
        num_videos: Number of videos of the data set; entries of ``order`` beyond it are
            repetitions.
        generator: Draws the order in which the other batches are tried.

    Yields:
        Candidates, each once, until there are no more in the other batches.
    """
    places = np.flatnonzero(order == index)
    batches = {place // batch_size for place in places.tolist()}
    own = [order[b * batch_size : (b + 1) * batch_size] for b in batches]
    candidates = generator.permutation(order[places[0] % batch_size : num_videos : batch_size])
    yield from candidates[~np.isin(candidates, np.concatenate(own))].tolist()


def check_share(
    bad: dict[str, str], num_videos: int, max_share: float, report: str | os.PathLike | None = None
) -> None:
    """Stop the run if too many videos are bad.

    Args:
        bad: Reasons by path.
        num_videos: Number of all listed videos, including the bad ones.
        max_share: Part of the videos that may be bad, rounded up to whole videos.
        report: File to which the bad videos are written before the error.

    Raises:
        UserError: More videos than that are bad.
    """
    if len(bad) <= math.ceil(round(max_share * num_videos, 6)):
        return
    if report is not None:
        add_to_report(report, bad)
    counted, examples = Counter(), {}
    for path, reason in sorted(bad.items()):
        counted[reason] += 1
        examples.setdefault(reason, path)
    counts = counted.most_common()
    reasons = [f'{n} x {reason}, e.g. {examples[reason]}' for reason, n in counts[:MAX_REASONS]]
    if len(counts) > MAX_REASONS:
        reasons.append(f'{len(counts) - MAX_REASONS} other reasons')
    raise UserError(
        f'{len(bad)} of {num_videos} videos ({len(bad) / num_videos:.1%}) cannot be read, above '
        f'max_bad_share={max_share:g}: {"; ".join(reasons)}; '
        f'{f"{report} lists them: " if report is not None else ""}remove them from the list and '
        'the folder (tools/check_videos.py finds all, and writes a list of the others), or set '
        'train_dataloader.dataset.max_bad_share'
    )


def add_to_report(report: str | os.PathLike, bad: dict[str, str]) -> None:
    r"""Add videos to a file with lines ``path<TAB>reason``, sorted, each path once.

    Line breaks and tabs in a path are written as ``\n``, ``\r`` and ``\t``.

    Args:
        report: The file; its lines are kept.
        bad: Reasons by path; they replace older ones.

    Raises:
        UserError: The file cannot be written.
    """
    report = Path(report)
    text = dict(encoding='utf-8', errors='surrogateescape')  # paths may be of any bytes
    listed = {}
    if report.exists():
        # Not splitlines(), which also splits at other characters that a name may have.
        lines = report.read_bytes().decode(**text).split('\n')
        listed = dict(line.split('\t', 1) for line in lines if '\t' in line)
    listed |= {one_line(path): one_line(reason) for path, reason in bad.items()}
    lines = (f'{path}\t{reason}\n' for path, reason in sorted(listed.items()))
    with atomic_path(report) as temporary:
        temporary.write_text(''.join(lines), **text)
