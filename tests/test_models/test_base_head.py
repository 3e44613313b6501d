"""What the heads share: directions, pairs of views, segments."""

import math

import pytest
import torch
from head_helpers import build_head, refused

from mmssl_video.models.heads.base import normalize


def test_a_row_without_direction_gets_no_gradient():
    """1 / length, the gradient of the other rows, would be 1e12."""
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1e-9]], requires_grad=True)
    unit_rows = normalize(rows)
    unit_rows.backward(torch.tensor([[1.0, 0.0]]).expand(3, 2))
    assert unit_rows.tolist() == [pytest.approx([0.6, 0.8]), [0, 0], [0, 0]]
    # (g - u (u g)) / length
    assert rows.grad.tolist() == [pytest.approx([0.64 / 5, -0.48 / 5]), [0, 0], [0, 0]]
    assert normalize(torch.tensor([[math.nan, 1.0]])).isnan().any()


def test_views_that_make_no_pairs_are_refused():
    with refused(r'views \(0, 1, 1\) of a head: name each view once'):
        build_head('MoCoHead', query_views=(0, 1, 1), key_views=(0, 1))
    with refused(r'query views \(1,\) and key views \(1,\) .* make no pair'):
        build_head('MoCoHead', query_views=(1,), key_views=(1,))
