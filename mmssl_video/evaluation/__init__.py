"""Evaluation of frozen features: features on disk, retrieval, kNN, linear SVM."""

from .features import FeatureSet
from .knn import knn_accuracy
from .linear_svm import linear_svm
from .retrieval import RetrievalResult, nearest_neighbours, retrieval

__all__ = [
    'FeatureSet',
    'RetrievalResult',
    'knn_accuracy',
    'linear_svm',
    'nearest_neighbours',
    'retrieval',
]
