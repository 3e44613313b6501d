"""Objectives over the batch of all processes: two gloo processes give what one does.

The processes are started once; each test reads what they have written.
"""

import math

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from processes import WORLD, run_in_processes, train
from tiny_vclr import CHANNELS, tiny_model

from mmssl_video.models import gather as gather_module
from mmssl_video.models.gather import gather_with_gradient, own_rows

BATCH = 6  # of all processes
STEPS = 6

NEIGHBOURS = 'NeighbourHead', 'NNCLRHead'
PROJECTOR = dict(type='ProjectionMLP', in_channels=CHANNELS, hidden_channels=16, out_channels=6)


def pretrain(rank=0, world=1):
    """Epochs of two steps on this rank's share, in float64; losses, gradients, the last state.

    SwAV freezes its prototypes at first, and later joins a queue. There is no batch normalisation,
    which is another matter.
    """
    torch.manual_seed(0)
    swav = dict(type='SwAVHead', projector=PROJECTOR, num_prototypes=4, views=(0, 2))
    swav |= dict(queue_size=9, queue_start_epoch=2)
    model = MODELS.build(tiny_model() | dict(heads=dict(swav=swav)))
    model.init_weights()
    model.train().double()

    def shares():
        for step in range(STEPS):
            model.heads['swav'].set_epoch(step // 2)
            generator = torch.Generator().manual_seed(step)
            size = BATCH, 3, 1, 3, 16, 16
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


def log_neighbours(rank=0, world=1, labelled=True):
    """What is logged on this rank's share of batches of which rank 0 has all the labels, if any."""
    torch.manual_seed(0)
    heads = {name: dict(type=name, projector=PROJECTOR, queue_size=30) for name in NEIGHBOURS}
    heads['NNCLRHead']['predictor'] = dict(PROJECTOR, in_channels=6)
    model = MODELS.build(tiny_model() | dict(heads=heads))
    model.init_weights()
    model.train().double()
    logs = []
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(12, 2, 1, 3, 16, 16, generator=generator, dtype=torch.float64)
        samples = [ActionDataSample() for _ in images]
        for number, sample in enumerate(samples[::WORLD] if labelled else ()):
            sample.set_gt_label(number % 2)
        losses = model.loss(images[rank::world], samples[rank::world])
        logs.append({key: value.item() for key, value in model.parse_losses(losses)[1].items()})
    return logs


def broken(rank):
    """What is logged where the loss of rank 1 alone is NaN."""
    losses = dict(loss_video=torch.tensor(math.nan if rank else 1.0))
    return MODELS.build(tiny_model()).parse_losses(losses)[1]


def process(rank):
    """The body of each process."""
    return pretrain(rank, WORLD) | dict(
        gather=gather(rank),
        codes=codes(rank, WORLD),
        logs=log_neighbours(rank, WORLD),
        unlabelled=log_neighbours(rank, WORLD, labelled=False),
        broken=broken(rank),
    )


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of the two processes found."""
    return run_in_processes(process, tmp_path_factory.mktemp('ranks'))


def test_gather_is_in_the_order_of_one_process_and_sums_the_gradients_of_all(ranks):
    share, weights = torch.arange(6.0).view(2, 3).T, torch.arange(12.0).view(6, 2)
    for rank, results in enumerate(ranks):
        gathered = results['gather']
        expected = torch.stack([share, share + 10], dim=1).flatten(0, 1)
        assert torch.equal(gathered['rows'], expected)
        assert torch.equal(gathered['own'], share + 10 * rank)
        assert torch.equal(gathered['gradient'], (weights + 100 * weights)[rank::2])


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


def test_two_processes_train_as_one(ranks):
    single = pretrain()
    assert int(single['state']['heads.swav.queue.num_filled']) == 9
    for step, gradients in enumerate(single['gradients']):
        assert (gradients['heads.swav.prototypes.weight'].abs().max() > 1e-6) == (step >= 2)
    for results in ranks:
        for losses, expected in zip(results['losses'], single['losses'], strict=True):
            assert losses.keys() == expected.keys()
            for key, value in losses.items():  # each logs the mean; accuracies are float32
                tolerance = 1e-6 if key.endswith('acc') else 1e-10
                assert value == pytest.approx(expected[key], rel=tolerance)
        for part in ('gradients', 'state'):
            torch.testing.assert_close(results[part], single[part], rtol=1e-8, atol=1e-12)


def test_codes_of_two_processes_are_those_of_one_to_the_bit(ranks):
    together = torch.stack([rank['codes'] for rank in ranks], dim=2).flatten(1, 2)
    assert torch.equal(together, codes())


def test_labels_may_be_known_in_one_process_alone(ranks):
    single = log_neighbours()
    for name in NEIGHBOURS:
        purities = [log.get(f'{name}_purity') for log in single]
        assert purities[0] is None and any(0 < purity < 100 for purity in purities[1:])
    for rank in ranks:
        for log, expected in zip(rank['logs'], single, strict=True):
            assert log == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_without_labels_no_purity_is_logged(ranks):
    single = log_neighbours(labelled=False)
    for rank in ranks:
        for log, expected in zip(rank['unlabelled'], single, strict=True):
            assert not any('purity' in name for name in log)
            assert log == pytest.approx(expected, rel=1e-6)


def test_a_loss_that_is_broken_in_one_process_is_so_in_the_log_of_all(ranks):
    assert all(rank['broken'][name].isnan() for rank in ranks for name in ('loss', 'loss_video'))
