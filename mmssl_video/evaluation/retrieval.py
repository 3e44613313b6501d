"""Video retrieval by cosine similarity (VCLR, section 4; CoCLR's protocol): R@K.

R@K is the percentage of query videos with a video of their own class among their K nearest
videos of the gallery. Usually, queries are from the test split and the gallery is the training
split.

Similarities are compared in steps of 1e-9, finer than the precision of float32 features. Gallery
videos with equal similarities tie, and R@K is the mean over all their orders. So features that are
all equal have the R@K of chance, for any order of the list.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import hypergeom

from mmssl_video.errors import UserError

from .features import FeatureSet

TOPKS = (1, 5, 10, 20, 50)
STEPS = 2**30  # finer than the precision of float32 features, far coarser than float64 rounding
ROW_BITS = 0xFFFFFFFF
NO_KEY = np.iinfo(np.int64).min  # sorts after every key; its similarity would be -2


@dataclass
class RetrievalResult:
    """Result of :func:`retrieval`.

    Attributes:
        recall (dict[str, float]): ``R@K`` in percent for each K, rounded to 2 decimals; for ties,
            the mean over their orders. With a given ``search``, gallery videos beyond its result
            that tie with the last neighbour are not known.
        chance (dict[str, float]): Expected ``R@K`` of a random order of the same gallery.
        per_class (dict[int, dict[str, float]]): For each label of the queries, in ascending
            order, its ``R@K`` and ``num_query``.
        indices (np.ndarray): int64 [num_query, K_max], gallery rows, nearest first.
        similarities (np.ndarray): float64 [num_query, K_max], their cosines in [-1, 1].
        num_without_match (int): Queries of a class that the gallery does not have; they count as
            misses.
        num_shared (int): Queries that are in the gallery by name and may be found there.
        tied (float): Percentage of queries with neighbours that tie, rounded to 2 decimals.
    """

    recall: dict[str, float]
    chance: dict[str, float]
    per_class: dict[int, dict[str, float]]
    indices: np.ndarray
    similarities: np.ndarray
    num_without_match: int
    num_shared: int
    tied: float


def retrieval(
    gallery: FeatureSet,
    query: FeatureSet,
    topks: Sequence[int] | None = None,
    *,
    leave_one_out: bool = False,
    num_neighbours: int = 0,
    search: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None,
    description: str | None = None,
) -> RetrievalResult:
    """Measure R@K of ``query`` in ``gallery``.

    Args:
        gallery: Videos to find, a row for each, all labelled.
        query: Videos to search with, a row for each, all labelled.
        topks: The K to measure; None for those of 1, 5, 10, 20, 50 that the gallery allows.
        leave_one_out: Never return a gallery video that has the query's name, so that a set can
            be searched in itself.
        num_neighbours: Neighbours to return if more than the largest K, as far as there are any.
        search: Function that finds the neighbours, called as ``search(query, k,
            leave_one_out=...)``, e.g. the method of an
            :class:`~mmssl_video.evaluation.InvertedFile` of ``gallery``; None for the exact search.
        description: Label of the progress bar of the exact search, shown on a terminal only.

    Returns:
        RetrievalResult: Percentages and neighbours.

    Raises:
        UserError: If labels are missing, rows are clips, D differs, or a K is not in [1, size of
            the gallery].
    """
    gallery.require_labels()
    query.require_labels()
    # Number of gallery videos that leave_one_out excludes for each query, in all and of its class.
    withheld = np.zeros(len(query), dtype=np.int64)
    withheld_match = withheld.copy()
    if leave_one_out:
        names = Counter(gallery.names.tolist())
        names_labels = Counter(zip(gallery.names.tolist(), gallery.labels.tolist(), strict=True))
        own = list(zip(query.names.tolist(), query.labels.tolist(), strict=True))
        withheld += [names[name] for name, _ in own]
        withheld_match += [names_labels[pair] for pair in own]

    num_candidates = len(gallery) - withheld
    if topks is None:
        topks = [k for k in TOPKS if k <= max(1, num_candidates.min())]
    topks = sorted(set(topks))
    if not topks or topks[0] < 1:
        raise UserError(f'R@K was requested for K = {topks}; give one K or more, each at least 1')
    k = max(topks[-1], min(num_neighbours, num_candidates.min()))
    if search is None:
        indices, similarities, following = search_exactly(
            gallery, query, k, leave_one_out=leave_one_out, description=description
        )
        complete = similarities[:, -1] != following  # no further video ties with the last one
    else:
        indices, similarities = search(query, k, leave_one_out=leave_one_out)
        complete = np.ones(len(query), dtype=bool)  # as far as is known

    class_sizes = Counter(gallery.labels.tolist())
    num_matches = np.array([class_sizes[label] for label in query.labels.tolist()])
    num_matches -= withheld_match
    # There are few different pairs, and SciPy processes them one by one.
    pairs, counts = np.unique([num_candidates, num_matches], axis=1, return_counts=True)
    hits = gallery.labels[indices] == query.labels[:, None]
    tied = ~complete | (np.diff(similarities, axis=1) == 0).any(axis=1)
    last = similarities == similarities[:, -1:]
    # Number of videos that tie with the last neighbour, and number of matches among them.
    last_ties = np.stack([last.sum(axis=1), (last & hits).sum(axis=1)])
    if len(rows := np.flatnonzero(~complete)):
        alike = similarities[rows, -1]
        last_ties[:, rows] = _count_ties(gallery, query, rows, alike, leave_one_out)
    found = {f'R@{k}': _hit_rate(hits, similarities, k, last_ties) for k in topks}
    chance = {}
    for k in topks:
        # K draws without replacement: P(at least one match) = 1 - C(N - n, K) / C(N, K).
        guessed = hypergeom.sf(0, *pairs, k)
        chance[f'R@{k}'] = round(100 * float(np.average(guessed, weights=counts)), 2)
    per_class = {}
    for label in np.unique(query.labels).tolist():
        of_class = query.labels == label
        shares = _percent({key: hit[of_class] for key, hit in found.items()})
        per_class[label] = shares | {'num_query': int(of_class.sum())}
    return RetrievalResult(
        _percent(found),
        chance,
        per_class,
        indices,
        similarities,
        int(np.sum(num_matches == 0)),
        0 if leave_one_out else gallery.num_shared(query),
        _percent({'tied': tied})['tied'],
    )


def _hit_rate(
    hits: np.ndarray, similarities: np.ndarray, k: int, last_ties: np.ndarray
) -> np.ndarray:
    """Probability of a match among the k nearest, over all orders of gallery videos that tie.

    Of the t videos that tie with the k-th neighbour, r are among the k nearest, any r with equal
    probability. If p of the t match, and no nearer video does, all r miss with probability

        (t - p) / t * (t - p - 1) / (t - 1) * ... * (t - p - r + 1) / (t - r + 1).

    Args:
        hits: bool [num_query, K], whether a neighbour matches.
        similarities: [num_query, K], in descending order.
        k: 1 to K.
        last_ties: int64 [2, num_query], t and p of the last neighbour, in the whole gallery.

    Returns:
        float64 [num_query].
    """
    kth = similarities[:, k - 1, None]
    nearer, tie = similarities > kth, similarities == kth
    num_tied, num_right = np.where(
        tie[:, -1], last_ties, [tie.sum(axis=1), (tie & hits).sum(axis=1)]
    )
    num_drawn = k - nearer.sum(axis=1)
    miss = 1.0 - (nearer & hits).any(axis=1)
    for drawn in range(num_drawn.max()):
        wrong = np.maximum(num_tied - num_right - drawn, 0) / np.maximum(num_tied - drawn, 1)
        miss *= np.where(drawn < num_drawn, wrong, 1)
    return 1 - miss


def _count_ties(
    gallery: FeatureSet,
    query: FeatureSet,
    rows: np.ndarray,
    similarities: np.ndarray,
    leave_one_out: bool,
) -> np.ndarray:
    """Count the gallery videos with the given similarities [n] to the n queries ``rows``.

    Returns:
        int64 [2, n]: the number of such videos, in all and of the query's class.
    """
    *ids, _ = check_search(gallery, query, 1, leave_one_out)
    counts = np.zeros((2, len(rows)), dtype=np.int64)
    for part, columns, block in _blocks(gallery, query, rows, *ids):
        tie = np.rint(block * STEPS) == (similarities[part] * STEPS)[:, None]
        match = gallery.labels[columns] == query.labels[rows[part], None]
        counts[:, part] += tie.sum(axis=1), (tie & match).sum(axis=1)
    return counts


def _percent(hits: dict[str, np.ndarray]) -> dict[str, float]:
    return {key: round(100 * float(hit.mean()), 2) for key, hit in hits.items()}


def nearest_neighbours(
    gallery: FeatureSet,
    query: FeatureSet,
    k: int,
    *,
    leave_one_out: bool = False,
    query_chunk: int = 512,
    gallery_chunk: int = 2048,
    description: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find each query's ``k`` nearest gallery videos by cosine similarity, without labels.

    The search is exact, and the same in every run: similarities are summed in float64 and compared
    in steps of 1e-9, so that equal ones tie, and in a tie the earlier gallery row comes first. A
    feature of zeros has similarity 0 to everything.

    The gallery is read once, from front to back. Besides the result, the memory is that of a block
    float64 [query_chunk, gallery_chunk] and its two slices of the features, for any N, so both sets
    may be on disk.

    Args:
        gallery: Videos to find, a row for each.
        query: Videos to search with, a row for each.
        k: Neighbours per query, from 1 to the size of the gallery.
        leave_one_out: Never return a gallery video that has the query's name.
        query_chunk: Queries compared at once.
        gallery_chunk: Gallery videos compared at once.
        description: Label of a progress bar, shown on a terminal only; None for no bar.

    Returns:
        tuple: ``indices`` int64 [num_query, k], gallery rows, nearest first, and
        ``similarities`` float64 [num_query, k] in [-1, 1].

    Raises:
        UserError: If rows are clips, D differs, or the gallery has fewer than ``k`` videos for some
            query.
    """
    return search_exactly(
        gallery,
        query,
        k,
        leave_one_out=leave_one_out,
        query_chunk=query_chunk,
        gallery_chunk=gallery_chunk,
        description=description,
    )[:2]


def search_exactly(
    gallery: FeatureSet,
    query: FeatureSet,
    k: int,
    *,
    rows: np.ndarray | None = None,
    leave_one_out: bool = False,
    **options,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`nearest_neighbours`, with the similarity of the next neighbour.

    Args:
        gallery, query, k, leave_one_out, options: As for that function.
        rows: int64 [n], the queries to search with; None for all.

    Returns:
        tuple: ``indices`` [n, k], ``similarities`` [n, k], and the similarity float64 [n] of the
        next neighbour, -2 if there is none.

    Raises:
        UserError: As there, for any ``rows``.
    """
    *ids, _ = check_search(gallery, query, k, leave_one_out)
    rows = np.arange(len(query)) if rows is None else rows
    best = np.full((len(rows), k + 1), NO_KEY)
    for part, columns, block in _blocks(gallery, query, rows, *ids, **options):
        best[part] = _merge(best[part], block, columns.start)
    indices, similarities = unpack(np.sort(best, axis=1)[:, ::-1])
    return indices[:, :k], similarities[:, :k], similarities[:, k]


def _blocks(
    gallery: FeatureSet,
    query: FeatureSet,
    rows: np.ndarray,
    gallery_ids: np.ndarray,
    query_ids: np.ndarray,
    query_chunk: int = 512,
    gallery_chunk: int = 2048,
    description: str | None = None,
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Compute cosines of the queries ``rows`` with the gallery, a block at a time.

    Args:
        gallery_ids, query_ids: From :func:`check_search`.

    Yields:
        tuple: Slices of ``rows`` and of the gallery, and their cosines in float64, -2 where a video
        is excluded for the query.
    """
    for left in show_progress(range(0, len(gallery), gallery_chunk), description):
        columns = slice(left, left + gallery_chunk)
        candidates = unit_rows(gallery.features[columns])
        for top in range(0, len(rows), query_chunk):
            part = slice(top, top + query_chunk)
            block = unit_rows(query.features[rows[part]]) @ candidates.T
            if len(query_ids):
                block[query_ids[rows[part], None] == gallery_ids[columns]] = -2  # below any
            yield part, columns, block


def check_search(
    gallery: FeatureSet, query: FeatureSet, k: int, leave_one_out: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Check that rows are videos and that ``k`` neighbours exist.

    Returns:
        tuple: Integers int64 [num_gallery] and [num_query] that are equal if the names are equal,
        and the largest number of gallery videos with one query's name. Without
        ``leave_one_out``, they are empty and 0.

    Raises:
        UserError: If rows are clips, D differs, or the gallery has fewer than ``k`` videos for some
            query.
    """
    gallery.require_videos()
    query.require_videos()
    gallery.require_same_dim(query)
    gallery_ids = query_ids = np.empty(0, np.int64)
    num_own = 0
    if leave_one_out:
        _, name_ids = np.unique(np.concatenate([gallery.names, query.names]), return_inverse=True)
        gallery_ids, query_ids = np.split(name_ids, [len(gallery)])
        num_own = np.bincount(gallery_ids, minlength=name_ids.max() + 1)[query_ids].max()
    if not 1 <= k <= len(gallery) - num_own:
        aside = ' besides the query itself' if leave_one_out else ''
        raise UserError(
            f'cannot find {k} neighbours in {gallery.source}, it has {len(gallery) - num_own}'
            f' videos{aside}; use a smaller K or a larger gallery'
        )
    return gallery_ids, query_ids, int(num_own)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, in float64 [N, D]; rows of zeros do not change."""
    rows = features.astype(np.float64)
    length = np.sqrt(np.einsum('nd,nd->n', rows, rows))
    rows /= np.where(length > 0, length, 1)[:, None]
    return rows


def show_progress(steps: Sequence, description: str | None) -> Iterable:
    """Iterate over ``steps`` with a progress bar on a terminal; no bar without a label."""
    console = Console(stderr=True)
    hidden = description is None or not console.is_terminal
    return track(steps, description or '', console=console, disable=hidden)


def _merge(best: np.ndarray, block: np.ndarray, first_row: int) -> np.ndarray:
    """Keep the k largest keys of ``best`` [n, k], from earlier rows, and of a block [n, m]."""
    k = best.shape[1]
    # Only values above the k-th so far are sorted; a tie with it is not, as its row comes later.
    kth = (best.min(axis=1) >> 32) / STEPS
    rows, columns = np.nonzero(block > kth[:, None])
    counts = np.bincount(rows, minlength=len(best))
    keys = np.full((len(best), k + counts.max()), NO_KEY)
    keys[:, :k] = best
    place = k + np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    keys[rows, place] = sort_keys(block[rows, columns], first_row + columns)
    return np.partition(keys, counts.max(), axis=1)[:, counts.max() :]


def sort_keys(similarities: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pack similarity and gallery row into one integer int64 that sorts by both.

    The upper 32 bits are the similarity in steps of 1 / STEPS, the lower ones the row, counted
    downwards. All keys of a query differ, so any partial sort of them is deterministic.
    """
    steps = np.rint(similarities * STEPS).astype(np.int64)
    return (steps << 32) | (ROW_BITS - rows)


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unpack gallery rows and similarities from the keys of :func:`sort_keys`."""
    return ROW_BITS - (keys & ROW_BITS), (keys >> 32) / STEPS
