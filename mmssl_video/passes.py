"""One pass over many videos: shared among processes, resumable, with one report of what is broken.

Features, BMN features, the motion index, prepared videos and the check of a collection are passes.
What a caller brings is two functions. ``read`` is run by the workers, a video each at a time, and
yields payloads: clips, the motion, nothing. ``consume`` gets them in the main process, which
encodes and writes. A pass that writes complete files (`mmssl_video.files`) and tells by ``done``
which are there can be stopped at any time, and goes on, also in another number of processes::

    def read(path: str) -> Iterator[tuple[str, np.ndarray]]:
        with VideoReader(path, forward=True) as video:
            yield path, measure(video)

    def write(payload: tuple[str, np.ndarray]) -> None:
        path, values = payload
        with atomic_path(target(path)) as temporary:
            np.save(temporary, values)

    start_processes(args.launcher)
    faults = run_pass(
        paths, read, write, done=lambda path: target(path).exists(), num_workers=8, skip_bad=True
    )
    report_faults(out / 'bad_videos.txt', faults, len(paths))
"""

import atexit
import logging
import os
import re
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from mmengine.config import Config
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_dist_info,
    get_rank,
    get_world_size,
    init_dist,
    is_main_process,
)
from mmengine.logging import print_log
from mmengine.utils import digit_version
from mmengine.utils.dl_utils import set_multi_processing
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmssl_video.compat import prepare_launch
from mmssl_video.errors import BadVideoError, UserError, bad_video
from mmssl_video.files import atomic_path
from mmssl_video.video import available_cores

TIMEOUT = 600.0  # seconds to open a video, or to read a part of it: hours of one on a slow disk
PATIENCE = 7 * 24 * 3600  # seconds that a process waits for one with longer videos
COLUMNS = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
# One long video holds up the others of its worker alone; before torch 2.6 sooner or later all.
UNORDERED = {'in_order': False} if digit_version(torch.__version__) >= digit_version('2.6') else {}
MANY_VIDEOS = 16  # from here on a pass is faster in several processes
Video = TypeVar('Video')
Result = TypeVar('Result')


def run_pass(
    videos: Sequence[Video],
    read: Callable[[Any], Iterable | None],
    consume: Callable[[Any], Iterable[BadVideoError] | None] | None = None,
    *,
    name: Callable[[Video], str] = str,
    done: Callable[[Video], bool] | None = None,
    batch_size: int | None = None,
    description: str = 'Videos',
    num_workers: int = 0,
    to_device: bool = False,
    kept: Mapping[int, Any] | None = None,
    skip_bad: bool = False,
) -> dict[str, str]:
    """Read videos in workers, consume what they give, and collect those that cannot be read.

    Each of several processes (:func:`start_processes`) takes a share. A terminal shows a bar with
    the time that is left. Ctrl-C ends the workers without a word of theirs and is raised here.

    Args:
        videos: Paths, numbers or whatever stands for a video; the same in every process.
        read: Called with a video in a worker. What it yields goes to ``consume``, but for two: a
            ``BadVideoError``, yielded as well as raised, is a video that cannot be read, and a
            ``float`` from 0 to 1 tells the bar how much of a long video is done. It may also be a
            plain function without a result. Other errors count as the video's unless they are
            mistakes of the config or the code (:func:`~mmssl_video.errors.bad_video`). It and
            ``name`` need to survive pickling, where processes are spawned: no local function.
        consume: Called in the main process with each payload. Those of one video come in order,
            those of several mixed. What it returns are further videos that are to be left out. They
            are asked for after the next payload has been consumed: a generator that waits for the
            device and writes does so while the device is at work on that.
        name: The path by which errors and the result name a video.
        done: Whether a video needs nothing more. The first process asks, for all.
        batch_size: Videos that are read together: ``read`` is called with a list of them. Batches
            are the same for any number of processes, and after an interruption, but for the videos
            that are done.
        description: Label of the bar.
        num_workers: Processes that read, of each process; 0 reads in the main process.
        to_device: Whether ``consume`` moves tensors to the device, where this is a GPU: they then
            come in pinned memory, and more of them wait.
        kept: Payloads that this process still has of an earlier pass over the same videos, by the
            number of the first video of their batch, which is not read again.
        skip_bad: Whether a video that cannot be read is left out with a warning, instead of an
            error.

    Returns:
        Why videos have been left out, in one line each, by their names; in the order of
        ``videos``, and the same in every process.

    Raises:
        UserError: A video cannot be read and is not to be left out, or the system has ended a
            worker. Where this or another error stops one process, it stops all, when all have come
            to their ends.
    """

    def find_pending() -> list[int]:
        return [number for number, video in enumerate(videos) if not done(video)]

    pending = range(len(videos)) if done is None else from_main_process(find_pending)
    if len(pending) < len(videos) and is_main_process():
        there = f'{len(videos) - len(pending)} of {len(videos)}'
        print_log(f'{description}: {there} are there already', logger='current')
    if batch_size is None:
        batches = [[number] for number in pending]
    else:
        groups = groupby(pending, key=lambda number: number // batch_size)
        batches = [list(numbers) for _, numbers in groups]
    rank, num_processes = get_dist_info()
    share = [(numbers[0], [videos[n] for n in numbers]) for numbers in batches[rank::num_processes]]
    kept = {} if kept is None else kept
    unread = [part for part in share if part[0] not in kept]
    num_workers = min(num_workers, len(unread))
    stream = _Stream(unread, read, name, batch_size is not None, num_workers)
    options = dict(UNORDERED) if num_workers else {}
    if to_device and num_workers:
        options['prefetch_factor'] = 4  # two batches of each worker, as its end follows each
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=_start_worker,
        pin_memory=to_device and torch.cuda.is_available(),
        **options,
    )

    def work() -> list[tuple[int, str, str]]:
        faults = []
        there = ((n, payload) for n, _ in share if n in kept for payload in (kept[n], 1.0))
        started = []  # the last payload: number, and what `consume` has returned

        def finish(number: int, bad: Iterable[BadVideoError]) -> None:
            for error in bad:
                if not skip_bad:
                    raise UserError(f'{error}, or leave such videos out with `skip_bad=True`')
                message = f'left out: {str(error).removesuffix(f"; {error.remedy}")}'
                print_log(message, logger='current', level=logging.WARNING)
                faults.append((number, error.path, ' '.join(error.reason.split())))

        with _one_opencv_thread(), _clear_end(stream), _bar(description, share) as advance:
            try:
                for number, payload in chain(there, iter(loader)):  # workers begin at once
                    if isinstance(payload, float):
                        advance(number, payload)
                        continue
                    is_bad = isinstance(payload, BadVideoError)
                    bad = [payload] if is_bad else consume and consume(payload)
                    started.append((number, bad or ()))
                    # What cannot be read may stop the pass, and then does so at once.
                    while len(started) > (0 if is_bad else 1):
                        finish(*started.pop(0))
            except BaseException:  # what has been consumed is written all the same
                with suppress(Exception):
                    finish(*started.pop())
                raise
            if started:
                finish(*started.pop())
        return faults

    faults = sorted(chain(*run_together(work)), key=itemgetter(0))
    return {path: reason for _, path, reason in faults}


def report_faults(path: str | os.PathLike, faults: dict[str, str], num_videos: int) -> None:
    r"""List the videos that have been left out, a line ``name<TAB>reason`` for each.

    The first process writes the file, or removes an earlier one where there is nothing to list.

    Args:
        path: Of the file.
        faults: Why, by name.
        num_videos: Of all videos, these included.

    Raises:
        UserError: If none is left, or the file cannot be written.
    """
    if is_main_process() and not faults:
        Path(path).unlink(missing_ok=True)
    elif is_main_process():
        with atomic_path(path) as temporary:
            lines = (f'{name}\t{fault}\n' for name, fault in faults.items())
            # Names of files may be of any bytes.
            temporary.write_text(''.join(lines), encoding='utf-8', errors='surrogateescape')
    if len(faults) == num_videos:
        raise UserError(f'{path}: none of the videos can be read; see there why')


def workers_for(num_videos: int) -> int:
    """Processes that are worth their start to read some videos: none for few, else all cores."""
    return available_cores() if num_videos >= MANY_VIDEOS else 0


# Processes ----------------------------------------------------------------------------------


def start_processes(launcher: str) -> None:
    """Join the processes that run a pass together.

    Through gloo also on GPUs: nothing but small objects goes from one to another.

    Args:
        launcher: 'pytorch', 'slurm' or 'mpi'; nothing happens for 'none'.
    """
    if launcher != 'none':
        prepare_launch(Config(), launcher)
        set_multi_processing(distributed=True)
        init_dist(launcher, backend='gloo', timeout=PATIENCE)
        atexit.register(torch.distributed.destroy_process_group)


def run_together(work: Callable[[], Result]) -> list[Result]:
    """Run ``work`` in each process; what fails in one fails in all, when all have come to its end.

    Returns:
        What it gives in each process, by their ranks.

    Raises:
        Exception: In the process where it has failed.
        UserError: With the same message, in the others.
    """
    result = fault = failure = None
    try:
        result = work()
    except Exception as error:
        failure = error
        fault = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
        if get_world_size() > 1:
            line = (fault.splitlines() or [''])[-1]  # the last one, where a worker has sent more
            message = f'process {get_rank()} has stopped and waits for the others: {line}'
            print_log(message, logger='current', level=logging.ERROR)
    outcomes = all_gather_object((result, fault))
    if failure is not None:
        raise failure
    for _, fault in outcomes:
        if fault is not None:
            raise UserError(fault)
    return [result for result, _ in outcomes]


def from_main_process(work: Callable[[], Result]) -> Result:
    """Run ``work`` in the first process, and give what comes out, or its error, to all.

    Every process has to come here. Workers of a data loader, which are none of them, run it too.
    """
    if get_worker_info() is not None:
        return work()
    result: list[Result] = []
    run_together(lambda: result.append(work()) if is_main_process() else None)
    # Not gathered: that takes as much memory for each process.
    result = result or [None]
    broadcast_object_list(result)
    return result[0]


# Workers ------------------------------------------------------------------------------------


class _Stream(IterableDataset):
    """Payloads of all batches of a process; of several workers, each reads its batches.

    Attributes:
        current (Tensor): int64 [workers, 2] in shared memory, what each worker is at: its process
            id and the place of the batch.
    """

    def __init__(
        self,
        share: list[tuple[int, list]],
        read: Callable,
        name: Callable,
        in_batches: bool,
        num_workers: int,
    ) -> None:
        self.share = share
        self.read = read
        self.name = name
        self.in_batches = in_batches
        self.current = torch.zeros(max(1, num_workers), 2, dtype=torch.int64).share_memory_()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield the number of a batch's first video with each payload, and with 1.0 at its end."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for place in range(first, len(self.share), step):
            self.current[first] = torch.tensor([os.getpid(), place])
            number, batch = self.share[place]
            try:
                for payload in self.read(batch if self.in_batches else batch[0]) or ():
                    yield number, payload
            except Exception as error:
                if (fault := bad_video(error, self.name(batch[0]))) is None:
                    raise
                yield number, fault
            yield number, 1.0

    def read_by(self, process: int) -> list[str]:
        """Names of the videos that a worker was reading."""
        places = [place for pid, place in self.current.tolist() if pid == process]
        return [self.name(video) for place in places for video in self.share[place][1]]


def _unchanged(record: tuple) -> tuple:
    return record  # torch's own makes tensors of arrays, and lists of tuples


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(1)  # a spawned process has not inherited it
    # Ctrl-C reaches all processes of a terminal; the main one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python's thread that hands out tensors shows a traceback if they are no longer fetched.
    sys.excepthook = lambda *error: None


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    # The cores are for the processes; and OpenCV's pool of threads does not survive a fork.
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(num_threads)


@contextmanager
def _clear_end(stream: _Stream) -> Iterator[None]:
    """End the workers with an error, and name the video at which the system has ended one."""
    try:
        yield
    except BaseException as error:
        # torch's frames hold the workers, and an error of a worker would hold these for long.
        traceback.clear_frames(error.__traceback__)
        # What torch says of a process that is gone.
        gone = re.match(r'DataLoader worker \(pid\D*(\d+).*?\) ([^.]*)', str(error))
        if not isinstance(error, RuntimeError) or gone is None:
            raise
        videos = ', '.join(stream.read_by(int(gone[1]))) or 'a video'
        raise UserError(
            f'{videos}: the process that reads has been lost here ({gone[2]}); if the memory was '
            'full, take fewer workers, else remove the video; the same command goes on'
        ) from error


@contextmanager
def _bar(description: str, share: list[tuple[int, list]]) -> Iterator[Callable[[int, float], None]]:
    """Show a bar on a terminal; gives ``advance(number of the batch, what is done of it)``."""
    console = Console(stderr=True)
    hidden = not (console.is_terminal and is_main_process())
    sizes = {number: len(batch) for number, batch in share}
    shown = defaultdict(float)
    with Progress(*COLUMNS, console=console, disable=hidden, speed_estimate_period=300) as progress:
        task = progress.add_task(description, total=sum(sizes.values()))

        def advance(number: int, part: float) -> None:
            progress.advance(task, sizes[number] * (part - shown[number]))
            shown[number] = part

        yield advance
