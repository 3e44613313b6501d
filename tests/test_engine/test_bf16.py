"""Mixed precision in bfloat16: faults 9 and 23 of `mmssl_video.compat`."""

import os

import pytest
import torch
from mmaction.registry import OPTIM_WRAPPERS
from mmengine.optim import AmpOptimWrapper
from processes import run_in_processes
from torch import nn

from mmssl_video.engine.optimizers import Bf16OptimWrapper


def test_bf16_training_step():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if not torch.cuda.is_available():
        with pytest.raises(AssertionError):
            AmpOptimWrapper(optimizer=optimizer, dtype='bfloat16')
    wrapper = OPTIM_WRAPPERS.build(dict(type='Bf16OptimWrapper', optimizer=optimizer))
    x, before = torch.randn(4, 2), model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(x)
        wrapper.update_params(output.float().pow(2).mean())
    assert output.dtype == torch.bfloat16 and model(x).dtype == torch.float32
    assert model.weight.dtype == torch.float32
    predicted = x @ before.T + model.bias.detach()
    assert not torch.equal(model.weight, before) and torch.isfinite(predicted).all()
    assert set(wrapper.state_dict()) == {'state', 'param_groups'}


def gradients_of_3d_convolutions(rank):
    """For kernels over time and over space: dtype of the features, error of the gradient."""
    os.environ.pop('ONEDNN_MAX_CPU_ISA', None)
    torch.manual_seed(0)
    found = []
    for kernel, padding, shape in (
        ((3, 1, 1), (1, 0, 0), (64, 4, 56, 56)),
        ((3, 7, 7), (1, 3, 3), (3, 1, 64, 64)),
    ):
        conv = nn.Conv3d(shape[0], 64, kernel, padding=padding)
        wrapper = Bf16OptimWrapper(torch.optim.SGD(conv.parameters(), lr=0.1))
        clips, direction = torch.randn(2, *shape), torch.randn(2, 64, *shape[1:])
        (conv(clips) * direction).sum().backward()
        exact = conv.weight.grad.clone()
        conv.zero_grad()
        with wrapper.optim_context(conv):
            features = conv(clips)
        (features * direction).sum().backward()
        error = (conv.weight.grad - exact).norm() / exact.norm()
        found.append((str(features.dtype), error.item()))
    return found


def test_bf16_gradients_of_3d_convolutions(tmp_path):
    """In processes of their own: oneDNN asks once whether it may use AMX."""
    for found in run_in_processes(gradients_of_3d_convolutions, tmp_path):
        assert [dtype for dtype, _ in found] == ['torch.bfloat16'] * 2
        assert max(error for _, error in found) < 0.01


def test_networks_of_images_keep_amx(monkeypatch):
    monkeypatch.setattr('mmssl_video.compat.torch.get_device', lambda: 'cpu')
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')  # so that it is as before at the end
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA')
    for conv, setting in ((torch.nn.Conv2d, None), (torch.nn.Conv3d, 'AVX512_CORE_BF16')):
        Bf16OptimWrapper(torch.optim.SGD(conv(1, 1, 1).parameters(), lr=0.1))
        assert os.environ.get('ONEDNN_MAX_CPU_ISA') == setting
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
    Bf16OptimWrapper(torch.optim.SGD(conv(1, 1, 1).parameters(), lr=0.1))
    assert os.environ['ONEDNN_MAX_CPU_ISA'] == 'AVX2'
