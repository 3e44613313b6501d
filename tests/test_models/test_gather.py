"""Objectives over the batch of all processes: two gloo processes give what one does.

The processes are started once; each test reads what they have written.
"""

import pytest
import torch
from mmaction.registry import MODELS
from processes import WORLD, run_in_processes, train
from tiny_vclr import CHANNELS, tiny_model

from mmssl_video.models import gather as gather_module
from mmssl_video.models.gather import gather_with_gradient, own_rows

BATCH = 6  # of all processes
STEPS = 6
VIEWS = 3
PROJECTOR = dict(type='ProjectionMLP', in_channels=CHANNELS, hidden_channels=16, out_channels=6)


def build_model():
    """Without batch normalisation, which is another matter."""
    torch.manual_seed(0)
    cfg = tiny_model(heads=(), momentum=0.9)
    cfg['heads'] = dict(
        simclr=dict(type='SimCLRHead', projector=PROJECTOR, views=(0, 1, 2)),
        swav=dict(
            type='SwAVHead',
            projector=PROJECTOR,
            num_prototypes=4,
            queue_size=9,
            queue_start_epoch=2,
            views=(0, 2),
        ),
        byol=dict(type='BYOLHead', projector=PROJECTOR, predictor={**PROJECTOR, 'in_channels': 6}),
    )
    model = MODELS.build(cfg)
    model.init_weights()
    return model.train().double()


def pretrain(rank=0, world=1):
    """Epochs of two steps on this rank's share, in float64; losses, gradients, the last state."""
    model = build_model()

    def shares():
        for step in range(STEPS):
            for head in model.heads.values():
                if hasattr(head, 'set_epoch'):
                    head.set_epoch(step // 2)
            generator = torch.Generator().manual_seed(step)
            size = BATCH, VIEWS, 1, 3, 16, 16
            images = torch.randn(size, generator=generator, dtype=torch.float64)
            yield images[rank::world], []

    return train(model, shares(), world)


def gather(rank):
    """Gathered rows, and the gradient of a loss that weighs them otherwise in each process."""
    rows = (torch.arange(6.0).view(2, 3).T + 10 * rank).requires_grad_()  # not contiguous
    gathered = gather_with_gradient(rows)
    weights = torch.arange(12.0).view(6, 2) * 100**rank
    (gathered * weights).sum().backward()
    return dict(rows=gathered.detach(), gradient=rows.grad, own=gathered[own_rows()].detach())


def codes(rank=0, world=1):
    """SwAV's codes of this rank's share of a batch, the second time with a full queue."""
    torch.manual_seed(1)
    head = MODELS.build(
        dict(type='SwAVHead', projector=PROJECTOR, queue_size=8, queue_start_epoch=0)
    )
    head.set_epoch(0)
    embeddings = torch.nn.functional.normalize(torch.randn(2, 8, 2, 6), dim=-1)
    return torch.stack([head._assign(batch[rank::world]) for batch in embeddings])


def process(rank):
    """The body of each process."""
    results = pretrain(rank, WORLD)
    results['gather'] = gather(rank)
    results['codes'] = codes(rank, WORLD)
    return results


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of the two processes found."""
    return run_in_processes(process, tmp_path_factory.mktemp('ranks'))


@pytest.fixture(scope='module')
def single():
    """What one process finds on the whole batch."""
    return pretrain()


def test_gather_is_in_the_order_of_one_process(ranks):
    share = torch.arange(6.0).view(2, 3).T
    for rank, results in enumerate(ranks):
        assert torch.equal(
            results['gather']['rows'], torch.stack([share, share + 10], dim=1).flatten(0, 1)
        )
        assert torch.equal(results['gather']['own'], share + 10 * rank)


def test_gather_sums_the_gradients_of_all_processes(ranks):
    weights = torch.arange(12.0).view(6, 2)
    for rank, results in enumerate(ranks):
        expected = (weights + 100 * weights)[rank::2]
        assert torch.equal(results['gather']['gradient'], expected)


def test_gradients_in_bfloat16_are_summed_in_float32(monkeypatch):
    """Of three processes with 256, 1 and 1: 258, where sums in bfloat16 stay at 256."""
    monkeypatch.setattr(gather_module, 'gather', torch.clone)
    monkeypatch.setattr(gather_module, 'own_rows', lambda: slice(None))
    monkeypatch.setattr(gather_module, 'all_reduce', lambda tensor: tensor.add_(1).add_(1))
    rows = torch.zeros(1, dtype=torch.bfloat16, requires_grad=True)
    gather_module._Gather.apply(rows).backward(torch.full((1,), 256.0, dtype=torch.bfloat16))
    assert rows.grad.item() == 258


def test_gather_without_a_process_group_is_the_tensor_itself():
    rows = torch.ones(3, 2, requires_grad=True)
    assert gather_with_gradient(rows) is rows
    assert torch.equal(rows[own_rows()], rows)


def test_losses_of_two_processes_average_to_those_of_one(ranks, single):
    for step, expected in enumerate(single['losses']):
        for key, value in expected.items():  # accuracies are float32
            got = sum(rank['losses'][step][key] for rank in ranks) / WORLD
            tolerance = 1e-6 if key.endswith('acc') else 1e-10
            assert got == pytest.approx(value, rel=tolerance), (step, key)
        assert ranks[0]['losses'][step] == ranks[1]['losses'][step]  # each logs the mean


def test_gradients_are_those_of_one_process(ranks, single):
    for step, expected in enumerate(single['gradients']):
        for rank in ranks:
            assert rank['gradients'][step].keys() == expected.keys()
            for name, gradient in expected.items():
                torch.testing.assert_close(
                    rank['gradients'][step][name],
                    gradient,
                    rtol=1e-8,
                    atol=1e-12,
                    msg=lambda text, name=name, step=step: f'step {step}, {name}: {text}',
                )
                frozen = step < 2 and name == 'heads.swav.prototypes.weight'
                assert (gradient.abs().max() > 1e-6) != frozen, (step, name)


def test_weights_and_queue_are_those_of_one_process(ranks, single):
    assert int(single['state']['heads.swav.queue.num_filled']) == 9
    for key, value in single['state'].items():
        torch.testing.assert_close(ranks[0]['state'][key], value, rtol=1e-8, atol=1e-12)
        assert torch.equal(ranks[0]['state'][key], ranks[1]['state'][key]), key


def test_codes_of_two_processes_are_those_of_one_to_the_bit(ranks):
    together = torch.stack([rank['codes'] for rank in ranks], dim=2).flatten(1, 2)
    assert torch.equal(together, codes())
