"""Retrieval on generated galleries, by scikit-learn, exact search and index."""

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

from mmssl_video.errors import UserError
from mmssl_video.evaluation import (
    FeatureSet,
    IndexPlan,
    InvertedFile,
    nearest_neighbours,
)

from .timing import summary, with_spread, write_figures

BASELINE = 'scikit-learn, exact'
SETS = 'gallery', 'query'
CHUNK = 8192


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


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, print the figures, and write them to a file if one is named."""
    rows = []
    for num, dim in args.sizes:
        rows += measure_size(args, num, dim)
    if rows:
        Console(width=110).print(make_table(rows))
    print_plan(args)
    if args.out:
        keys = 'queries', 'neighbours', 'nlist', 'nprobe', 'candidates', 'code_size', 'turns'
        write_figures(args.out, {key: getattr(args, key) for key in keys}, rows)
