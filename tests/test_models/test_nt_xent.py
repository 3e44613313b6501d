"""NT-Xent against a double loop in float64, its gradient against finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl_video.models.losses import info_nce_from_similarities, nt_xent_similarities


def embeddings(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def nt_xent(view, partners, temperature, own=slice(None)):
    """Both orders of the two views, as Eq. 1 has it."""
    orders = (view, partners), (partners, view)
    losses = [
        info_nce_from_similarities(*nt_xent_similarities(*order, temperature, own))
        for order in orders
    ]
    return (losses[0] + losses[1]) / 2


def slow_nt_xent(view, partners, temperature):
    """The definition: 2N embeddings, embedding n and n + N (modulo 2N) are partners."""
    everything = [*view.tolist(), *partners.tolist()]
    total = len(everything)
    losses = []
    for n, anchor in enumerate(everything):
        attractions = [
            math.exp(sum(a * b for a, b in zip(anchor, other, strict=True)) / temperature)
            for other in everything
        ]
        partner = (n + total // 2) % total
        others = sum(a for m, a in enumerate(attractions) if m != n)
        losses.append(-math.log(attractions[partner] / others))
    return sum(losses) / total


@given(st.integers(1, 6), st.floats(0.05, 2.0), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_value_equals_the_slow_loop(num, temperature, seed):
    view, partners = embeddings(2, num, 7, seed=seed)
    value = nt_xent(view, partners, temperature)
    assert value.dtype == torch.float64
    expected = slow_nt_xent(view, partners, temperature)
    assert value.item() == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_an_anchor_meets_neither_itself_nor_its_partner_among_the_negatives():
    view, partners = embeddings(2, 3, 8)
    with_partner, with_others = nt_xent_similarities(view, partners, 0.5, slice(1, 3))
    assert with_partner.shape == (2, 1) and with_others.shape == (2, 6)
    for row, n in enumerate((1, 2)):
        assert with_partner[row].item() == pytest.approx(float(view[n] @ partners[n]) / 0.5)
        for m in range(3):
            same, other = with_others[row, m], with_others[row, 3 + m]
            if m == n:
                assert same == other == -math.inf
            else:
                assert same.item() == pytest.approx(float(view[n] @ view[m]) / 0.5)
                assert other.item() == pytest.approx(float(view[n] @ partners[m]) / 0.5)


def test_gradient_equals_finite_differences():
    view, partners = (x.requires_grad_() for x in embeddings(2, 4, 5).unbind())
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3), (view, partners))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3, slice(1, 3)), (view, partners))


def test_one_sample_has_nothing_to_be_told_from():
    view, partners = (x.requires_grad_() for x in embeddings(2, 1, 5).unbind())
    loss = nt_xent(view, partners, 0.1)
    assert loss == 0
    for gradient in torch.autograd.grad(loss, (view, partners)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize('num', [2, 512])
def test_equal_embeddings_give_chance_level(num):
    same = embeddings(1, 16).expand(num, 16).float()
    assert nt_xent(same, same, 0.1).item() == pytest.approx(math.log(2 * num - 1), rel=1e-6)


def test_extreme_temperature_stays_finite():
    view = torch.eye(3).requires_grad_()
    for partners, expected in ((torch.eye(3), 0.0), (torch.eye(3).roll(1, dims=0), 1e4)):
        loss = nt_xent(view, partners, 1e-4)
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        assert torch.autograd.grad(loss, view)[0].isfinite().all()


def test_half_precision_and_autocast_compute_in_float32():
    view, partners = embeddings(2, 8, 64).float()
    exact = nt_xent(view, partners, 0.1)
    half = view.bfloat16(), partners.bfloat16()
    from_half = nt_xent(half[0].float(), half[1].float(), 0.1)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(nt_xent(view, partners, 0.1), exact)
        assert torch.equal(nt_xent(*half, 0.1), from_half)
    assert exact.dtype == from_half.dtype == torch.float32
