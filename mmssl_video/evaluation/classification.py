"""Train a linear classifier on features from disk, for the linear SVM and the linear probe.

These modules import scikit-learn only where it is used, because the import takes a tenth of the
start of every command.
"""

from typing import TYPE_CHECKING

import numpy as np

from mmssl_video.errors import UserError

from .features import FeatureSet, shared_note

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

SIZE_FOR_THREADS = 2**22  # fewer numbers are fitted faster by one thread than by several


def check_cost(C: float) -> None:
    """Raise a :class:`UserError` if the weight of the loss is not a number above 0."""
    if not (np.isfinite(C) and C > 0):
        raise UserError(f'the cost C is {C}; use a number above 0, such as 1')


def accuracy(
    classifier: 'ClassifierMixin', train: FeatureSet, test: FeatureSet, l2_normalize: bool
) -> dict:
    """Train a classifier on ``train`` and measure its accuracy on ``test``.

    If the rows of ``test`` are clips, the scores of clips with the same name are averaged, and the
    video counts once. The scores are probabilities, or values of the decision functions if the
    classifier has no probabilities. Clips of ``train`` are separate training samples.

    Args:
        classifier: A scikit-learn classifier for any number of classes.
        train: Rows to learn from, all labelled, with two or more classes.
        test: Videos to classify, all labelled, with classes that ``train`` has.
        l2_normalize: Divide each feature by its Euclidean norm.

    Returns:
        dict: Percentages, rounded to 2 decimals: ``top1``; ``top5`` if there are more than 5
        classes; ``mean_class``, the mean accuracy of the classes; ``chance``, the accuracy of a
        guess among the classes. Then the numbers ``num_train`` (rows), ``num_test`` (videos),
        ``num_shared`` (videos in both sets, by name), ``num_classes``, ``dim``, and ``per_class``,
        which maps each label of ``test`` (as a string) to its ``top1`` and ``num_test``.

    Raises:
        UserError: If labels are missing or do not fit, or D differs.
    """
    train.require_labels()
    test.require_labels()
    train.require_same_dim(test)
    classes = np.unique(train.labels)
    if len(classes) < 2:
        raise UserError(
            f'{train.source}: all labels are {classes[0]}; a classifier needs videos of two classes'
        )
    unseen = ~np.isin(test.labels, classes)
    if unseen.any():
        missing = ', '.join(map(str, np.unique(test.labels[unseen])))
        raise UserError(
            f'{test.source}: class {missing} (such as {test.names[np.argmax(unseen)]}) is absent'
            f' from {train.source}; add training videos of it or leave it out of the test list'
        )

    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    train_inputs, test_inputs = (
        normalize(features) if l2_normalize else features
        for features in (train.features, test.features)
    )
    with threadpool_limits(1 if train.features.size < SIZE_FOR_THREADS else None):
        classifier.fit(train_inputs, train.labels)
    if hasattr(classifier, 'predict_proba'):
        scores = classifier.predict_proba(test_inputs)
    else:
        scores = classifier.decision_function(test_inputs)
        if scores.ndim == 1:  # for two classes, scikit-learn only scores the second
            scores = np.column_stack([-scores, scores])
    labels = test.labels
    if test.clips is not None:
        labels, scores = _average_clips(test, scores)

    best = classes[np.argsort(-scores, axis=1, kind='stable')[:, :5]]
    hits = best[:, 0] == labels
    class_hits = {int(c): hits[labels == c] for c in np.unique(labels)}
    result = {'top1': _percent(hits.mean())}
    if len(classes) > 5:
        result['top5'] = _percent((best == labels[:, None]).any(axis=1).mean())
    return result | {
        'mean_class': _percent(np.mean([h.mean() for h in class_hits.values()])),
        'chance': _percent(1 / len(classes)),
        'num_train': len(train),
        'num_test': len(labels),
        'num_shared': train.num_shared(test),
        'num_classes': len(classes),
        'dim': train.dim,
        'per_class': {
            str(c): {'top1': _percent(h.mean()), 'num_test': len(h)} for c, h in class_hits.items()
        },
    }


def summary(result: dict) -> str:
    """Format a result of :func:`accuracy` for printing."""
    names = dict(top1='top-1', top5='top-5', mean_class='mean class', chance='chance')
    return '\n'.join(
        [
            f'{result["num_train"]} training features and {result["num_test"]} test videos of '
            f'{result["num_classes"]} classes, {result["dim"]} dimensions',
            *(f'  {name:<12}{result[key]:6.2f} %' for key, name in names.items() if key in result),
            *(f'note: {shared_note(number)}' for number in [result['num_shared']] if number),
        ]
    )


def _average_clips(test: FeatureSet, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average scores [N, C] of clips; returns labels [V] and mean scores [V, C] of the videos."""
    _, first, video = np.unique(test.names, return_index=True, return_inverse=True)
    labels = test.labels[first]
    differs = labels[video] != test.labels
    if differs.any():
        raise UserError(
            f'{test.source}: the clips of {test.names[np.argmax(differs)]} have different labels; '
            'list each video once and extract again'
        )
    sums = np.zeros((len(labels), scores.shape[1]))
    np.add.at(sums, video, scores)
    return labels, sums / np.bincount(video)[:, None]


def _percent(fraction: float) -> float:
    return round(100 * float(fraction), 2)
