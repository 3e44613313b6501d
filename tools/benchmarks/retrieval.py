"""Measure retrieval on generated galleries: time and memory against scikit-learn, and recall.

    OMP_NUM_THREADS=2 python tools/benchmarks/retrieval.py --sizes 50000x512 20000x2048

Features are drawn around class centres of 100 videos each, with noise in directions that all
classes share: the cosine of two videos of a class is about 0.75. They are in a folder that is
deleted at the end, N * D * 4 bytes at a time. Every search runs in its own process, in turns with
the others, so that load from other processes affects all of them. Times, and ratios to scikit-learn
in the same turn, are medians of the turns, with the first and the third quartile in brackets.
Memory is what a process allocates after its start, without the pages of the mapped gallery, which
the system frees when it needs them. "found" is the share of the true neighbours.

The plan shows what a search of --plan needs, without running it.
"""

import argparse
import multiprocessing
import re
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.neighbors import NearestNeighbors
from timing import summary, with_spread, write_figures

from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.evaluation import (
    FeatureSet,
    IndexPlan,
    InvertedFile,
    nearest_neighbours,
)

BASELINE = 'scikit-learn, exact'
SETS = 'gallery', 'query'
CHUNK = 8192


def read_size(text: str) -> tuple[int, int]:
    """Read ``NxD``."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(f'{text} is not a size such as 50000x512')
    num, dim = map(int, text.split('x'))
    return num, dim


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--sizes',
        nargs='*',
        type=read_size,
        default=[(50_000, 512), (20_000, 2048)],
        metavar='NxD',
        help='galleries of N videos with D features (default 50000x512 20000x2048; none for '
        'only the plan)',
    )
    parser.add_argument(
        '--queries', type=int, default=1000, help='number of queries (default 1000)'
    )
    parser.add_argument('--neighbours', type=int, default=10, help='K (default 10)')
    parser.add_argument('--turns', type=int, default=3, help='number of turns (default 3)')
    parser.add_argument('--nlist', type=int, help='as in tools/retrieval.py')
    parser.add_argument('--nprobe', type=int, help='as in tools/retrieval.py')
    parser.add_argument('--candidates', type=int, help='as in tools/retrieval.py')
    parser.add_argument('--code-size', type=int, metavar='BYTES', help='as in tools/retrieval.py')
    parser.add_argument(
        '--plan',
        type=read_size,
        default=(1_000_000, 2048),
        metavar='NxD',
        help='gallery to plan for (default 1000000x2048)',
    )
    parser.add_argument(
        '--folder', help="folder for the galleries (default the system's temporary one)"
    )
    parser.add_argument('--out', help='JSON file for all figures')
    args = parser.parse_args()
    for option in ('queries', 'neighbours', 'turns'):
        if getattr(args, option) < 1:
            raise UserError(f'--{option} {getattr(args, option)}: use 1 or more')
    return args


def generate(folder: Path, num: int, num_queries: int, dim: int) -> None:
    """Write ``gallery.npy`` and ``query.npy``, float32 of length 1."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(2, num // 100), dim), np.float32)
    shared = rng.standard_normal((max(1, dim // 8), dim), np.float32) / (dim // 8 or 1) ** 0.5
    for name, rows in zip(SETS, (num, num_queries), strict=True):
        file = np.lib.format.open_memmap(folder / f'{name}.npy', 'w+', np.float32, (rows, dim))
        for top in range(0, rows, CHUNK):
            size = min(CHUNK, rows - top)
            chunk = centres[rng.integers(len(centres), size=size)]
            chunk += 0.5 * rng.standard_normal((size, len(shared)), np.float32) @ shared
            chunk += 0.3 * rng.standard_normal((size, dim), np.float32)
            file[top : top + size] = chunk / np.linalg.norm(chunk, axis=1, keepdims=True)
        file.flush()


def load(folder: Path, name: str) -> FeatureSet:
    features = np.load(folder / f'{name}.npy', mmap_mode='r')
    names = np.arange(len(features)).astype(str)
    return FeatureSet(features, np.zeros(len(features), int), names, name)


# Each search returns its times in seconds and the rows that it finds, int64 [queries, K].


def with_sklearn(args: argparse.Namespace, folder: Path) -> tuple[dict[str, float], np.ndarray]:
    gallery, query = (np.load(folder / f'{name}.npy', mmap_mode='r') for name in SETS)
    start = time.perf_counter()
    search = NearestNeighbors(n_neighbors=args.neighbours, metric='cosine', algorithm='brute')
    found = search.fit(gallery).kneighbors(query, return_distance=False)
    return {BASELINE: time.perf_counter() - start}, found


def with_exact(args: argparse.Namespace, folder: Path) -> tuple[dict[str, float], np.ndarray]:
    gallery, query = (load(folder, name) for name in SETS)
    start = time.perf_counter()
    found, _ = nearest_neighbours(gallery, query, args.neighbours)
    return {'exact': time.perf_counter() - start}, found


def with_index(args: argparse.Namespace, folder: Path) -> tuple[dict[str, float], np.ndarray]:
    gallery, query = (load(folder, name) for name in SETS)
    start = time.perf_counter()
    index = InvertedFile(gallery, args.nlist, args.code_size)
    built = time.perf_counter()
    numbers = dict(num_probes=args.nprobe, num_candidates=args.candidates)
    found, _ = index.nearest_neighbours(query, args.neighbours, **numbers)
    done = time.perf_counter()
    return {'ivf: index': built - start, 'ivf: search': done - built}, found


def anonymous_bytes() -> int:
    """Return the memory of this process that is not backed by a file (Linux)."""
    status = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(r'RssAnon:\s+(\d+)', status)[1])


def measure(search: Callable[[], tuple], connection: Connection) -> None:
    """Send what a search returns and the peak of its memory in bytes, or its error."""
    peak = before = anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, anonymous_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        connection.send((*search(), peak - before))
    except UserError as error:
        connection.send(error)
    finally:
        done.set()
        thread.join()


def run(search: Callable[[], tuple]) -> tuple[dict[str, float], np.ndarray, int]:
    """Run a search in its own process; return times, rows found, peak of memory in bytes."""
    # Fork from a server that has only imported the slow modules: this process has threads
    # (BLAS, the progress bar), and its freed memory would hide some of the peak.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['mmssl_video.evaluation', 'sklearn.neighbors'])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(search, there))
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        process.join()
        raise UserError(
            f'a search ended with status {process.exitcode}, perhaps for lack of memory; use '
            'smaller --sizes'
        ) from None
    process.join()
    if isinstance(answer, UserError):
        raise answer
    return answer


def measure_size(args: argparse.Namespace, num: int, dim: int) -> list[dict]:
    """Return one row for each search in a gallery of one size."""
    searches = [with_sklearn, with_exact, with_index]
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    found: dict[str, np.ndarray] = {}
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        generate(Path(folder), num, args.queries, dim)
        turns = [search for _ in range(args.turns) for search in searches]
        for search in track(
            turns, f'{num}x{dim}', console=console, disable=not console.is_terminal
        ):
            times, rows, peak = run(partial(search, args, Path(folder)))
            for name, time_taken in times.items():
                seconds.setdefault(name, []).append(time_taken)
            # Building and searching run in one process.
            name = list(times)[-1]
            peaks[name] = max(peak, peaks.get(name, 0))
            found[name] = rows
    measured = []
    for name, times in seconds.items():
        ratios = np.divide(times, seconds[BASELINE])
        row = dict(size=[num, dim], search=name, seconds=summary(times), of_sklearn=summary(ratios))
        if name in peaks:
            pairs = zip(found['exact'], found[name], strict=True)
            share = np.mean([np.isin(true, rows) for true, rows in pairs])
            row |= dict(peak_bytes=peaks[name], found=float(share))
        measured.append(row)
    return measured


def make_table(rows: list[dict]) -> Table:
    """Make a table with a line for each row."""
    table = Table('gallery', 'search', 's', '× scikit-learn', 'memory', 'found')
    for row in rows:
        there = 'found' in row
        table.add_row(
            ' x '.join(map(str, row['size'])),
            row['search'],
            with_spread(row['seconds']),
            with_spread(row['of_sklearn']),
            f'{row["peak_bytes"] / 2**20:.0f} MiB' if there else '',
            f'{100 * row["found"]:.1f} %' if there else '',
        )
    return table


def print_plan(args: argparse.Namespace) -> None:
    num, dim = args.plan
    plan = IndexPlan.make(num, dim, args.nlist, args.code_size)
    mib = 2**20
    print(f'\nplan for {num} x {dim}, {num * dim * 4 / mib:.0f} MiB on disk')
    print('exact: 1 pass over the disk')
    print(
        f'ivf:   {plan.num_lists} lists learned from {plan.num_training} videos'
        f' ({plan.training_bytes / mib:.0f} MiB)\n'
        f'       1 pass over the disk in chunks of {plan.chunk_videos} videos'
        f' ({plan.chunk_bytes / mib:.0f} MiB)\n'
        f'       index {plan.index_bytes / mib:.0f} MiB, {plan.code_size} bytes for a video'
    )


@one_line_errors
def main() -> None:
    args = parse_args()
    rows = []
    for num, dim in args.sizes:
        if num < args.neighbours:
            raise UserError(
                f'--sizes {num}x{dim}: fewer videos than --neighbours {args.neighbours}'
            )
        rows += measure_size(args, num, dim)
    if rows:
        Console(width=110).print(make_table(rows))
    print_plan(args)
    if args.out:
        keys = 'queries', 'neighbours', 'nlist', 'nprobe', 'candidates', 'code_size', 'turns'
        write_figures(args.out, {key: getattr(args, key) for key in keys}, rows)


if __name__ == '__main__':
    main()
