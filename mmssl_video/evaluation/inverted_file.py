"""Approximate retrieval, for galleries too large to compare every query with every video.

This is Faiss' inverted file (Sivic & Zisserman, ICCV 2003). K-means splits the gallery into lists.
A query is only compared with the videos of the nearest lists, by codes instead of features: 8 bits
for each of the first principal components (Jegou & Chum, ECCV 2012, Sec. 3). The nearest videos are
then compared exactly, by their features.
"""

from dataclasses import dataclass

import numpy as np

from mmssl_video.errors import UserError

from .features import FeatureSet
from .retrieval import (
    TOPKS,
    check_search,
    nearest_neighbours,
    show_progress,
    sort_keys,
    unit_rows,
    unpack,
)

CODE_SIZE = 256
PER_LIST = 40  # training videos; Faiss' k-means asks for 39
MIN_TRAINING = 10_000  # videos for principal components, for any number of lists
CHUNK_BYTES = 2**26


@dataclass
class IndexPlan:
    """Sizes of an inverted file of N videos with D features, known before it is built.

    Attributes:
        num_lists (int): Number of lists that the gallery is split into.
        code_size (int): Bytes of a video's code, the number of its principal components.
        num_training (int): Number of videos that lists and components are learned from.
        index_bytes (int): Bytes of codes, row numbers, centres of the lists and components.
        training_bytes (int): Bytes of the training videos in float32, needed before the coding.
        chunk_videos (int): Number of videos that are coded at a time.
        chunk_bytes (int): Bytes of their features in float64.
    """

    num_lists: int
    code_size: int
    num_training: int
    index_bytes: int
    training_bytes: int
    chunk_videos: int
    chunk_bytes: int

    @classmethod
    def make(
        cls, num: int, dim: int, num_lists: int | None = None, code_size: int | None = None
    ) -> 'IndexPlan':
        """Compute missing numbers from the size of the gallery.

        Args:
            num: Number of videos N.
            dim: Number of features D per video.
            num_lists: None for the square root of N, or fewer, such that the mean is 40 or more
                videos per list.
            code_size: None for 256, or D if that is less.

        Raises:
            UserError: If a number is out of range.
        """
        if num_lists is None:
            num_lists = max(1, min(round(num**0.5), num // PER_LIST))
        if not 1 <= num_lists <= num:
            raise UserError(
                f'{num_lists} lists for a gallery of {num} videos; use 1 to {num}, the square root'
                ' of it is usual'
            )
        num_training = min(num, max(PER_LIST * num_lists, MIN_TRAINING))
        most = min(dim, num_training)
        if code_size is None:
            code_size = min(CODE_SIZE, most)
        if not 1 <= code_size <= most:
            raise UserError(
                f'codes of {code_size} bytes for {num} videos with {dim} features; use 1 to {most}'
            )
        numbers = num_lists * code_size
        if code_size < dim:
            numbers += dim * dim + code_size * dim  # Faiss keeps all components, and those in use
        chunk_videos = max(1, CHUNK_BYTES // (8 * dim))
        return cls(
            num_lists,
            code_size,
            num_training,
            num * (code_size + 8) + 4 * numbers,
            4 * num_training * dim,
            chunk_videos,
            8 * chunk_videos * dim,
        )


class InvertedFile:
    """Index of a gallery for approximate search by cosine similarity.

    The gallery is read once to build the index; a search reads the rows of its candidates again.
    The memory is that of ``plan``: the index, and the training videos or a chunk.

    Args:
        gallery (FeatureSet): Videos to find; may be on disk.
        num_lists (int | None): See :meth:`IndexPlan.make`.
        code_size (int | None): See :meth:`IndexPlan.make`.
        seed (int): Seed of the choice of training videos.
        description (str | None): Label of a progress bar, shown on a terminal only.

    Attributes:
        plan (IndexPlan): The sizes of the index.

    Raises:
        UserError: If Faiss is not installed or a number is out of range.
    """

    def __init__(
        self,
        gallery: FeatureSet,
        num_lists: int | None = None,
        code_size: int | None = None,
        *,
        seed: int = 0,
        description: str | None = None,
    ) -> None:
        try:
            import faiss
        except ImportError as error:
            raise UserError(
                "approximate search needs Faiss; pip install 'mmssl_video[faiss]'"
            ) from error
        self.gallery = gallery
        num, dim = gallery.features.shape
        self.plan = plan = IndexPlan.make(num, dim, num_lists, code_size)
        components = f'PCA{plan.code_size},' if plan.code_size < dim else ''
        # For features of length 1, the L2 distance gives the same order as the cosine. Principal
        # components keep distances, but not inner products, because they subtract the mean.
        self._index = faiss.index_factory(dim, f'{components}IVF{plan.num_lists},SQ8')
        self._lists = faiss.extract_index_ivf(self._index)
        self._lists.cp.min_points_per_centroid = 1  # no warning on small galleries

        chosen = np.random.default_rng(seed).choice(num, plan.num_training, replace=False)
        chosen.sort()
        training = np.empty((len(chosen), dim), np.float32)
        for top in range(0, len(chosen), plan.chunk_videos):
            rows = slice(top, top + plan.chunk_videos)
            training[rows] = unit_rows(gallery.features[chosen[rows]])
        self._index.train(training)
        del training
        for top in show_progress(range(0, num, plan.chunk_videos), description):
            chunk = unit_rows(gallery.features[top : top + plan.chunk_videos])
            self._index.add(chunk.astype(np.float32))

    def nearest_neighbours(
        self,
        query: FeatureSet,
        k: int,
        *,
        leave_one_out: bool = False,
        num_probes: int | None = None,
        num_candidates: int | None = None,
        description: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find approximately the ``k`` nearest gallery videos of each query, without labels.

        As ``mmssl_video.evaluation.nearest_neighbours``, with the same exact similarities and the
        same order of ties, but only among the candidates of the index.

        Args:
            query: Videos to search with.
            k: Neighbours per query, from 1 to the size of the gallery.
            leave_one_out: Never return a gallery video that has the query's name.
            num_probes: Number of lists to search; None for a 16th of them, at least 8.
            num_candidates: Videos that the index proposes for each query; None for 4 * k, at least
                200. ``leave_one_out`` adds the largest number of gallery videos with one name.
            description: Label of a progress bar, shown on a terminal only.

        Returns:
            tuple: ``indices`` int64 [num_query, k], gallery rows, nearest first, and
            ``similarities`` float64 [num_query, k] in [-1, 1].

        Raises:
            UserError: If D differs, a number is out of range, or the lists that are searched have
                fewer than ``k`` videos.
        """
        gallery_ids, query_ids, num_own = check_search(self.gallery, query, k, leave_one_out)
        num_probes, num_candidates = self.search_numbers(k, num_probes, num_candidates)
        self._lists.nprobe = num_probes
        num_candidates = min(num_candidates + num_own, len(self.gallery))
        keys = np.empty((len(query), k), dtype=np.int64)
        for top in show_progress(range(0, len(query), 64), description):
            queries = unit_rows(query.features[top : top + 64])
            proposed = self._index.search(queries.astype(np.float32), num_candidates)[1]
            for row, (feature, candidates) in enumerate(zip(queries, proposed, strict=True), top):
                candidates = np.sort(candidates[candidates >= 0])  # in the order on disk
                if leave_one_out:
                    candidates = candidates[gallery_ids[candidates] != query_ids[row]]
                if len(candidates) < k:
                    raise UserError(
                        f'{query.names[row]}: the {num_probes} lists searched have'
                        f' {len(candidates)} videos for {k} neighbours; search more of the'
                        f' {self.plan.num_lists} lists, or make fewer lists'
                    )
                similarities = unit_rows(self.gallery.features[candidates]) @ feature
                keys[row] = -np.sort(-sort_keys(similarities, candidates))[:k]
        return unpack(keys)

    def search_numbers(
        self, k: int, num_probes: int | None = None, num_candidates: int | None = None
    ) -> tuple[int, int]:
        """Compute the number of lists to search and of candidates, if not given.

        Raises:
            UserError: If a number is out of range.
        """
        if num_probes is None:
            num_probes = min(self.plan.num_lists, max(8, self.plan.num_lists // 16))
        if num_candidates is None:
            num_candidates = max(200, 4 * k)
        if not 1 <= num_probes <= self.plan.num_lists:
            raise UserError(
                f'cannot search {num_probes} of {self.plan.num_lists} lists; use 1 to'
                f' {self.plan.num_lists}'
            )
        if num_candidates < k:
            raise UserError(
                f'{num_candidates} candidates are too few for {k} neighbours; use at least {k}'
            )
        return num_probes, num_candidates


def neighbours_found(
    gallery: FeatureSet,
    query: FeatureSet,
    indices: np.ndarray,
    num_checked: int,
    *,
    leave_one_out: bool = False,
    description: str | None = None,
) -> dict[str, float]:
    """Measure how many of the true nearest neighbours an approximate search has found.

    Args:
        gallery: The videos that were searched.
        query: The videos that were searched with.
        indices: int64 [num_query, K], result of the search.
        num_checked: Number of evenly spaced queries that are searched again, exactly.
        leave_one_out: As in that search.
        description: Label of a progress bar, shown on a terminal only.

    Returns:
        dict: For each k of 1, 5, 10, 20, 50 up to K, ``@k``: the part of the k nearest
        neighbours that are among the first k of ``indices``, in percent, rounded to 2 decimals.
    """
    rows = np.unique(np.linspace(0, len(query) - 1, num_checked).astype(int))
    sample = FeatureSet(query.features[rows], query.labels[rows], query.names[rows], query.source)
    exact, _ = nearest_neighbours(
        gallery, sample, indices.shape[1], leave_one_out=leave_one_out, description=description
    )
    found = {}
    for k in [k for k in TOPKS if k <= indices.shape[1]]:
        pairs = zip(exact[:, :k], indices[rows, :k], strict=True)
        share = np.mean([np.isin(true, proposed) for true, proposed in pairs])
        found[f'@{k}'] = round(100 * float(share), 2)
    return found
