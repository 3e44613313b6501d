"""Methods of several heads, or with masks: two gloo processes do what one does on the whole batch.

Each head alone is compared in test_models/test_every_head.py. The processes are started once, for
all recipes; each test reads what they have written.
"""

import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from processes import WORLD, run_in_processes, train
from test_methods import BATCH, RECIPES, load, short_run, write_labelled_videos
from torch import nn

STEPS = 3  # the queues go round
SEVERAL = [path for path in RECIPES if len(load(path).model.heads) > 1 or 'videomae' in path]


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


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """By recipe, what one process found and what each of two did."""
    folder = tmp_path_factory.mktemp('methods')
    videos = write_labelled_videos(folder / 'videos')
    given = {}
    for path in SEVERAL:
        cfg = short_run(path, videos, folder)
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        preprocess = MODELS.build(cfg.model.data_preprocessor)
        batches = []
        for start in range(0, STEPS * BATCH, BATCH):
            batch = preprocess(pseudo_collate([dataset[start + i] for i in range(BATCH)]), True)
            batches.append((batch['inputs'], batch['data_samples']))
        given[path] = cfg, batches
    torch.save(given, folder / 'given.pt')
    ranks = run_in_processes(process, folder, str(folder / 'given.pt'))
    return {path: (pretrain(0, 1, *given[path]), *(rank[path] for rank in ranks)) for path in given}


@pytest.mark.parametrize('path', SEVERAL)
def test_two_processes_are_one(runs, path):
    one, *two = runs[path]
    assert len(one['losses']) == STEPS
    for step, losses in enumerate(one['losses']):
        for rank in two:
            assert rank['losses'][step] == pytest.approx(losses, rel=1e-6, abs=1e-9), step
            torch.testing.assert_close(
                rank['gradients'][step], one['gradients'][step], rtol=1e-6, atol=1e-9
            )
    for rank in two:  # weights, target network, queues
        torch.testing.assert_close(rank['state'], one['state'], rtol=1e-6, atol=1e-9)
