"""Retrieval and a linear SVM on the features of one frozen encoder."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .extract import extract_features
from .features import FeatureSet
from .linear_svm import linear_svm
from .retrieval import RetrievalResult, retrieval


@dataclass
class FrozenResult:
    """Result of :func:`evaluate_frozen`.

    Attributes:
        metrics (dict[str, float]): ``R@1``, ``R@5`` and ``svm_top1`` in percent.
        chance (dict[str, float]): The same for a guess.
        gallery, query (FeatureSet): The features.
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
    **extraction,
) -> FrozenResult:
    """Search the gallery with the queries, and classify the queries by an SVM of the gallery.

    Args:
        encoder: From ``build_encoder``, or a ``TrivialEncoder``.
        pipeline: From ``feature_pipeline``, or that of the ``TrivialEncoder``.
        gallery_list, query_list: MMAction2 lists, with labels.
        root: Folder that both are relative to.
        extraction: Further arguments of ``extract_features``.
    """
    gallery, query = (
        extract_features(encoder, pipeline, str(path), str(root), **extraction)
        for path in (gallery_list, query_list)
    )
    found = retrieval(gallery, query, [1, 5])
    svm = linear_svm(gallery, query)
    return FrozenResult(
        {**found.recall, 'svm_top1': svm['top1']},
        {**found.chance, 'svm_top1': svm['chance']},
        gallery,
        query,
        found,
    )
