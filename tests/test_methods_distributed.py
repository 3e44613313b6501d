"""Methods of several heads, or with masks: two gloo processes do what one does on the whole batch.

Each head alone is compared in test_models/test_every_head.py. The processes are started once, for
all recipes.
"""

import pytest
import torch
from config_helpers import SMALL, load
from mmaction.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from processes import WORLD, run_in_processes, train
from test_methods import BATCH, short_run, write_labelled_videos
from torch import nn

STEPS = 3  # the queues go round


def pretrain(rank, world, cfg, batches):
    """Some steps on this rank's share, in float64, without batch statistics and dropout."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.double().train()
    for module in model.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.Dropout)):
            module.eval()

    def shares():
        for step, (inputs, samples) in enumerate(batches):
            torch.manual_seed(step)  # what the heads draw
            yield inputs[rank::world].double(), samples[rank::world]

    return train(model, shares(), world)


def process(rank, file):
    """The body of each process."""
    init_default_scope('mmaction')
    return {
        path: pretrain(rank, WORLD, cfg, batches)
        for path, (cfg, batches) in torch.load(file, weights_only=False).items()
    }


def several_heads_or_masks(path):
    heads = load(path).model.heads
    return len(heads) > 1 or 'videomae' in heads


def make_batches(cfg):
    """The inputs and data samples of each step, for all processes together."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    batches = []
    for start in range(0, STEPS * BATCH, BATCH):
        batch = preprocess(pseudo_collate([dataset[start + i] for i in range(BATCH)]), True)
        batches.append((batch['inputs'], batch['data_samples']))
    return batches


def assert_close(got, expected, what):
    """Of tensors by name; the message says what they are, and torch adds the name."""
    torch.testing.assert_close(
        got, expected, rtol=1e-6, atol=1e-9, msg=lambda text: f'{what}: {text}'
    )


def test_two_processes_are_one(tmp_path):
    videos = write_labelled_videos(tmp_path / 'videos')
    given = {}
    for path in filter(several_heads_or_masks, SMALL):
        cfg = short_run(path, videos, tmp_path)
        given[path] = cfg, make_batches(cfg)
    assert len(given) > 5
    torch.save(given, tmp_path / 'given.pt')
    ranks = run_in_processes(process, tmp_path, str(tmp_path / 'given.pt'))
    for path in given:
        one = pretrain(0, 1, *given[path])
        assert len(one['losses']) == STEPS
        for rank in ranks:
            two = rank[path]
            for step, losses in enumerate(one['losses']):
                where = f'{path}, step {step}'
                assert two['losses'][step] == pytest.approx(losses, rel=1e-6, abs=1e-9), where
                assert_close(two['gradients'][step], one['gradients'][step], f'{where}, gradients')
            # Weights, target network, queues.
            assert_close(two['state'], one['state'], f'{path}, state')
