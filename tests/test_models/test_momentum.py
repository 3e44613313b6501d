"""The momentum copy: its average, what it shares with its source and what it does not."""

import pickle
from copy import deepcopy

import pytest
import torch
from mmengine.runner import load_checkpoint
from tiny_vclr import build_tiny
from torch import nn

from mmssl_video.models import momentum as momentum_module
from mmssl_video.models.momentum import MomentumCopy, forward_shuffled


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


def randomize(module, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))


def assert_same_state(one, other):
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_average_after_n_steps_equals_its_closed_form():
    r"""\theta'_n = m^n \theta'_0 + (1 - m) \sum_k m^{n-k} \theta_k for a source that moves."""
    for momentum in (0.0, 0.9, 1.0):
        source = net()
        copy = MomentumCopy(source)
        start = [p.clone() for p in copy.module.parameters()]
        history = []
        num_steps = 10
        for step in range(num_steps):
            randomize(source, step)
            history.append([p.detach().clone() for p in source.parameters()])
            copy.update(momentum)
        for index, parameter in enumerate(copy.module.parameters()):
            expected = momentum**num_steps * start[index] + (1 - momentum) * sum(
                momentum ** (num_steps - 1 - k) * history[k][index] for k in range(num_steps)
            )
            torch.testing.assert_close(parameter, expected, rtol=1e-12, atol=1e-14)


def test_buffers_are_not_averaged_but_synced():
    source = net()
    copy = MomentumCopy(source)
    before = {key: value.clone() for key, value in copy.module.named_buffers()}
    randomize(source, 1)
    copy.update(0.5)
    for key, value in copy.module.named_buffers():
        assert torch.equal(value, before[key])
    copy.sync()
    assert_same_state(copy.module, source)


def test_forward_has_no_gradient_and_keeps_statistics_of_its_own():
    source = net()
    copy = MomentumCopy(source).train()
    inputs = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    assert not copy(inputs).requires_grad
    assert all(not p.requires_grad for p in copy.parameters())
    assert all(p.requires_grad for p in source.parameters())
    assert int(copy.module[1].num_batches_tracked) == 1
    assert int(source[1].num_batches_tracked) == 0


def test_source_is_not_registered_again():
    network = nn.Module()
    network.online = net()
    network.target = MomentumCopy(network.online)
    assert network.target.source is network.online
    names = [name for name, _ in network.named_parameters()]
    assert len(names) == 2 * len(list(network.online.parameters()))
    keys = {'.'.join(key.split('.')[:2]) for key in network.state_dict() if 'target' in key}
    assert keys == {'target.module'}


def online_state(seed):
    """A state dict of other weights that lacks everything of the target network."""
    other = build_tiny(seed, backbone=dict(type='TinyBackbone', norm=True))
    randomize(other, seed)
    return {key: value for key, value in other.state_dict().items() if 'target' not in key}


def assert_targets_follow(model, state):
    assert len(model.momentum_copies) == 5  # the backbone's and four projectors'
    for copy in model.momentum_copies:
        assert_same_state(copy.module, copy.source)
    for key, value in model.state_dict().items():
        online = key.replace('target_backbone.module', 'backbone')
        online = online.replace('target_projector.module', 'projector')
        assert torch.equal(value, state[online]), key


@pytest.mark.parametrize('by_mmengine', [False, True])
def test_loading_without_target_keys_syncs(by_mmengine, tmp_path):
    """MMEngine has a loader of its own; `load_from` goes through it."""
    model = build_tiny(backbone=dict(type='TinyBackbone', norm=True))
    state = online_state(7)
    keys = list(state)
    if by_mmengine:
        torch.save({'state_dict': state}, tmp_path / 'weights.pth')
        load_checkpoint(model, str(tmp_path / 'weights.pth'), strict=True)
    else:
        model.load_state_dict(state, strict=True)
    assert_targets_follow(model, state)
    assert list(state) == keys  # the caller's dict is left alone


def test_loading_a_backbone_alone_syncs_its_copy():
    model = build_tiny()
    state = {
        key: value + 1 for key, value in model.state_dict().items() if key.startswith('backbone.')
    }
    model.load_state_dict(state, strict=False)
    loaded = model.state_dict()
    for key, value in state.items():
        assert torch.equal(loaded[key], value)
        assert torch.equal(loaded[key.replace('backbone', 'target_backbone.module', 1)], value)


def test_loading_with_target_keys_takes_them():
    model, other = build_tiny(0), build_tiny(1)
    randomize(other, 2)
    model.load_state_dict(other.state_dict())
    assert_same_state(model, other)
    assert not torch.equal(
        next(model.backbone.parameters()), next(model.target_backbone.parameters())
    )


def test_init_weights_syncs():
    model = build_tiny()
    randomize(model.backbone, 1)
    randomize(model.heads, 2)
    model._is_init = False
    model.init_weights()
    for copy in model.momentum_copies:
        assert_same_state(copy.module, copy.source)


@pytest.mark.parametrize('duplicate', [deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_duplicate_follows_its_own_source(duplicate):
    model = build_tiny()
    twin = duplicate(model)
    assert_same_state(twin, model)
    for copy, original in zip(twin.momentum_copies, model.momentum_copies, strict=True):
        assert copy.source is not original.source
    assert twin.target_backbone.source is twin.backbone
    for name, head in twin.heads.items():
        assert head.target_projector.source is head.projector, name

    before = deepcopy(model.state_dict())
    randomize(twin.backbone, 3)
    twin.target_backbone.update(0.0)
    assert_same_state(twin.target_backbone.module, twin.backbone)
    state = {key: value for key, value in before.items() if 'target' not in key}
    twin.load_state_dict(state)  # the hook has been duplicated too
    assert_targets_follow(twin, state)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_batch_normalisation_over_this_process_alone_is_told():
    assert MomentumCopy(net()).has_own_statistics
    assert not MomentumCopy(nn.SyncBatchNorm.convert_sync_batchnorm(net())).has_own_statistics
    assert not MomentumCopy(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))).has_own_statistics


def test_shuffled_forward_in_one_process_is_plain():
    images = torch.randn(5, 3)
    assert torch.equal(forward_shuffled(lambda x: 2 * x, images), 2 * images)


def test_what_is_gathered_is_contiguous(monkeypatch):
    """NCCL takes nothing else, and the class tokens of a transformer are a view."""
    gathered = []
    monkeypatch.setattr(momentum_module, 'get_world_size', lambda: 2)
    monkeypatch.setattr(momentum_module, 'get_rank', lambda: 0)
    monkeypatch.setattr(momentum_module, 'broadcast', lambda tensor: None)
    monkeypatch.setattr(
        momentum_module, 'all_gather', lambda part: gathered.append(part) or [part, part]
    )
    columns = torch.arange(12.0).view(3, 4).T
    features = forward_shuffled(lambda rows: torch.stack([rows, -rows], dim=1)[:, 0], columns)
    assert [part.is_contiguous() for part in gathered] == [True, True]
    assert features.shape == columns.shape
