"""Linear probe on frozen features: multinomial logistic regression.

It is what CVRL's linear evaluation trains by SGD on augmented clips, here at its optimum and on
features that were extracted once.
"""

from collections.abc import Sequence

import numpy as np

from mmssl_video.errors import UserError

from .classification import accuracy, check_cost
from .features import FeatureSet

NUM_FOLDS = 5
MAX_ITERATIONS = 1000  # if they do not suffice, scikit-learn says so
# L-BFGS stops where no derivative of the mean loss exceeds it. With many classes and features
# that share a large mean all of them start below scikit-learn's 1e-4, and W would stay 0. float32
# does not resolve so small ones.
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

    and predicts the class with the largest p, which is averaged over the clips of a video where
    the rows of ``test`` are clips.

    Args:
        train: Rows to learn from, all labelled, with two classes or more.
        test: Videos to classify, all labelled, with no class that ``train`` lacks.
        C: Weight of the loss against the regulariser, > 0. Of several, the one with the best
            accuracy in a cross-validation in five folds of ``train`` is taken, none of which
            shares a video with another; it is then trained on all of ``train``.
        l2_normalize: Divide each feature by its Euclidean norm, as CVRL does.

    Returns:
        dict: The result of :func:`.classification.accuracy`: ``top1``, ``top5``, ``mean_class``,
        ``chance``, ``per_class`` in percent, and sizes; and ``C``, the one taken.

    Raises:
        UserError: If labels are missing or do not fit, D differs, C is not positive, or there are
            several and no class has five videos.
    """
    costs = [C] if isinstance(C, (int, float)) else list(C)
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
    except ValueError as error:
        raise UserError(
            f'{train.source}: too few videos to choose among {len(costs)} costs by '
            f'{NUM_FOLDS}-fold cross-validation; give one cost'
        ) from error
    key = f'{probe.steps[-1][0]}__C'
    search = GridSearchCV(probe, {key: costs}, cv=splits)
    return accuracy(search, train, test, l2_normalize) | {'C': search.best_params_[key]}
