"""Videos that turn out bad in training: what takes their place, and when they are too many."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path

MAX_REASONS = 3  # told by name when a run stops


def draw_replacements(
    index: int, order: np.ndarray, batch_size: int, num_videos: int, generator: np.random.Generator
) -> Iterator[int]:
    """Draw videos that may take the place of one in its batch.

    A video at place s of its batch gets one at place s of another batch. So it is none of its own
    batch, which may be its negative, and no two of a batch draw the same one, whichever of them
    are bad. Nothing but the order of the epoch has to be known for this, neither by the worker nor
    by the process that reads the video.

    Videos that a sampler repeats, as MMEngine's does with the first ones if the processes would
    not have equally many, count as of all their batches. Only beside such a repetition, so in the
    last batches of an epoch, may two draw the same one.

    Args:
        index: The video to be replaced.
        order: Videos of the epoch, of all processes; each ``batch_size`` in a row are a batch.
        batch_size: Videos of a batch of all processes together.
        num_videos: Videos of the data set; what ``order`` has beyond them are repetitions.
        generator: Decides which batch.

    Yields:
        One after another without repetition, until the other batches have no more.
    """
    places = np.flatnonzero(order == index)
    batches = {place // batch_size for place in places.tolist()}
    own = [order[b * batch_size : (b + 1) * batch_size] for b in batches]
    candidates = generator.permutation(order[places[0] % batch_size : num_videos : batch_size])
    yield from candidates[~np.isin(candidates, np.concatenate(own))].tolist()


def check_share(
    bad: dict[str, str], num_videos: int, max_share: float, report: str | os.PathLike | None = None
) -> None:
    """Stop where too many videos are bad.

    Args:
        bad: Reasons by path.
        num_videos: Of all that are listed, these included.
        max_share: Part of them that may be bad, rounded up to whole videos.
        report: File that gets their list first.

    Raises:
        UserError: There are more of them.
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
    r"""Add videos to a file of lines ``path<TAB>reason``, sorted, each path once.

    Args:
        report: The file; what it has stays.
        bad: Reasons by path; they replace older ones.

    Raises:
        UserError: The file cannot be written.
    """
    report = Path(report)
    text = dict(encoding='utf-8', errors='surrogateescape')  # paths may be of any bytes
    listed = {}
    if report.exists():
        lines = report.read_text(**text).splitlines()
        listed = dict(line.split('\t', 1) for line in lines if '\t' in line)
    lines = (f'{path}\t{reason}\n' for path, reason in sorted((listed | bad).items()))
    with atomic_path(report) as temporary:
        temporary.write_text(''.join(lines), **text)
