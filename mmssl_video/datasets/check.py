"""Check which videos of a collection can be read, and how fast.

``tools/check_videos.py`` writes a folder, ``train.check`` for a list ``train.txt``::

    good.txt        the lines of videos that can be read
    bad.txt         path and reason of the others
    results.jsonl   a line for each video: frames, fps, width, height, codec and more
"""

import logging
import os
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mmengine.logging import print_log

from mmssl_video.errors import BadVideoError, UserError, bad_video
from mmssl_video.passes import run_pass
from mmssl_video.video import VideoReader
from mmssl_video.video.find import one_line

from .collection import Collection, add_record, read_records, write_lines, write_records
from .sources import unlistable

LONG = 60  # seconds; opening a longer video takes a while without an index
FAR_APART = 16  # frames from one key frame to the next
LARGE = 360  # pixels of the shorter side


def check_video(video: VideoReader, quick: bool) -> Generator[float, None, dict]:
    """Decode all frames of a video, or three of them.

    Args:
        video: Opened with ``forward=True``, unless ``quick``.
        quick: Whether to decode only the first, the middle and the last frame.

    Yields:
        The part that is done, from 0 to 1.

    Returns:
        ``frames``, ``fps``, ``seconds``, ``width``, ``height``, ``codec``; ``storage``, which is
        ``'mjpeg'``, ``'intra'`` or ``'inter'``; ``key_distance``, from one key frame to the next
        on average; and ``numbering``, which is ``'time stamps'`` unless the video has to be decoded
        when it is opened.

    Raises:
        BadVideoError: If a frame cannot be decoded.
    """
    if quick:
        for number in sorted({0, len(video) // 2, len(video) - 1}):
            video.renew()
            video.frames([number])
    else:
        for numbers, _ in video.play():
            yield numbers.stop / len(video)
    return dict(
        frames=len(video),
        fps=video.avg_fps,
        seconds=video.times[-1] + 1 / video.avg_fps,
        width=video.width,
        height=video.height,
        codec=video.codec,
        storage=video.storage,
        # A stream that was cut out of a longer one may have no marked key frame.
        key_distance=len(video.index.keys) / max(1, int(video.index.keys.sum())),
        numbering=video.index.numbering,
    )


def wants_index(record: dict) -> bool:
    """Whether a readable video opens much faster with an index of its packets."""
    return record['seconds'] > LONG or record['numbering'] != 'time stamps'


@dataclass
class _Looker:
    """Checks videos by number, in a worker."""

    videos: Collection
    quick: bool
    thorough: set[int]  # decoded completely even if ``quick``
    index: bool
    timeout: float

    def __call__(self, number: int) -> Iterator[float | dict]:
        """Yield the part of a video that is done, then the results."""
        videos, quick = self.videos, self.quick and number not in self.thorough
        known = dict(path=videos.names[number], signature=videos.signature(number), quick=quick)
        try:
            if reason := unlistable(videos.names[number]):
                raise BadVideoError(videos.path(number), reason)
            with videos.open(number, self.timeout, forward=not quick) as video:
                found = yield from check_video(video, quick)
                if self.index and wants_index(found):
                    video.save_index(videos.index_path(number))
        except Exception as error:
            fault = bad_video(error, videos.path(number))
            if fault is None:
                raise
            found = dict(reason=' '.join(fault.reason.split()))
        yield known | found


def check_videos(
    videos: Collection,
    folder: Path,
    quick: bool = False,
    index: bool = False,
    timeout: float = 30.0,
    jobs: int = 1,
) -> list[dict]:
    """Check all videos, except those that were good in an earlier check and have not changed.

    Args:
        videos: The collection.
        folder: Where the lists and results are written.
        quick: Whether to decode only three frames of each video.
        index: Whether to save the packet index of a video if :func:`wants_index`.
        timeout: Seconds allowed to open a video, and to read some frames.
        jobs: Number of processes.

    Returns:
        The result of :func:`check_video` for each video, or the ``reason`` why it cannot be read.

    Raises:
        UserError: If the folder cannot be written to.
    """
    if jobs < 1 or not timeout > 0:  # also nan
        raise UserError(f'jobs is {jobs} and the time-out {timeout:g}; give more than 0')
    results = folder / 'results.jsonl'
    known = {record['path']: record for record in read_records(results)}
    write_records(results, known.values())
    unchanged = {
        number: known[name]
        for name, number in videos.numbers.items()
        if name in known and known[name]['signature'] == videos.signature(number)
    }
    # Damage found by decoding all frames must not be lost because three frames do not show it.
    thorough = {number for number, record in unchanged.items() if not record['quick']}

    def is_done(number: int) -> bool:
        record = unchanged.get(number)
        if record is None or 'reason' in record or record['quick'] and not quick:
            return False
        return not (index and wants_index(record) and not os.path.exists(videos.index_path(number)))

    def keep(record: dict) -> None:
        known[record['path']] = record
        add_record(results, record)
        if 'reason' in record:
            path = videos.path(videos.numbers[record['path']])
            print_log(f'bad: {path} ({record["reason"]})', logger='current', level=logging.WARNING)

    run_pass(
        list(videos.numbers.values()),
        _Looker(videos, quick, thorough, index, timeout),
        keep,
        name=videos.path,
        done=is_done,
        description='Checking',
        num_workers=jobs if jobs > 1 else 0,
    )
    records = [known[name] for name in videos.numbers]
    write_records(results, records)
    reasons = {record['path']: record['reason'] for record in records if 'reason' in record}
    reports = {
        'bad.txt': [
            f'{one_line(videos.path(videos.numbers[name]))}\t{one_line(reason)}'
            for name, reason in reasons.items()
        ],
        'good.txt': [
            line
            for name, line in zip(videos.names, videos.lines, strict=True)
            if name not in reasons
        ],
    }
    for name, lines in reports.items():
        if lines:
            write_lines(folder / name, lines)
        else:
            (folder / name).unlink(missing_ok=True)
    return records


def summarize(records: list[dict]) -> list[str]:
    """Summarize the results of :func:`check_videos` in a few lines."""
    good = [record for record in records if 'reason' not in record]
    hours = sum(record['seconds'] for record in good) / 3600
    frames = sum(record['frames'] for record in good)
    lines = [
        f'good: {len(good):,} of {len(records):,} videos, {hours:,.2f} hours, {frames:,} frames'
    ]
    kinds = Counter((record['codec'], record['storage']) for record in good)
    for (codec, storage), count in kinds.most_common():
        alike = [r for r in good if (r['codec'], r['storage']) == (codec, storage)]
        side = median(min(record['width'], record['height']) for record in alike)
        keys = median(record['key_distance'] for record in alike)
        every = f'a key frame every {keys:.0f} frames' if storage == 'inter' else 'only key frames'
        lines.append(f'  {count:,} {codec}, {every}, short side {side:.0f}')
    if bad := [record for record in records if 'reason' in record]:
        lines.append(f'bad: {len(bad):,}')
        examples = {record['reason']: record['path'] for record in bad}
        for reason, count in Counter(record['reason'] for record in bad).most_common():
            lines.append(f'  {count:,} {reason}, e.g. {examples[reason]}')
    slow = {
        f'with key frames more than {FAR_APART} frames apart': [
            r for r in good if r['storage'] == 'inter' and r['key_distance'] > FAR_APART
        ],
        f'with a short side above {LARGE}': [
            r for r in good if min(r['width'], r['height']) > LARGE
        ],
        'decoded each time they are opened': [
            r for r in good if r['numbering'] != 'time stamps' and r['storage'] == 'inter'
        ],
    }
    told = [f'{len(those):,} {what}' for what, those in slow.items() if those]
    if told:
        lines.append(
            f'slow to read: {", ".join(told)}; re-encode them with tools/prepare_videos.py'
        )
    return lines
