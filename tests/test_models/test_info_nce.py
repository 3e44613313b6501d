"""InfoNCE against a loop in float64, its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl_video.models.losses import (
    contrast,
    info_nce,
    info_nce_from_similarities,
    info_nce_in_batch,
)


def embeddings(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def slow_info_nce(query, positive, negatives, temperature):
    """The definition, one query, one positive and one negative at a time."""
    query, positive, negatives = (np.asarray(x, np.float64) for x in (query, positive, negatives))
    losses = []
    for n, q in enumerate(query):
        own = negatives if negatives.ndim == 2 else negatives[n]
        repelled = sum(math.exp(sum(q * k) / temperature) for k in own)
        for p in positive[n]:
            attracted = math.exp(sum(q * p) / temperature)
            losses.append(-math.log(attracted / (attracted + repelled)))
    return sum(losses) / len(losses)


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 9),
    st.booleans(),
    st.floats(0.05, 2.0),
    st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_value_equals_the_slow_loop(num, positives, num_negatives, shared, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    query = embeddings(generator, num, 7)
    positive = embeddings(generator, num, positives, 7)
    shape = (num_negatives, 7) if shared else (num, num_negatives, 7)
    negatives = embeddings(generator, *shape)
    expected = slow_info_nce(query, positive, negatives, temperature)
    value = info_nce(query, positive, negatives, temperature)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_one_positive_needs_no_axis_of_its_own():
    generator = torch.Generator().manual_seed(0)
    query, positive, negatives = (embeddings(generator, n, 5) for n in (4, 4, 9))
    flat = info_nce(query, positive, negatives, 0.1)
    assert flat == info_nce(query, positive[:, None], negatives, 0.1)


def test_without_negatives_loss_and_gradient_are_zero():
    generator = torch.Generator().manual_seed(2)
    query = embeddings(generator, 3, 5).requires_grad_()
    for empty in (torch.zeros(0, 5), torch.zeros(3, 0, 5)):
        loss = info_nce(query, embeddings(generator, 3, 5), empty, 0.1)
        assert loss == 0
        (gradient,) = torch.autograd.grad(loss, query)
        assert torch.equal(gradient, torch.zeros_like(query))


@pytest.mark.parametrize('shared', [True, False])
def test_gradient_equals_finite_differences(shared):
    generator = torch.Generator().manual_seed(3)
    query = embeddings(generator, 3, 4).requires_grad_()
    positive = embeddings(generator, 3, 2, 4).requires_grad_()
    negatives = embeddings(generator, *((5, 4) if shared else (3, 5, 4))).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q, p, n: info_nce(q, p, n, 0.3), (query, positive, negatives)
    )


@pytest.mark.parametrize('num_negatives', [1, 131072])
def test_equal_similarities_give_chance_level(num_negatives):
    query = F.normalize(torch.ones(2, 4), dim=1)
    loss = info_nce(query, query, query[:1].expand(num_negatives, 4), 0.1)
    assert loss.item() == pytest.approx(math.log(1 + num_negatives), rel=1e-6)


def test_extreme_similarities_stay_finite():
    query = torch.tensor([[1.0, 0.0]], requires_grad=True)
    for positive, expected in (([[1.0, 0.0]], 0.0), ([[-1.0, 0.0]], 2 / 1e-3)):
        opposite = -torch.tensor(positive)
        loss = info_nce(query, torch.tensor(positive), opposite, 1e-3)
        assert loss.item() == pytest.approx(expected, rel=1e-6)
        assert torch.autograd.grad(loss, query)[0].isfinite().all()


def test_autocast_computes_in_float32():
    generator = torch.Generator().manual_seed(4)
    query, positive, negatives = (embeddings(generator, n, 64).float() for n in (6, 6, 40))
    exact = info_nce(query, positive, negatives, 0.1)
    with torch.autocast('cpu', torch.bfloat16):
        under_autocast = info_nce(query, positive, negatives, 0.1)
        half = [x.bfloat16() for x in (query, positive, negatives)]
        from_bfloat16 = contrast(*half, 0.1)
        loss_from_bfloat16 = info_nce_from_similarities(*from_bfloat16)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, exact)
    assert {x.dtype for x in (*from_bfloat16, loss_from_bfloat16)} == {torch.float32}
    # The operands lose digits, the products do not.
    assert torch.equal(from_bfloat16[1], contrast(*(x.float() for x in half), 0.1)[1])


def test_mixed_operands_follow_the_query():
    """A queue in float32 serves a query in float64 (or bfloat16, above)."""
    generator = torch.Generator().manual_seed(5)
    query, positive, negatives = (embeddings(generator, n, 5) for n in (2, 2, 3))
    for similarities in contrast(query, positive.float(), negatives.float(), 0.1):
        assert similarities.dtype == torch.float64


# Positives and negatives in one batch -------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 9), st.floats(0.05, 2.0), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_in_batch_equals_the_slow_loop(num, num_keys, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    query, keys = embeddings(generator, num, 7), embeddings(generator, num_keys, 7)
    positive = torch.randint(num_keys, (num,), generator=generator)
    losses, nearest = [], []
    for q, own in zip(query, positive.tolist(), strict=True):
        others = torch.cat([keys[:own], keys[own + 1 :]])
        losses.append(slow_info_nce(q[None], keys[own][None, None], others, temperature))
        nearest.append(all(q @ keys[own] >= q @ other for other in others))
    loss, correct = info_nce_in_batch(query, keys, positive, temperature)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(sum(losses) / num, rel=1e-9, abs=1e-12)
    assert correct.dtype == torch.bool
    assert correct.tolist() == nearest


def test_in_batch_gradient_equals_finite_differences():
    generator = torch.Generator().manual_seed(7)
    query = embeddings(generator, 3, 4).requires_grad_()
    keys = embeddings(generator, 5, 4).requires_grad_()
    positive = torch.tensor([4, 0, 4])
    assert torch.autograd.gradcheck(
        lambda q, k: info_nce_in_batch(q, k, positive, 0.3)[0], (query, keys)
    )


def test_in_batch_at_chance_and_with_a_single_key():
    query = F.normalize(torch.ones(3, 4), dim=1).requires_grad_()
    loss, _ = info_nce_in_batch(query, query[:1].expand(64, 4), torch.tensor([0, 5, 63]), 0.1)
    assert loss.item() == pytest.approx(math.log(64), rel=1e-6)
    loss, correct = info_nce_in_batch(query[:1], query[:1], torch.tensor([0]), 0.1)
    assert loss == 0
    assert correct.tolist() == [True]
    assert torch.equal(torch.autograd.grad(loss, query)[0], torch.zeros(3, 4))


def test_in_batch_computes_in_float32_under_autocast():
    generator = torch.Generator().manual_seed(8)
    query, keys = (embeddings(generator, n, 64).float() for n in (6, 40))
    exact, _ = info_nce_in_batch(query, keys, torch.arange(6), 0.1)
    with torch.autocast('cpu', torch.bfloat16):
        under_autocast, _ = info_nce_in_batch(query, keys, torch.arange(6), 0.1)
        half, _ = info_nce_in_batch(query.bfloat16(), keys.bfloat16(), torch.arange(6), 0.1)
    assert torch.equal(under_autocast, exact)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=0.02)
