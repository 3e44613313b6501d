"""Two gloo processes give the losses, gradients and queues of one process on the whole batch.

The processes are started once; each test reads what they have written.
"""

from types import SimpleNamespace

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from processes import WORLD, run_in_processes, train
from tiny_vclr import SEGMENTS, build_tiny, tiny_model
from torch import nn

from mmssl_video.models.momentum import forward_shuffled

BATCH = 6  # of all processes
STEPS = 5
TASKS = 'pretraining', 'fine-tuning'
QUEUE = 20  # 30 embeddings go in, so it wraps around within a batch


def data(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(BATCH, 3, SEGMENTS, 3, 16, 16, generator=generator, dtype=torch.float64)


def pretrain(rank=0, world=1):
    """Five steps without a random draw and without batch normalisation, on this rank's share.

    In float64: what the two ways of summing differ by must not hide behind rounding.

    Returns:
        Losses and gradients of each step, and the state dict at the end.
    """
    model = build_tiny(heads=('inter', 'intra', 'video'), query_segment=0, momentum=0.9).double()
    shares = ((data(step)[rank::world], []) for step in range(STEPS))
    return train(model, shares, world)


class Recorder(nn.Module):
    """A function of each image alone that keeps what it has been given."""

    def forward(self, images):
        self.seen = images.clone()
        return torch.stack([images.sum(1), images.prod(1)], dim=1)


def shuffle(rank):
    """Shuffled forwards of images that are numbered across the processes."""
    torch.manual_seed(7)  # the same in each; the order must come from one of them anyhow
    if rank == 1:
        torch.rand(3)
    recorder, seen = Recorder(), []
    images = torch.arange(20.0).view(WORLD, 5, 2)[rank]
    for _ in range(4):
        features = forward_shuffled(recorder, images)
        seen.append(recorder.seen)
    norm = nn.BatchNorm1d(1, affine=False)
    sample = torch.full((4, 1), float(rank)) + torch.arange(4.0)[:, None] / 100
    with torch.no_grad():
        normalised = forward_shuffled(norm, sample)
    return dict(images=images, features=features, seen=seen, normalised=normalised)


def encode_target(rank):
    """The target network on this rank's share: a TSM, and a projector with batch normalisation.

    Returns:
        In eval mode, where the batch counts for nothing, features and embeddings of the shuffled
        forward and of a plain one; in training, the rows that the projector gets in each.
    """
    backbone = dict(type='ResNetTSM', depth=18, num_segments=SEGMENTS, pretrained=None)
    cfg = tiny_model(heads=('video',), backbone=backbone)
    cfg['heads']['video']['projector'].update(in_channels=512, norm_cfg=dict(type='BN1d'))
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    head, inputs = model.heads['video'], data(0)[rank::WORLD, 0].float()
    results, seen = {}, []
    model.eval()
    for name, shuffle_bn in (('shuffled', True), ('plain', False)):
        model.shuffle_bn = head.shuffle_bn = shuffle_bn
        features = model._encode_target(inputs)
        results[name] = features, head.embed_target(features)
    head.target_projector.module.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].mean(dim=1))
    )
    for shuffle_bn in (True, False):
        head.train().shuffle_bn = shuffle_bn
        head.embed_target(torch.full((50, 512), float(rank)))
    return dict(results, rows=seen)


def train_frozen(task, rank=0, world=1):
    """Two steps of a ResNet whose first stages MMAction2 freezes, wrapped as the Runner does.

    Returns:
        Gradients of the last step, of what is trained.
    """
    torch.manual_seed(0)
    if task == 'pretraining':
        model = tiny_model(heads=('video',))
        model['heads']['video']['projector']['in_channels'] = 512
    else:
        head = dict(type='TSNHead', num_classes=4, in_channels=512, dropout_ratio=0)
        model = dict(type='Recognizer2D', cls_head=head)
    resnet = dict(type='ResNet', depth=18, pretrained=None, norm_eval=True, frozen_stages=2)
    model = MODELS.build({**model, 'backbone': resnet}).double()
    model.init_weights()
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    runner = SimpleNamespace(distributed=world > 1, cfg={}, logger=MMLogger.get_current_instance())
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr('mmengine.runner.runner.get_device', lambda: 'cpu')
        monkeypatch.setenv('LOCAL_RANK', str(rank))
        wrapped = Runner.wrap_model(runner, wrapper, model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    labels = [ActionDataSample().set_gt_label(number % 4) for number in range(BATCH)]
    for step in range(2):
        wrapped.train()
        inputs = data(step)[..., ::2, ::2]
        inputs = inputs if task == 'pretraining' else inputs[:, 0]
        share = dict(inputs=inputs[rank::world].contiguous(), data_samples=labels[rank::world])
        loss, _ = model.parse_losses(wrapped(**share, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


def process(rank):
    """The body of each process."""
    results = pretrain(rank, WORLD)
    results['frozen'] = {task: train_frozen(task, rank, WORLD) for task in TASKS}
    results['shuffle'] = shuffle(rank)
    results['target'] = encode_target(rank)
    return results


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of the two processes found."""
    return run_in_processes(process, tmp_path_factory.mktemp('ranks'))


@pytest.fixture(scope='module')
def single():
    """What one process finds on the whole batch."""
    return pretrain()


@pytest.mark.parametrize('task', TASKS)
def test_frozen_stages_train_as_in_one_process(ranks, task):
    expected = train_frozen(task)
    stages = {key.split('.')[1] for key in expected if key.startswith('backbone.')}
    assert stages == {'layer3', 'layer4'}
    for rank in ranks:
        assert_all_close(rank['frozen'][task], expected, rtol=1e-8, atol=1e-10)


def assert_all_close(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            got[key], value, **tolerance, msg=lambda text, key=key: f'{key}: {text}'
        )


def test_training_of_two_processes_is_that_of_one(ranks, single):
    """Losses, gradients, weights, target and queues, to the bit the same in both processes."""
    for step, expected in enumerate(single['losses']):
        got = {key: sum(rank['losses'][step][key] for rank in ranks) / WORLD for key in expected}
        for key, value in expected.items():  # accuracies are float32
            tolerance = 1e-6 if key.endswith('acc') else 1e-10
            assert got[key] == pytest.approx(value, rel=tolerance, abs=1e-12), (step, key)
        assert ranks[0]['losses'][step] == ranks[1]['losses'][step]  # each logs the mean
    assert single['losses'][0]['loss_inter'] == 0  # an empty queue
    assert single['losses'][-1]['loss_inter'] > 1
    for rank in ranks:
        for got, expected in zip(rank['gradients'], single['gradients'], strict=True):
            assert_all_close(got, expected, rtol=1e-8, atol=1e-10)
        assert_all_close(rank['state'], single['state'], rtol=1e-8, atol=1e-10)
    assert all(g.abs().max() > 1e-5 for g in single['gradients'][-1].values())
    for name in ('inter', 'video'):
        assert int(single['state'][f'heads.{name}.queue.num_filled']) == QUEUE
        assert int(single['state'][f'heads.{name}.queue.pointer']) == BATCH * STEPS % QUEUE
    for key, value in ranks[0]['state'].items():
        assert torch.equal(value, ranks[1]['state'][key]), key


def test_shuffled_forward_mixes_processes_and_keeps_the_order_of_images(ranks):
    for rank in ranks:
        images, features = rank['shuffle']['images'], rank['shuffle']['features']
        assert torch.equal(features, torch.stack([images.sum(1), images.prod(1)], dim=1))
        # Without the shuffle, batch normalisation would give each share a mean of 0 by itself.
        assert abs(rank['shuffle']['normalised'].mean()) > 0.1
    every_image = torch.arange(20.0).view(10, 2)
    for first, second in zip(*(rank['shuffle']['seen'] for rank in ranks), strict=True):
        assert len(first) == len(second) == 5
        together = torch.cat([first, second])
        assert torch.equal(together[together[:, 0].argsort()], every_image)  # each image once
    assert len({tuple(seen[:, 0].tolist()) for seen in ranks[0]['shuffle']['seen']}) == 4


def test_the_target_network_is_shuffled(ranks):
    """Frames that a backbone mixes stay together, and embeddings come back in order."""
    for number, rank in enumerate(ranks):
        shuffled, plain = rank['target']['shuffled'], rank['target']['plain']
        assert plain[0].shape == (BATCH // WORLD, SEGMENTS, 512)
        assert plain[0].std(dim=(0, 1)).max() > 0.01
        torch.testing.assert_close(shuffled, plain)
        # A projector with batch normalisation gets as many rows as without, of both processes.
        mixed, own = rank['target']['rows']
        assert own.tolist() == [number] * 50
        assert len(mixed) == 50 and 10 < mixed.sum() < 40
    assert sum(rank['target']['rows'][0].sum() for rank in ranks) == 50  # each row once
