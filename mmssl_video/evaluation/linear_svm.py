"""Linear SVM on frozen features, the linear evaluation of VCLR (section 4.3) and SeCo.

Their released evaluation runs LIBLINEAR ``-s 2 -c 1`` on the raw mean frame features: one-vs-rest,
L2-regularised squared hinge loss, solved in the primal, without a bias term.
"""

import numpy as np
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from mmssl_video.errors import UserError

from .features import FeatureSet


def linear_svm(
    train: FeatureSet,
    test: FeatureSet,
    C: float = 1.0,
    *,
    l2_normalize: bool = False,
    bias: bool = False,
) -> dict:
    r"""Train a linear SVM on ``train`` and measure its accuracy on ``test``.

    For each class, with y = +1 for its videos and -1 for all others, it minimises

    .. math:: \tfrac12 \|w\|^2 + C \sum_i \max(0, 1 - y_i w^\top x_i)^2

    and predicts the class with the largest :math:`w^\top x`.

    Args:
        train: Videos to learn from, all labelled, with two classes or more.
        test: Videos to classify, all labelled, with no class that ``train`` lacks.
        C: Weight of the loss against the regulariser, > 0.
        l2_normalize: Divide each feature by its Euclidean norm. The protocol does not.
        bias: Append a constant 1 to each feature (LIBLINEAR ``-B 1``), whose weight is
            regularised like the others. The protocol does not.

    Returns:
        dict: Percentages, rounded to 2 decimals: ``top1``; ``top5`` if there are more than 5
        classes; ``mean_class``, the mean of the classes' accuracies; ``chance``, that of a guess
        among the classes. Then the numbers ``num_train``, ``num_test``, ``num_classes``, ``dim``,
        and ``per_class``, which maps each label of ``test`` (as a string) to its ``top1`` and
        ``num_test``.

    Raises:
        UserError: If labels are missing or do not fit, D differs, or C is not positive.
    """
    if not (np.isfinite(C) and C > 0):
        raise UserError(f'the SVM cost is {C}; use a number above 0, the protocol has 1')
    train.require_labels()
    test.require_labels()
    train.require_same_dim(test)
    classes = np.unique(train.labels)
    if len(classes) < 2:
        raise UserError(
            f'{train.source}: all labels are {classes[0]}; an SVM needs videos of two classes'
        )
    unseen = ~np.isin(test.labels, classes)
    if unseen.any():
        missing = ', '.join(map(str, np.unique(test.labels[unseen])))
        raise UserError(
            f'{test.source}: class {missing} (such as {test.names[np.argmax(unseen)]}) is absent'
            f' from {train.source}; add training videos of it or leave it out of the test list'
        )

    inputs = [train.features, test.features]
    if l2_normalize:
        inputs = [normalize(features) for features in inputs]
    svm = LinearSVC(penalty='l2', loss='squared_hinge', dual=False, C=C, fit_intercept=bias)
    svm.fit(inputs[0], train.labels)
    hits = svm.predict(inputs[1]) == test.labels

    class_hits = {int(c): hits[test.labels == c] for c in np.unique(test.labels)}
    result = {'top1': _percent(hits.mean())}
    if len(classes) > 5:
        top5 = classes[np.argsort(-svm.decision_function(inputs[1]), axis=1, kind='stable')[:, :5]]
        result['top5'] = _percent((top5 == test.labels[:, None]).any(axis=1).mean())
    return result | {
        'mean_class': _percent(np.mean([h.mean() for h in class_hits.values()])),
        'chance': _percent(1 / len(classes)),
        'num_train': len(train),
        'num_test': len(test),
        'num_classes': len(classes),
        'dim': train.dim,
        'per_class': {
            str(c): {'top1': _percent(h.mean()), 'num_test': len(h)} for c, h in class_hits.items()
        },
    }


def _percent(fraction: float) -> float:
    return round(100 * float(fraction), 2)
