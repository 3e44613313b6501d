"""Dense contrast against a loop over samples, steps and places in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl_video.models.losses import dense_contrast


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def vectors(maps):
    """The vectors of maps [N, P, D, H, W], by (sample, step, row, column)."""
    num, steps, _, height, width = maps.shape
    return {
        (n, p, y, x): maps[n, p, :, y, x].tolist()
        for n in range(num)
        for p in range(steps)
        for y in range(height)
        for x in range(width)
    }


def slow_dense_contrast(predicted, targets, first_row=0):
    """The definition: each predicted vector has to find the target of its own index."""
    candidates = vectors(targets)
    losses, ranks = [], []
    for (n, *rest), vector in vectors(predicted).items():
        products = {
            index: sum(a * b for a, b in zip(vector, candidate, strict=True))
            for index, candidate in candidates.items()
        }
        own = products.pop((first_row + n, *rest))
        total = math.exp(own) + sum(map(math.exp, products.values()))
        losses.append(math.log(total) - own)
        ranks.append(sum(product >= own for product in products.values()))
    return sum(losses) / len(losses), ranks


@given(
    num=st.integers(1, 3),
    steps=st.integers(1, 2),
    height=st.integers(1, 2),
    width=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=30)
def test_value_and_ranks_equal_the_slow_loop(num, steps, height, width, seed):
    predicted, targets = draw(2, num, steps, 4, height, width, seed=seed)
    loss, rank = dense_contrast(predicted, targets)
    expected, ranks = slow_dense_contrast(predicted, targets)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert rank.tolist() == ranks


def test_shares_of_the_predictions_meet_all_candidates_and_average_to_the_whole():
    predicted, targets = draw(2, 4, 2, 3, 2, 3)
    shares = [dense_contrast(predicted[n : n + 2], targets, slice(n, n + 2)) for n in (0, 2)]
    loss, rank = dense_contrast(predicted, targets)
    torch.testing.assert_close((shares[0][0] + shares[1][0]) / 2, loss, rtol=1e-12, atol=0)
    assert torch.equal(torch.cat([share[1] for share in shares]), rank)
    expected, ranks = slow_dense_contrast(predicted[2:], targets, 2)
    assert shares[1][0].item() == pytest.approx(expected, rel=1e-10)
    assert shares[1][1].tolist() == ranks


def test_gradient_equals_finite_differences_on_both_sides():
    predicted, targets = (x.requires_grad_() for x in draw(2, 2, 2, 3, 1, 2).unbind())
    assert torch.autograd.gradcheck(lambda p, z: dense_contrast(p, z)[0], (predicted, targets))
    share = predicted[1:].detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, z: dense_contrast(p, z, slice(1, None))[0], (share, targets)
    )


def test_equal_products_give_chance_level_and_the_last_rank():
    predicted = torch.zeros(2, 3, 8, 4, 4)
    loss, rank = dense_contrast(predicted, draw(2, 3, 8, 4, 4).float())
    assert loss.item() == pytest.approx(math.log(2 * 3 * 16)) == pytest.approx(4.5643, abs=1e-4)
    assert (rank == 2 * 3 * 16 - 1).all()


def test_half_precision_and_autocast_compute_in_float32():
    predicted, targets = draw(2, 3, 2, 64, 2, 2).float().unbind()
    exact, rank = dense_contrast(predicted, targets)
    half = predicted.bfloat16(), targets.bfloat16()
    from_half, _ = dense_contrast(half[0].float(), half[1].float())
    with torch.autocast('cpu', torch.bfloat16):
        loss, rank_under_autocast = dense_contrast(predicted, targets)
        assert torch.equal(loss, exact)
        assert torch.equal(rank_under_autocast, rank)
        assert torch.equal(dense_contrast(*half)[0], from_half)
    assert exact.dtype == from_half.dtype == torch.float32
