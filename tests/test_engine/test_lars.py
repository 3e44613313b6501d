"""LARS against a slow loop in float64."""

import pytest
import torch
from torch import nn

from mmssl_video.engine.optimizers import LARS
from mmssl_video.errors import UserError

SHAPES = [(4, 3, 1, 2, 2), (5, 4), (5,), (), (2, 3, 3, 3), (6,)]
STEPS = 6


def draw(shapes=SHAPES, steps=STEPS, dtype=torch.float64, seed=0):
    """Initial values, and the gradients of each step; each layer on a scale of its own."""
    generator = torch.Generator().manual_seed(seed)
    scales = [10.0 ** (i - 2) for i in range(len(shapes))]

    def normal():
        return [
            (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)
            for shape, scale in zip(shapes, scales, strict=True)
        ]

    return normal(), [normal() for _ in range(steps)]


def parameters(values):
    return [nn.Parameter(value.clone()) for value in values]


def descend(optimizer, params, grads):
    """One step for each list of gradients; None leaves a parameter out."""
    for step in grads:
        for p, grad in zip(params, step, strict=True):
            p.grad = None if grad is None else grad.clone()
        optimizer.step()


def norm(values):
    return sum(value * value for value in values) ** 0.5


def slow_lars(values, grads, lrs, decays, momentum, nesterov, trust=1e-3, eps=1e-8):
    """The algorithm number by number, on the lists of Python's floats."""
    results = []
    for i, value in enumerate(values):
        w, v = value.flatten().tolist(), None
        for step in grads:
            g = step[i].flatten().tolist()
            rate = 1.0
            if value.ndim > 1 and norm(w) > 0 and norm(g) > 0:
                rate = trust * norm(w) / (norm(g) + decays[i] * norm(w) + eps)
            scaled = [rate * (gj + decays[i] * wj) for gj, wj in zip(g, w, strict=True)]
            v = scaled if v is None else [momentum * a + b for a, b in zip(v, scaled, strict=True)]
            ahead = [b + momentum * a for a, b in zip(v, scaled, strict=True)] if nesterov else v
            w = [wj - lrs[i] * a for wj, a in zip(w, ahead, strict=True)]
        results.append(torch.tensor(w, dtype=torch.float64).reshape(value.shape))
    return results


@pytest.mark.parametrize('nesterov', [False, True])
@pytest.mark.parametrize(('dtype', 'rtol'), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_steps_equal_a_slow_loop(dtype, rtol, nesterov):
    values, grads = draw(dtype=dtype)
    params = parameters(values)
    # Two groups with a rate and a decay each.
    groups = [dict(params=params[:3], lr=0.8, weight_decay=0.1), dict(params=params[3:])]
    optimizer = LARS(groups, lr=0.3, momentum=0.9, weight_decay=0.02, nesterov=nesterov)
    descend(optimizer, params, grads)
    expected = slow_lars(
        values, grads, [0.8] * 3 + [0.3] * 3, [0.1] * 3 + [0.02] * 3, 0.9, nesterov
    )
    for p, start, value in zip(params, values, expected, strict=True):
        assert p.dtype == dtype
        # What has changed, since a step of LARS is small beside the weight.
        change, wanted = p.detach().double() - start.double(), value - start.double()
        torch.testing.assert_close(change, wanted, rtol=rtol, atol=rtol * float(start.abs().max()))


def test_trust_coefficient_and_eps_are_those_of_the_group():
    values, grads = draw([(3, 4), (4, 3)], steps=1)
    params = parameters(values)
    groups = [dict(params=params[:1], trust_coefficient=0.5, eps=2.0), dict(params=params[1:])]
    descend(LARS(groups, lr=1.0, momentum=0), params, grads)
    for i, (trust, eps) in enumerate([(0.5, 2.0), (1e-3, 1e-8)]):
        w, g = values[i], grads[0][i]
        step = trust * w.norm() / (g.norm() + eps) * g
        torch.testing.assert_close(w - params[i].detach(), step, rtol=1e-9, atol=1e-13)


def test_a_zero_weight_or_gradient_takes_a_step_of_sgd():
    weight = torch.arange(6.0).reshape(2, 3)
    params = parameters([torch.zeros(2, 3), weight, torch.zeros(2, 3)])
    grads = [[weight, torch.zeros(2, 3), torch.zeros(2, 3)]]
    descend(LARS(params, lr=0.5, weight_decay=0.1), params, grads)
    torch.testing.assert_close(params[0].detach(), -0.5 * weight)
    torch.testing.assert_close(params[1].detach(), weight - 0.5 * 0.1 * weight)
    assert torch.equal(params[2].detach(), torch.zeros(2, 3))


def test_half_precision_weights_have_rates_in_float32():
    values, grads = draw([(40, 30)], steps=1, dtype=torch.bfloat16)
    params = parameters(values)
    optimizer = LARS(params, lr=0.1, weight_decay=0.01)
    descend(optimizer, params, grads)
    w, g = values[0].double(), grads[0][0].double()
    scaled = 1e-3 * w.norm() / (g.norm() + 0.01 * w.norm() + 1e-8) * (g + 0.01 * w)
    buffer = optimizer.state[params[0]]['momentum_buffer']
    assert params[0].dtype == buffer.dtype == torch.bfloat16
    assert torch.equal(buffer, scaled.to(torch.bfloat16))  # rounded once, at the end


def test_gradients_are_left_and_parameters_without_one_too():
    values, grads = draw([(3, 4), (4, 5), (4,)], dtype=torch.float32)
    params = parameters(values)
    optimizer = LARS(params, lr=0.1, weight_decay=0.1)
    descend(optimizer, params, [[step[0], None, None] for step in grads])
    assert torch.equal(params[1], values[1]) and torch.equal(params[2], values[2])
    assert not torch.equal(params[0], values[0])
    assert torch.equal(params[0].grad, grads[-1][0])
    assert list(optimizer.state) == params[:1]
    # A parameter that gets its first gradient late starts with empty momentum.
    alone = parameters(values[1:2])
    descend(optimizer, params, [[None, grads[0][1], None]])
    descend(LARS(alone, lr=0.1, weight_decay=0.1), alone, [grads[0][1:2]])
    assert torch.equal(params[1], alone[0])


def test_step_takes_a_closure():
    params = parameters([torch.full((2, 2), 3.0)])
    optimizer = LARS(params, lr=1.0, momentum=0)

    def closure():
        optimizer.zero_grad()
        loss = params[0].square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 36
    torch.testing.assert_close(params[0].detach(), torch.full((2, 2), 3 - 3e-3))  # |w| = 6


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    values, grads = draw(dtype=torch.bfloat16)

    def build(start):
        params = parameters(start)
        groups = [dict(params=params[:3], lr=0.8, weight_decay=0.1), dict(params=params[3:])]
        return params, LARS(groups, lr=0.3, weight_decay=0.02, nesterov=True)

    whole, optimizer = build(values)
    descend(optimizer, whole, grads)

    first, optimizer = build(values)
    descend(optimizer, first, grads[:3])
    torch.save(optimizer.state_dict(), tmp_path / 'optimizer.pth')
    second, optimizer = build([p.detach() for p in first])
    optimizer.param_groups[0]['lr'] = optimizer.param_groups[1]['trust_coefficient'] = 7.0
    optimizer.load_state_dict(torch.load(tmp_path / 'optimizer.pth', weights_only=True))
    descend(optimizer, second, grads[3:])
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(UserError, match='^LARS: nesterov=True needs a momentum above 0$'):
        LARS(parameters([torch.ones(2, 2)]), lr=0.1, momentum=0, nesterov=True)
