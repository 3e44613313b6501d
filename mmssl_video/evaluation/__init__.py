"""Evaluation of frozen features: features on disk, retrieval, kNN, linear SVM, linear probe."""

from .features import FeatureSet
from .inverted_file import IndexPlan, InvertedFile, neighbours_found
from .knn import knn_accuracy
from .linear_probe import linear_probe
from .linear_svm import linear_svm
from .retrieval import RetrievalResult, nearest_neighbours, retrieval

__all__ = [
    'FeatureSet',
    'IndexPlan',
    'InvertedFile',
    'RetrievalResult',
    'knn_accuracy',
    'linear_probe',
    'linear_svm',
    'nearest_neighbours',
    'neighbours_found',
    'retrieval',
]
