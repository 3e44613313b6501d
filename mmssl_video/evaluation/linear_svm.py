"""Linear SVM on frozen features, the linear evaluation of VCLR (section 4.3) and SeCo.

Their released evaluation runs LIBLINEAR ``-s 2 -c 1`` on the raw mean frame features: one-vs-rest,
L2-regularised squared hinge loss, solved in the primal, without a bias term.
"""

from .classification import accuracy, check_cost
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

    and predicts the class with the largest :math:`w^\top x`. If the rows of ``test`` are clips, it
    is averaged over the clips of a video.

    Args:
        train: Rows to learn from, all labelled, with two or more classes.
        test: Videos to classify, all labelled, with classes that ``train`` has.
        C: Weight of the loss against the regulariser, > 0.
        l2_normalize: Divide each feature by its Euclidean norm. The protocol does not.
        bias: Append a constant 1 to each feature (LIBLINEAR ``-B 1``); its weight is regularised
            like the others. The protocol does not.

    Returns:
        dict: The result of :func:`.classification.accuracy`: ``top1``, ``top5``, ``mean_class``,
        ``chance``, ``per_class`` in percent, and sizes.

    Raises:
        UserError: If labels are missing or do not fit, D differs, or C is not positive.
    """
    check_cost(C)
    from sklearn.svm import LinearSVC

    svm = LinearSVC(penalty='l2', loss='squared_hinge', dual=False, C=C, fit_intercept=bias)
    return accuracy(svm, train, test, l2_normalize)
