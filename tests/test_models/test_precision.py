"""Which devices compute fast in bfloat16."""

import pytest
import torch

from mmssl_video.models import precision
from mmssl_video.models.precision import is_bfloat16_fast

ZEN4, XEON = {'avx512_bf16': True}, {'avx512_bf16': True, 'amx_bf16': True}


@pytest.mark.parametrize(
    ('device', 'capabilities', 'fast', 'fast_in_3d'),
    [
        ('cpu', ZEN4 | {'amx_bf16': False}, True, True),
        ('cpu', XEON, True, False),
        ('cpu', {'avx512_bf16': False, 'avx512_f': True}, False, False),
        ('cpu', {'architecture': 'aarch64'}, False, False),
        ('cuda', (9, 0), True, True),
        ('cuda', (8, 0), True, True),
        ('cuda', (7, 5), False, False),
        ('npu', None, False, False),
    ],
)
def test_devices(device, capabilities, fast, fast_in_3d, monkeypatch):
    monkeypatch.setattr(precision, 'get_device', lambda: device)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capabilities)
    assert is_bfloat16_fast(in_3d=False) is fast
    assert is_bfloat16_fast(in_3d=True) is fast_in_3d


def test_a_torch_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(precision, 'get_device', lambda: 'cpu')
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    assert is_bfloat16_fast(in_3d=False) is False
