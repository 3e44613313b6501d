"""Classify videos by a weighted vote of their nearest neighbours."""

import numpy as np
import torch
from mmengine.dist import all_reduce, get_dist_info

from mmssl_video.errors import UserError

from .features import FeatureSet
from .retrieval import search_exactly

VOTES = 2**22  # queries x classes in memory at a time


def knn_accuracy(
    gallery: FeatureSet,
    query: FeatureSet,
    k: int = 20,
    temperature: float = 0.07,
    leave_one_out: bool = False,
) -> dict:
    r"""Classify ``query`` by the k nearest videos of ``gallery`` (Wu et al., 2018, Sec. 3.4).

    Each neighbour i votes for its class with :math:`\exp(s_i / \tau)`, where s is the cosine
    similarity. The class with the largest sum of votes is predicted; if sums are equal, the smaller
    label comes first. A class without a vote is never predicted, so with few neighbours fewer than
    five classes count for ``top5``. If gallery videos tie for the k-th place, the first ones in
    their list vote. If this, or equal sums, decides for many queries, as with collapsed features,
    the accuracy depends on the order of the list; ``tied`` is the part of such queries.

    With several processes, all must have both sets and call this. Each takes a part of the queries;
    the result is that of one process.

    Args:
        gallery: Videos that vote, a row for each, all labelled.
        query: Videos to classify, a row for each, all labelled. Queries of a class that the gallery
            does not have are always wrong.
        k: Neighbours per query, from 1 to the size of the gallery; Wu et al. use 200 on ImageNet.
        temperature: :math:`\tau`, above 0; theirs is 0.07.
        leave_one_out: Gallery videos with the query's name do not vote, so that a set can be
            classified by itself.

    Returns:
        dict: Percentages, rounded to 2 decimals: ``top1``; ``top5`` if there are more than 5
        classes; ``tied``; ``chance``, for a guess among the gallery's classes. Then ``k``,
        ``temperature`` and the numbers ``num_gallery``, ``num_query``, ``num_shared`` (queries that
        vote for themselves, because the gallery has them too, by name), ``num_classes``, ``dim``.

    Raises:
        UserError: If labels are missing, rows are clips, D differs, ``k`` is out of range for some
            query, or the temperature is not positive.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(
            f'the kNN temperature is {temperature}; use a number above 0, the protocol has 0.07'
        )
    gallery.require_labels()
    query.require_labels()
    rank, num_processes = get_dist_info()
    rows = np.arange(rank, len(query), num_processes)
    neighbours, similarities, following = search_exactly(
        gallery, query, k, rows=rows, leave_one_out=leave_one_out
    )
    classes, class_ids = np.unique(gallery.labels, return_inverse=True)
    counts = torch.zeros(3, dtype=torch.int64)  # top1, top5, tied
    step = max(1, VOTES // len(classes))
    for top in range(0, len(rows), step):
        part = slice(top, top + step)
        # As logarithms: at a small temperature the votes themselves overflow.
        log_votes = np.full((len(rows[part]), len(classes)), -np.inf)
        every = np.arange(len(log_votes))
        for column in range(k):
            voted = class_ids[neighbours[part, column]]
            vote = similarities[part, column] / temperature
            log_votes[every, voted] = np.logaddexp(log_votes[every, voted], vote)

        best = np.argsort(-log_votes, axis=1, kind='stable')[:, :5]
        votes = np.take_along_axis(log_votes, best, axis=1)
        hits = (classes[best] == query.labels[rows[part], None]) & np.isfinite(votes)
        tied = similarities[part, -1] == following[part]
        tied |= (votes[:, :1] == votes[:, 1:2]).any(axis=1)
        counts += torch.tensor([hits[:, 0].sum(), hits.any(axis=1).sum(), tied.sum()])
    all_reduce(counts)
    result = dict(zip(('top1', 'top5', 'tied'), counts.numpy() / len(query), strict=True))
    result['chance'] = 1 / len(classes)
    if len(classes) <= 5:
        result.pop('top5')
    return {key: round(100 * float(share), 2) for key, share in result.items()} | {
        'k': k,
        'temperature': temperature,
        'num_gallery': len(gallery),
        'num_query': len(query),
        'num_shared': 0 if leave_one_out else gallery.num_shared(query),
        'num_classes': len(classes),
        'dim': gallery.dim,
    }
