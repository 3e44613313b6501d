"""Running statistics become the mean of three processes, and nothing else changes by a bit."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import SyncBuffersHook
from mmengine.runner import IterBasedTrainLoop, Runner
from processes import run_in_processes
from tiny_vclr import tiny_config
from torch import nn

from mmssl_video.engine import training
from mmssl_video.engine.hooks import SyncStatisticsHook
from mmssl_video.models.memory import EmbeddingQueue

WORLD = 3  # (x + x + x) / 3 is not x for every x
TRAINED = ('0.running_mean', '0.running_var')


def network(rank):
    """Statistics differ between the processes in 0, and are equal in 1 and 2; queue and table."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm3d(1000),
        nn.BatchNorm1d(1000),
        nn.SyncBatchNorm(1000),
        nn.BatchNorm2d(1000, track_running_stats=False),
        EmbeddingQueue(100, 10),
    )
    model.register_buffer('table', torch.arange(1000))
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.1, 1, generator=generator)
            if name in TRAINED:
                buffer += rank
    model[1].eval()
    return model


def average(rank):
    """The buffers of this process before, after each hook's end of an epoch, and its own."""
    hook, loop = SyncStatisticsHook(), object.__new__(IterBasedTrainLoop)
    results = {}
    for name, run, train_loop in (
        ('before', lambda runner: None, None),
        ('after an epoch', hook.after_train_epoch, None),
        ('before a validation', hook.before_val_epoch, None),
        ('before a validation by iterations', hook.before_val_epoch, loop),
        ("MMEngine's", SyncBuffersHook().after_train_epoch, None),
    ):
        model = network(rank)
        run(SimpleNamespace(model=model, _train_loop=train_loop))
        results[name] = dict(model.named_buffers())
    return results


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    return run_in_processes(average, tmp_path_factory.mktemp('ranks'), world=WORLD)


@pytest.mark.parametrize('when', ['after an epoch', 'before a validation by iterations'])
def test_statistics_are_the_mean_of_the_processes(ranks, when):
    for name in TRAINED:
        mean = torch.stack([rank['before'][name] for rank in ranks]).mean(dim=0)
        assert ranks[0]['before'][name].max() <= 1 < mean.min()
        for rank in ranks:
            torch.testing.assert_close(rank[when][name], mean)
            assert torch.equal(rank[when][name], ranks[0][when][name])


@pytest.mark.parametrize('when', ['after an epoch', 'before a validation by iterations'])
def test_other_buffers_do_not_change_by_a_bit(ranks, when):
    for rank in ranks:
        for name, buffer in rank['before'].items():
            if name not in TRAINED:
                assert torch.equal(rank[when][name], buffer), name
    upstream = ranks[0]["MMEngine's"]
    for name in ('1.running_mean', '2.running_var', '4.embeddings'):
        assert not torch.equal(upstream[name], ranks[0]['before'][name])


def test_the_mean_of_an_epoch_is_validated_as_it_is(ranks):
    for rank in ranks:
        for name, buffer in rank['before'].items():
            assert torch.equal(rank['before a validation'][name], buffer), name


def test_training_replaces_the_hook_of_mmengine(tmp_path, monkeypatch):
    """And no other hook, nor one that is switched off; as for fine-tuning, by MMAction2's hooks."""

    class Built(Exception):
        pass

    def build(cfg):
        raise Built

    monkeypatch.setattr(Runner, 'from_cfg', build)
    cfg = tiny_config(tmp_path, tmp_path, 'replaced')
    cfg.launcher = 'none'
    cfg.default_hooks.update(sync_buffers=dict(type='SyncBuffersHook'), timer=None)
    with pytest.raises(Built):
        training.train(cfg)
    types = {name: hook and hook.type for name, hook in cfg.default_hooks.items()}
    assert types == dict(
        logger='LoggerHook',
        checkpoint='SafeCheckpointHook',
        sync_buffers='SyncStatisticsHook',
        timer=None,
    )
