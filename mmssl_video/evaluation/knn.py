"""Classification of videos by a weighted vote of their nearest neighbours."""

import numpy as np

from mmssl_video.errors import UserError

from .features import FeatureSet
from .retrieval import nearest_neighbours


def knn_accuracy(
    gallery: FeatureSet,
    query: FeatureSet,
    k: int = 20,
    temperature: float = 0.07,
    leave_one_out: bool = False,
) -> dict:
    r"""Classify ``query`` by the k nearest videos of ``gallery`` (Wu et al., 2018, Sec. 3.4).

    Each neighbour i votes for its class with :math:`\exp(s_i / \tau)`, s being the cosine
    similarity; the class with the largest sum of votes is predicted. Of equal sums the smaller
    label comes first; a class without a vote is never predicted, so that with few neighbours fewer
    than five classes count for ``top5``.

    Args:
        gallery: Videos that vote, a row for each, all labelled.
        query: Videos to classify, a row for each, all labelled. A class that the gallery lacks is
            never hit.
        k: Neighbours per query, from 1 to the size of the gallery; Wu et al. take 200 of ImageNet.
        temperature: :math:`\tau`, above 0; theirs is 0.07.
        leave_one_out: No gallery video that has the query's name votes, so that a set can be
            classified by itself.

    Returns:
        dict: Percentages, rounded to 2 decimals: ``top1``; ``top5`` if there are more than 5
        classes; ``chance``, that of a guess among the gallery's classes. Then ``k``,
        ``temperature`` and the numbers ``num_gallery``, ``num_query``, ``num_classes``, ``dim``.

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
    neighbours, similarities = nearest_neighbours(gallery, query, k, leave_one_out=leave_one_out)
    classes, class_ids = np.unique(gallery.labels, return_inverse=True)
    # As logarithms: at a small temperature the votes themselves leave the range of floats.
    log_votes = np.full((len(query), len(classes)), -np.inf)
    rows = np.arange(len(query))
    for column in range(k):
        voted = class_ids[neighbours[:, column]]
        vote = similarities[:, column].astype(np.float64) / temperature
        log_votes[rows, voted] = np.logaddexp(log_votes[rows, voted], vote)

    best = np.argsort(-log_votes, axis=1, kind='stable')[:, :5]
    hits = classes[best] == query.labels[:, None]
    hits &= np.isfinite(np.take_along_axis(log_votes, best, axis=1))
    result = {'top1': hits[:, 0]}
    if len(classes) > 5:
        result['top5'] = hits.any(axis=1)
    result['chance'] = 1 / len(classes)
    return {key: round(100 * float(np.mean(share)), 2) for key, share in result.items()} | {
        'k': k,
        'temperature': temperature,
        'num_gallery': len(gallery),
        'num_query': len(query),
        'num_classes': len(classes),
        'dim': gallery.dim,
    }
