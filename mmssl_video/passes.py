"""One pass over many videos: shared among processes, resumable, with one report of bad videos.

Features, BMN features, the motion index, prepared videos and the check of a collection are passes.
A caller provides two functions. Each worker runs ``read`` on one video at a time; it yields
payloads: clips, the motion, or nothing. The main process runs ``consume`` on the payloads, to
encode and write. A pass that writes complete files (`mmssl_video.files`), and reports by ``done``
which of them exist, can be stopped at any time and continued, also in another number of processes::

    def read(path: str) -> Iterator[tuple[str, np.ndarray]]:
        with VideoReader(path, forward=True) as video:
            yield path, measure(video)

    def write(payload: tuple[str, np.ndarray]) -> None:
        path, values = payload
        with atomic_path(target(path)) as temporary, temporary.open('wb') as file:
            np.save(file, values)

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
from datetime import timedelta
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
from mmssl_video.video.find import one_line

# Seconds to open a video, or to read a part of it; a slow disk reads hours of video in this time.
TIMEOUT = 600.0
PATIENCE = 7 * 24 * 3600  # seconds that a process waits for another with longer videos
COLUMNS = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
# A long video delays only its own worker; before torch 2.6, it sooner or later delays all.
UNORDERED = {'in_order': False} if digit_version(torch.__version__) >= digit_version('2.6') else {}
MANY_VIDEOS = 16  # from here on a pass is faster in several processes
_patient_groups: dict[torch.distributed.ProcessGroup, torch.distributed.ProcessGroup] = {}
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
    """Read videos in workers, consume the payloads, and collect the videos that cannot be read.

    Each of several processes (:func:`start_processes`) takes a share. A terminal shows a bar with
    the remaining time. Ctrl-C ends the workers silently and is raised here.

    Args:
        videos: Paths, numbers or other values, one for each video; the same in every process.
        read: Called with a video in a worker. Its yields go to ``consume``, with two exceptions: a
            ``BadVideoError``, yielded or raised, means that the video cannot be read, and a
            ``float`` from 0 to 1 sets the bar to this part of a long video. It may also be a plain
            function without a result. Other errors count as the video's unless they are mistakes of
            the config or the code (:func:`~mmssl_video.errors.bad_video`). If processes are
            spawned, ``read`` and ``name`` are pickled, so they must not be local functions.
        consume: Called in the main process with each payload. Payloads of one video come in order,
            those of several videos are mixed. It returns further videos to leave out. They are
            fetched after the next payload has been consumed, so a generator can wait for the device
            and write while the device works on the next payload.
        name: Gives the path of a video for errors and for the result.
        done: Whether a video is finished already. The first process calls it, for all.
        batch_size: Videos that are read together: ``read`` is called with a list of them. Batches
            are the same for any number of processes, and after an interruption, except for the
            videos that are done.
        description: Label of the bar.
        num_workers: Processes that read, for each process; 0 reads in the main process.
        to_device: Whether ``consume`` moves tensors to the device. If this is a GPU, they come in
            pinned memory, and more of them wait.
        kept: Payloads that this process has kept from an earlier pass over the same videos, by the
            number of the first video of their batch, which is not read again.
        skip_bad: Whether to leave out a video that cannot be read, with a warning instead of an
            error.

    Returns:
        Reasons why videos have been left out, one line each, by their names; in the order of
        ``videos``, and the same in every process.

    Raises:
        UserError: A video cannot be read and ``skip_bad`` is not set, or the system has ended a
            worker. An error in one process stops all processes, once all have come to their ends.
    """

    def find_pending() -> list[int]:
        return [number for number, video in enumerate(videos) if not done(video)]

    pending = range(len(videos)) if done is None else from_main_process(find_pending)
    if len(pending) < len(videos) and is_main_process():
        there = f'{len(videos) - len(pending)} of {len(videos)}'
        print_log(f'{description}: {there} are already done', logger='current')
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
        options['prefetch_factor'] = 4  # two batches a worker, since an end mark follows each
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
        started = []  # the last payload: its number and the result of `consume`

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
                    # A video that cannot be read may stop the pass; then it stops at once.
                    while len(started) > (0 if is_bad else 1):
                        finish(*started.pop(0))
            except BaseException:  # still write what has been consumed
                with suppress(Exception):
                    finish(*started.pop())
                raise
            if started:
                finish(*started.pop())
        return faults

    faults = sorted(chain(*run_together(work)), key=itemgetter(0))
    return {path: reason for _, path, reason in faults}


def report_faults(path: str | os.PathLike, faults: dict[str, str], num_videos: int) -> None:
    r"""List the videos that have been left out, one line ``name<TAB>reason`` each.

    The first process writes the file, or removes an earlier one if there is nothing to list.

    Args:
        path: Path of the file.
        faults: Reasons by the names of the videos.
        num_videos: Number of all videos, these included.

    Raises:
        UserError: If all videos have been left out, or the file cannot be written.
    """
    if is_main_process() and not faults:
        Path(path).unlink(missing_ok=True)
    elif is_main_process():
        with atomic_path(path) as temporary:
            lines = (f'{one_line(name)}\t{one_line(fault)}\n' for name, fault in faults.items())
            # File names may have any bytes.
            temporary.write_text(''.join(lines), encoding='utf-8', errors='surrogateescape')
    if len(faults) == num_videos:
        raise UserError(f'{path}: none of the videos can be read; this file has the reasons')


def workers_for(num_videos: int) -> int:
    """Number of workers for a pass: none for few videos, otherwise one for each core."""
    return available_cores() if num_videos >= MANY_VIDEOS else 0


# Processes ----------------------------------------------------------------------------------


def start_processes(launcher: str) -> None:
    """Join the processes that run a pass together.

    They use gloo, also on GPUs, since they exchange only small objects.

    Args:
        launcher: 'pytorch', 'slurm' or 'mpi'; nothing happens for 'none'.
    """
    if launcher != 'none':
        prepare_launch(Config(), launcher)
        set_multi_processing(distributed=True)
        init_dist(launcher, backend='gloo', timeout=PATIENCE)
        atexit.register(torch.distributed.destroy_process_group)


def run_together(work: Callable[[], Result]) -> list[Result]:
    """Run ``work`` in each process; if one fails, all fail, once all have come to the end.

    Returns:
        The results of all processes, by rank.

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
            line = (fault.splitlines() or [''])[-1]  # the last line, if a worker has sent several
            message = f'process {get_rank()} has stopped and waits for the others: {line}'
            print_log(message, logger='current', level=logging.ERROR)
    outcomes = all_gather_object((result, fault), _patient_group())
    if failure is not None:
        raise failure
    for _, fault in outcomes:
        if fault is not None:
            raise UserError(fault)
    return [result for result, _ in outcomes]


def from_main_process(work: Callable[[], Result]) -> Result:
    """Run ``work`` in the first process, and give its result or error to all.

    Every process has to call this. Workers of a data loader are not among these processes and run
    ``work`` themselves.
    """
    if get_worker_info() is not None:
        return work()
    result: list[Result] = []
    run_together(lambda: result.append(work()) if is_main_process() else None)
    # Broadcast, since a gather would take as much memory again for each process.
    result = result or [None]
    broadcast_object_list(result, group=_patient_group())
    return result[0]


def _patient_group() -> torch.distributed.ProcessGroup | None:
    """A group of all processes whose members wait for `PATIENCE`; ``None`` with one process.

    The time limit of training, minutes, is too short for a check of all files on a slow disk.
    """
    if get_world_size() == 1:
        return None
    world = torch.distributed.group.WORLD
    if world not in _patient_groups:  # not of a group that has been destroyed
        _patient_groups.clear()
        _patient_groups[world] = torch.distributed.new_group(
            backend='gloo', timeout=timedelta(seconds=PATIENCE)
        )
    return _patient_groups[world]


# Workers ------------------------------------------------------------------------------------


class _Stream(IterableDataset):
    """Payloads of all batches of a process; each of several workers reads a part of the batches.

    Attributes:
        current (Tensor): int64 [workers, 2] in shared memory: the process id of each worker and the
            place of the batch that it reads.
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
        """Yield each payload, and 1.0 at a batch's end, with the number of its first video."""
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
    return record  # torch's own function turns arrays into tensors, and tuples into lists


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(1)  # a spawned process does not inherit it
    # Ctrl-C reaches all processes of a terminal; the main one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python's thread that passes tensors on shows a traceback if nobody fetches them any more.
    sys.excepthook = lambda *error: None


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    # The processes need the cores, and OpenCV's thread pool does not survive a fork.
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(num_threads)


@contextmanager
def _clear_end(stream: _Stream) -> Iterator[None]:
    """End the workers after an error, and name the video of a worker that the system has ended."""
    try:
        yield
    except BaseException as error:
        # torch's frames keep the workers alive, and a worker's error would keep the frames.
        traceback.clear_frames(error.__traceback__)
        lost = lost_worker(error)
        if lost is None:
            raise
        process, how = lost
        videos = ', '.join(stream.read_by(process)) or 'a video'
        raise UserError(
            f'{videos}: the reading process ended here ({how}); if the memory was full, use '
            'fewer workers, otherwise remove the video; then run the same command to continue'
        ) from error


def lost_worker(error: BaseException) -> tuple[int, str] | None:
    """Number and end of the worker of a data loader, if torch says that the system ended one."""
    found = re.match(r'DataLoader worker \(pid\D*(\d+)[\d, ]*\) ([^.]*)', str(error))
    return (int(found[1]), found[2]) if found and isinstance(error, RuntimeError) else None


@contextmanager
def _bar(description: str, share: list[tuple[int, list]]) -> Iterator[Callable[[int, float], None]]:
    """Show a bar on a terminal; gives ``advance(number of the batch, part that is done)``."""
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
