"""Video retrieval by cosine similarity (VCLR, section 4; CoCLR's protocol): R@K.

R@K is the percentage of query videos with a video of their own class among their K nearest
videos of the gallery. Usual: queries from the test split, gallery from the training split.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom
from sklearn.preprocessing import normalize

from mmssl_video.errors import UserError

from .features import FeatureSet

TOPKS = (1, 5, 10, 20, 50)
STEPS = 2**30  # finer than float32 features carry, far coarser than float64 rounding
ROW_BITS = 0xFFFFFFFF


@dataclass
class RetrievalResult:
    """What :func:`retrieval` found.

    Attributes:
        recall (dict[str, float]): ``R@K`` in percent for each K, rounded to 2 decimals.
        chance (dict[str, float]): The expected ``R@K`` of a random order of the same gallery.
        indices (np.ndarray): int64 [num_query, K_max], gallery rows, nearest first.
        similarities (np.ndarray): float32 [num_query, K_max], their cosines in [-1, 1].
        num_without_match (int): Queries whose class the gallery lacks; they count as misses.
    """

    recall: dict[str, float]
    chance: dict[str, float]
    indices: np.ndarray
    similarities: np.ndarray
    num_without_match: int


def retrieval(
    gallery: FeatureSet,
    query: FeatureSet,
    topks: Sequence[int] | None = None,
    *,
    leave_one_out: bool = False,
) -> RetrievalResult:
    """Measure R@K of ``query`` in ``gallery``.

    Args:
        gallery: Videos to find, all labelled.
        query: Videos to search with, all labelled.
        topks: The K to measure. None takes those of 1, 5, 10, 20, 50 that the gallery can fill.
        leave_one_out: Never return a gallery video that has the query's name, so that a set can
            be searched in itself.

    Returns:
        RetrievalResult: Percentages and the neighbours themselves.

    Raises:
        UserError: If labels are missing, D differs, or a K is not in [1, size of the gallery].
    """
    gallery.require_labels()
    query.require_labels()
    # How many gallery videos leave_one_out withholds from each query, and those of its class.
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
        raise UserError(f'R@K is asked for K = {topks}; name one K or more, each at least 1')
    indices, similarities = nearest_neighbours(
        gallery, query, topks[-1], leave_one_out=leave_one_out
    )

    class_sizes = Counter(gallery.labels.tolist())
    num_matches = np.array([class_sizes[label] for label in query.labels.tolist()])
    num_matches -= withheld_match
    hits = gallery.labels[indices] == query.labels[:, None]
    recall, chance = {}, {}
    for k in topks:
        recall[f'R@{k}'] = round(100 * float(hits[:, :k].any(axis=1).mean()), 2)
        # K draws without replacement: P(at least one match) = 1 - C(N - n, K) / C(N, K).
        found = hypergeom.sf(0, num_candidates, num_matches, k)
        chance[f'R@{k}'] = round(100 * float(found.mean()), 2)
    return RetrievalResult(recall, chance, indices, similarities, int(np.sum(num_matches == 0)))


def nearest_neighbours(
    gallery: FeatureSet,
    query: FeatureSet,
    k: int,
    *,
    leave_one_out: bool = False,
    query_chunk: int = 1024,
    gallery_chunk: int = 8192,
) -> tuple[np.ndarray, np.ndarray]:
    """Find each query's ``k`` nearest gallery videos by cosine similarity; labels are not read.

    Exact, and the same on every run: similarities are summed in float64 and compared in steps of
    1e-9, so that equal ones tie, and of a tie the earlier gallery row comes first. A feature that
    is all zero has similarity 0 to everything. Memory is that of one
    ``[query_chunk, gallery_chunk]`` block and its two slices of the features.

    Args:
        gallery: Videos to find.
        query: Videos to search with.
        k: Neighbours per query, from 1 to the size of the gallery.
        leave_one_out: Never return a gallery video that has the query's name.
        query_chunk: Queries compared at once.
        gallery_chunk: Gallery videos compared at once.

    Returns:
        tuple: ``indices`` int64 [num_query, k], gallery rows, nearest first, and
        ``similarities`` float32 [num_query, k] in [-1, 1].

    Raises:
        UserError: If D differs or the gallery has fewer than ``k`` videos for some query.
    """
    gallery.require_same_dim(query)
    _, name_ids = np.unique(np.concatenate([gallery.names, query.names]), return_inverse=True)
    gallery_ids, query_ids = np.split(name_ids, [len(gallery)])
    num_candidates = len(gallery)
    if leave_one_out:
        num_candidates -= np.bincount(gallery_ids, minlength=name_ids.max() + 1)[query_ids].max()
    if not 1 <= k <= num_candidates:
        aside = ' besides the query itself' if leave_one_out else ''
        raise UserError(
            f'cannot find {k} neighbours in {gallery.source}, it has {num_candidates}'
            f' videos{aside}; use a smaller K or a larger gallery'
        )

    keys = np.empty((len(query), k), dtype=np.int64)
    for top in range(0, len(query), query_chunk):
        rows = slice(top, top + query_chunk)
        queries = normalize(query.features[rows].astype(np.float64))
        best = np.empty((len(queries), 0), dtype=np.int64)
        for left in range(0, len(gallery), gallery_chunk):
            columns = slice(left, left + gallery_chunk)
            block = queries @ normalize(gallery.features[columns].astype(np.float64)).T
            if leave_one_out:
                block[query_ids[rows, None] == gallery_ids[columns]] = -2  # below any
            best = np.concatenate([best, _sort_keys(block, left)], axis=1)
            kth = max(0, best.shape[1] - k)
            best = np.partition(best, kth, axis=1)[:, kth:]
        keys[rows] = -np.sort(-best, axis=1)
    return _unpack(keys)


def _sort_keys(similarities: np.ndarray, first_row: int) -> np.ndarray:
    """Pack similarity and gallery row into one integer that sorts by both.

    The upper 32 bits hold the similarity in steps of 1 / STEPS, the lower ones the row, counted
    downwards. All keys of a query differ, hence any partial sort of them has one result only.
    """
    steps = np.rint(similarities * STEPS).astype(np.int64)
    row = first_row + np.arange(similarities.shape[1], dtype=np.int64)
    return (steps << 32) | (ROW_BITS - row)


def _unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take gallery rows and similarities out of the keys of :func:`_sort_keys`."""
    return ROW_BITS - (keys & ROW_BITS), ((keys >> 32) / STEPS).astype(np.float32)
