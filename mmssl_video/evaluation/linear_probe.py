"""Linear probe on frozen features: multinomial logistic regression.

CVRL's linear evaluation trains this classifier by SGD on augmented clips. Here it is trained to its
optimum, on features that were extracted once.
"""

from collections.abc import Sequence

import numpy as np

from mmssl_video.errors import UserError

from .classification import accuracy, check_cost
from .features import FeatureSet

NUM_FOLDS = 5
MAX_ITERATIONS = 1000  # scikit-learn warns if they are not enough
# L-BFGS stops when no derivative of the mean loss exceeds this. With many classes and features that
# share a large mean, all of them start below scikit-learn's default 1e-4, and W would stay 0. Such
# small derivatives need float64.
TOLERANCE = 1e-8


def linear_probe(
    train: FeatureSet,
    test: FeatureSet,
    C: float | Sequence[float] = 1.0,
    *,
    l2_normalize: bool = True,
) -> dict:
    r"""Train a logistic regression on ``train`` and measure its accuracy on ``test``.

    With the probabilities :math:`p = \mathrm{softmax}(W x + b)` it minimises, by L-BFGS
    in float64,

    .. math:: \tfrac12 \|W\|^2 - C \sum_i \ln p_{y_i}(x_i)

    and predicts the class with the largest p. For two classes, scikit-learn regularises a single
    vector, the difference of both rows of W, which amounts to half of C in this formula. If the
    rows of ``test`` are clips, p is averaged over the clips of a video.

    Args:
        train: Rows to learn from, all labelled, with two or more classes.
        test: Videos to classify, all labelled, with classes that ``train`` has.
        C: Weight of the loss against the regulariser, > 0. With several values, a five-fold
            cross-validation on ``train`` chooses the one with the best accuracy, which is then
            trained on all of ``train``. Folds do not share videos.
        l2_normalize: Divide each feature by its Euclidean norm, as CVRL does.

    Returns:
        dict: The result of :func:`.classification.accuracy`: ``top1``, ``top5``, ``mean_class``,
        ``chance``, ``per_class`` in percent, and sizes; and ``C``, the value used.

    Raises:
        UserError: If labels are missing or do not fit, D differs, C is not positive, or there are
            several values and too few videos, of which a fold would learn a single class.
    """
    costs = np.atleast_1d(C).tolist()
    if not costs:
        raise UserError('`C=[]` has no cost; give one or more')
    for cost in costs:
        check_cost(cost)
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    probe = make_pipeline(
        FunctionTransformer(np.asarray, kw_args={'dtype': np.float64}),
        LogisticRegression(C=costs[0], tol=TOLERANCE, max_iter=MAX_ITERATIONS),
    )
    if len(costs) == 1:
        return accuracy(probe, train, test, l2_normalize) | {'C': costs[0]}
    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0)
    try:
        splits = list(folds.split(train.labels, train.labels, groups=train.names))
        if not all(len(np.unique(train.labels[learned])) > 1 for learned, _ in splits):
            raise ValueError('a fold would learn a single class')
    except ValueError as error:
        raise UserError(
            f'{train.source}: too few videos to choose among {len(costs)} costs by '
            f'{NUM_FOLDS}-fold cross-validation; give one cost'
        ) from error
    key = f'{probe.steps[-1][0]}__C'
    search = GridSearchCV(probe, {key: costs}, cv=splits)
    return accuracy(search, train, test, l2_normalize) | {'C': search.best_params_[key]}
