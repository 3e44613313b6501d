"""The gradient's norm is that of a sum over all its numbers, and its logging changes no weight."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_vclr import tiny_config, write_videos
from torch import nn

from mmssl_video.engine.hooks import GradNormHook
from mmssl_video.engine.optimizers import Bf16OptimWrapper

STEPS = 6


def train(wrapper_type, hook=True, scale=1.0, **options):
    """Six iterations of a network of two layers; norms logged, gradients, weights at the end."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1))
    model[0].bias.requires_grad = False
    hub = MessageHub('one of its own')
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapper = wrapper_type(optimizer=optimizer, **options)
    wrapper.message_hub = hub
    if hook:
        GradNormHook().before_train(SimpleNamespace(optim_wrapper=wrapper))
    gradients = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(gradients.append)
    for _ in range(STEPS):
        inputs = scale * torch.randn(3, 5)
        with wrapper.optim_context(model):
            loss = model(inputs).square().mean()
        wrapper.update_params(loss)
    norms = hub.log_scalars.get('train/grad_norm')
    # Of each iteration, those of the three tensors that are trained.
    each = [gradients[i : i + 3] for i in range(0, len(gradients), 3)]
    assert len(each) == STEPS
    return norms and norms.data[0].tolist(), each, list(model.parameters())


def norm_of(gradients):
    return math.sqrt(sum(value**2 for g in gradients for value in g.flatten().tolist()))


@pytest.mark.parametrize('wrapper', [OptimWrapper, Bf16OptimWrapper])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=0.01), dict(max_norm=100)])
def test_norm_of_each_step_is_that_before_clipping(wrapper, clip_grad):
    norms, gradients, _ = train(wrapper, clip_grad=clip_grad and dict(clip_grad))
    assert norms == pytest.approx([norm_of(each) for each in gradients], rel=1e-5)


def test_accumulated_gradients_have_a_norm_a_step():
    """That of their mean."""
    norms, gradients, _ = train(OptimWrapper, accumulative_counts=3)
    assert len(norms) == 2
    for norm, start in zip(norms, (0, 3), strict=True):
        # Each is a third already: the loss is divided.
        total = [sum(parts) for parts in zip(*gradients[start : start + 3], strict=True)]
        assert norm == pytest.approx(norm_of(total), rel=1e-5)


class ScaledOptimWrapper(AmpOptimWrapper):
    """MMEngine's of float16, which asks for a GPU, with a scaler for the CPU."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
        self._scale_update_param = None

    optim_context = OptimWrapper.optim_context


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='needs torch 2.3')
def test_norm_of_scaled_gradients_is_that_without_the_scale():
    norms, gradients, _ = train(ScaledOptimWrapper)
    assert norms == pytest.approx([norm_of(each) / 1024 for each in gradients], rel=1e-5)


@pytest.mark.parametrize('scale', [1, 1e-20])
@pytest.mark.parametrize('options', [{}, dict(clip_grad=dict(max_norm=0.01))])
def test_the_hook_changes_no_weight(scale, options):
    def weights(hook):
        copied = {key: dict(value) for key, value in options.items()}
        return train(OptimWrapper, hook, scale, **copied)[2]

    for with_hook, without in zip(weights(True), weights(False), strict=True):
        assert torch.equal(with_hook, without)


def test_log_json_and_tensorboard_have_the_norm(tmp_path):
    cfg = tiny_config(write_videos(tmp_path / 'videos', 4), tmp_path / 'work', 'grad norm run')
    cfg.custom_hooks.append(dict(type='GradNormHook'))
    cfg.visualizer = dict(
        type='Visualizer',
        vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
    )
    Runner.from_cfg(cfg).train()
    (scalars,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    norms = {record['step']: record['grad_norm'] for record in records}
    assert list(norms) == [1, 2] and all(0 < norm < math.inf for norm in norms.values())
    (events,) = (tmp_path / 'work').glob('*/vis_data/events.out.tfevents.*')
    logged = EventAccumulator(str(events)).Reload().Scalars('grad_norm')
    assert {event.step: event.value for event in logged} == pytest.approx(norms)
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert log.read_text().count(f'grad_norm: {norms[1]:.4f}') == 1
