"""Mixed precision in bfloat16: faults 9 and 23 of `mmssl_video.compat`."""

import os
import subprocess
import sys

import pytest
import torch
from mmaction.registry import OPTIM_WRAPPERS
from mmengine.optim import AmpOptimWrapper
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


def test_bf16_gradients_of_3d_convolutions():
    """In a process of its own: oneDNN asks once whether it may use AMX."""
    script = """
import torch
from torch import nn
from mmssl_video.engine.optimizers import Bf16OptimWrapper

torch.manual_seed(0)
for kernel, padding, shape in (((3, 1, 1), (1, 0, 0), (64, 4, 56, 56)),
                               ((3, 7, 7), (1, 3, 3), (3, 1, 64, 64))):
    conv = nn.Conv3d(shape[0], 64, kernel, padding=padding)
    wrapper = Bf16OptimWrapper(torch.optim.SGD(conv.parameters(), lr=0.1))
    clips, direction = torch.randn(2, *shape), torch.randn(2, 64, *shape[1:])
    (conv(clips) * direction).sum().backward()
    exact = conv.weight.grad.clone()
    conv.zero_grad()
    with wrapper.optim_context(conv):
        features = conv(clips)
    (features * direction).sum().backward()
    print(features.dtype, (conv.weight.grad - exact).norm().item() < 0.01 * exact.norm().item())
"""
    environment = {k: v for k, v in os.environ.items() if k != 'ONEDNN_MAX_CPU_ISA'}
    environment['CUDA_VISIBLE_DEVICES'] = ''
    command = [sys.executable, '-W', 'ignore', '-c', script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split('\n') == ['torch.bfloat16 True'] * 2 + [''], done.stderr[-2000:]


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
