"""Retrieval and a linear SVM on the features of one frozen encoder."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from torch import nn

from .extract import encode_videos
from .features import FeatureSet
from .linear_svm import linear_svm
from .loader import VideoLoader
from .retrieval import RetrievalResult, retrieval


@dataclass
class FrozenResult:
    """Result of :func:`evaluate_frozen`.

    Attributes:
        metrics (dict[str, float]): ``R@1``, ``R@5`` and ``svm_top1`` in percent; no ``R@5`` if the
            gallery has fewer than 5 videos.
        chance (dict[str, float]): The same for a guess.
        gallery, query (FeatureSet): The features of the videos that were used.
        found (RetrievalResult): The neighbours.
    """

    metrics: dict[str, float]
    chance: dict[str, float]
    gallery: FeatureSet
    query: FeatureSet
    found: RetrievalResult


def evaluate_frozen(
    encoder: nn.Module,
    pipeline: list[dict],
    gallery_list: Path,
    query_list: Path,
    root: Path,
    description: str = 'Features',
    **loading,
) -> FrozenResult:
    """Search the gallery with the queries, and classify the queries by an SVM of the gallery.

    If no gallery video of a class can be read, the queries of this class are left out, with a
    warning.

    Args:
        encoder: From ``build_encoder``, or a ``TrivialEncoder``.
        pipeline: From ``feature_pipeline``, or that of the ``TrivialEncoder``.
        gallery_list, query_list: MMAction2 lists, with labels.
        root: Folder that both are relative to.
        description: Label of the progress bars.
        loading: Further arguments of ``VideoLoader``.
    """
    loaders = [
        VideoLoader(pipeline, str(path), str(root), **loading)
        for path in (gallery_list, query_list)
    ]
    gallery, query = (encode_videos(encoder, loader, description) for loader in loaders)
    videos = loaders[0].dataset
    listed = [videos.get_data_info(number)['label'] for number in range(len(videos))]
    lost = np.setdiff1d(listed, gallery.labels)
    kept = ~np.isin(query.labels, lost)
    if kept.any() and not kept.all():
        print_log(
            f'{gallery_list}: no video of class {", ".join(map(str, lost))} can be read; '
            f'{np.sum(~kept)} of {len(kept)} queries are left out',
            'current',
            logging.WARNING,
        )
        arrays = {key: getattr(query, key)[kept] for key in ('features', 'labels', 'names')}
        query = replace(query, **arrays)
    if len(gallery) < 5:
        message = f'{gallery_list}: {len(gallery)} videos are too few for R@5'
        print_log(message, 'current', logging.WARNING)
    found = retrieval(gallery, query, [k for k in (1, 5) if k <= len(gallery)], num_neighbours=5)
    svm = linear_svm(gallery, query)
    return FrozenResult(
        {**found.recall, 'svm_top1': svm['top1']},
        {**found.chance, 'svm_top1': svm['chance']},
        gallery,
        query,
        found,
    )
