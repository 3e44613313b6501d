"""Hooks of pretraining: their values on a stub of the Runner, and all of them in one real run."""

import math
import re
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from head_helpers import example
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from tiny_vclr import tiny_config, tiny_model, write_videos

from mmssl_video.engine.hooks import TargetStepHook


def test_target_follows_optimiser_steps():
    """Two batches of 4 leave the target where one of 8 does (BYOL, no batch normalisation)."""
    byol = example('BYOLHead')
    torch.manual_seed(0)
    model = MODELS.build(tiny_model(momentum=0.5) | dict(heads=dict(byol=byol)))
    model.init_weights()
    model.double().train()
    inputs = torch.randn(3, 8, 2, 1, 3, 16, 16, dtype=torch.float64)
    targets = []
    for counts in (1, 2):
        now = deepcopy(model)
        optimizer = torch.optim.SGD(now.parameters(), lr=0.5)
        wrapper = OptimWrapper(optimizer, accumulative_counts=counts)
        runner = SimpleNamespace(model=now, iter=0, optim_wrapper=wrapper)
        for batch in inputs.flatten(0, 1).split(8 // counts):
            TargetStepHook().before_train_iter(runner, 0)
            losses = now.loss(batch, [ActionDataSample()] * len(batch))
            wrapper.update_params(now.parse_losses(losses)[0])
            runner.iter += 1
        targets.append(now.target_backbone.state_dict())
    torch.testing.assert_close(*targets, rtol=1e-10, atol=1e-12)
    start = model.target_backbone.state_dict()
    weight = 'module.layers.0.weight'
    assert (targets[0][weight] - start[weight]).abs().max() > 1e-4


class Watch(Hook):
    """Notes the momentum and the losses of each iteration."""

    def before_train(self, runner):
        self.momenta, self.losses = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.momenta.append(runner.model.momentum)
        self.losses.append({key: value.item() for key, value in outputs.items()})


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory):
    """Three epochs of two batches of four with all hooks; the runner, its watch and its log."""
    folder = tmp_path_factory.mktemp('whole_run')
    cfg = tiny_config(
        write_videos(folder / 'videos', 8), folder / 'work', 'whole_run', epochs=3, momentum=0.8
    )
    cfg.custom_hooks += [
        dict(type='MomentumScheduleHook', end=1.0),
        dict(type='ProgressBarHook', description='Whole run'),
    ]
    runner, watch = Runner.from_cfg(cfg), Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    (log,) = (folder / 'work').glob('*/*.log')
    return SimpleNamespace(runner=runner, watch=watch, log=log.read_text())


def test_a_run_with_all_hooks(whole_run):
    names = 'inter', 'intra', 'video', 'order'
    for name, entries in zip(names, (21, 3, 21, 4), strict=True):
        (line,) = re.findall(rf'objective {name}: .*', whole_run.log)
        assert line.endswith(f'loss_{name} at chance {math.log(entries):.3f}')
        assert len(re.findall(rf'loss_{name}: [\d.]+', whole_run.log)) >= 6
    assert re.findall(r'queue of inter: (\w+)', whole_run.log) == ['8', '16', 'full']
    for losses in whole_run.watch.losses:
        parts = sum(losses[f'loss_{name}'] for name in names)
        assert losses['loss'] == pytest.approx(parts, rel=1e-6)
    expected = [1 - 0.2 * (1 + math.cos(math.pi * t / 6)) / 2 for t in range(6)]
    assert whole_run.watch.momenta == pytest.approx(expected)
    # The draws of an iteration are seeded before any other hook could draw.
    hooks = [type(hook).__name__ for hook in whole_run.runner.hooks]
    reproducible, report, progress = (
        hooks.index(f'{name}Hook') for name in ('Reproducible', 'ObjectiveReport', 'ProgressBar')
    )
    assert reproducible < report < progress
