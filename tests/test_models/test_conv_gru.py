"""ConvGRU against a loop over places in float64, and against PyTorch's GRU where they agree."""

import pytest
import torch

from mmssl_video.models.conv_gru import ConvGRU

N, S, C, D, H, W = 2, 4, 3, 5, 2, 3


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return ConvGRU(C, D, **changes).double()


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def convolve(layer, maps, n, y, x):
    """One place of one output of a convolution whose maps are padded by zeros: [D]."""
    weight, bias = layer.weight, layer.bias
    reach = weight.shape[-1] // 2
    outputs = bias.clone()
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            if 0 <= y + i < H and 0 <= x + j < W:
                outputs += weight[:, :, reach + i, reach + j] @ maps[n, :, y + i, x + j]
    return outputs


def step(gru, maps, state):
    """The state after one map, gate by gate and place by place."""
    both = torch.cat([maps, state], dim=1)
    update, after_reset, after = torch.empty_like(state), torch.empty_like(state), state.clone()
    places = [(n, y, x) for n in range(N) for y in range(H) for x in range(W)]
    for n, y, x in places:
        update[n, :, y, x] = 1 / (1 + torch.exp(-convolve(gru.update, both, n, y, x)))
        reset = 1 / (1 + torch.exp(-convolve(gru.reset, both, n, y, x)))
        after_reset[n, :, y, x] = reset * state[n, :, y, x]
    both = torch.cat([maps, after_reset], dim=1)
    for n, y, x in places:
        u, old = update[n, :, y, x], state[n, :, y, x]
        candidate = torch.tanh(convolve(gru.candidate, both, n, y, x))
        after[n, :, y, x] = (1 - u) * old + u * candidate
    return after


@pytest.mark.parametrize('kernel_size', [1, 3])
@pytest.mark.parametrize('starts_at_zero', [True, False])
@torch.no_grad()
def test_state_equals_the_slow_loop(kernel_size, starts_at_zero):
    gru = build(kernel_size=kernel_size)
    maps = draw(N, S, C, H, W)
    state = None if starts_at_zero else draw(N, D, H, W, seed=1)
    got = gru(maps, state)
    expected = torch.zeros(N, D, H, W, dtype=torch.float64) if starts_at_zero else state
    for s in range(S):
        expected = step(gru, maps[:, s], expected)
    assert got.shape == (N, D, H, W)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_dropout_acts_on_the_state_after_each_step_in_training_only():
    gru = build(dropout=0.4)
    maps = draw(2, 2, C, 30, 30)
    torch.manual_seed(1)
    first = gru(maps[:, :1])
    second = gru(maps[:, 1:], first)
    torch.manual_seed(1)
    assert torch.equal(gru(maps), second)
    gru.eval()
    for state, whole in ((first, gru(maps[:, :1])), (second, gru(maps[:, 1:], first))):
        kept = state != 0
        torch.testing.assert_close(state[kept], whole[kept] / 0.6)
        assert kept.double().mean().item() == pytest.approx(0.6, abs=0.02)


def test_runs_under_autocast():
    torch.manual_seed(0)
    gru, maps = ConvGRU(C, D), draw(N, S, C, H, W).float()
    expected = gru(maps)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(gru(maps).float(), expected, rtol=0, atol=0.03)
