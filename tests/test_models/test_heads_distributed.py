"""Heads that look across samples: two gloo processes do what one does on the whole batch.

The processes are started once; each test reads what they have written.
"""

from types import SimpleNamespace

import pytest
import torch
from head_helpers import HEADS, PROJECTOR, apply, batch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.hooks import SyncBuffersHook
from processes import WORLD, run_in_processes, train
from tiny_vclr import SEGMENTS, tiny_model

from mmssl_video.models import gather as gather_module
from mmssl_video.models.gather import gather
from mmssl_video.models.memory import SupportQueue

BATCH = 6  # of all processes
STEPS = 5
# Long enough to fill in the course of the steps, with a batch that wraps around.
CONFIGS = dict(
    moco=HEADS['video'] | dict(query_views=(0, 1, 2), key_views=(0, 1, 2), queue_size=32),
    vince=HEADS['vince'] | dict(queue_size=40),
    nnclr=HEADS['nnclr'],
    neighbour=HEADS['neighbour'],
)
ENQUEUED = dict(moco=3, vince=SEGMENTS, nnclr=1, neighbour=1)  # a sample


def data(step):
    """Views and labels of the whole batch."""
    generator = torch.Generator().manual_seed(step)
    views = torch.randn(BATCH, 3, SEGMENTS, 3, 16, 16, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (BATCH,), generator=generator).tolist()
    return views, [ActionDataSample().set_gt_label(label) for label in labels]


def pretrain(rank=0, world=1, **options):
    """Five steps without batch normalisation, in float64, on this rank's share.

    Returns:
        Losses and gradients of each step, and the state dict at the end.
    """
    torch.manual_seed(0)
    model = MODELS.build(tiny_model(momentum=0.9, **options) | dict(heads=CONFIGS))
    model.init_weights()
    model.double().train()
    share = slice(rank, None, world)
    shares = (tuple(part[share] for part in data(step)) for step in range(STEPS))
    return train(model, shares, world)


def enqueue_columns(rank):
    """A queue is given embeddings that do not lie row by row in memory."""
    queue = SupportQueue(5, 2)
    columns = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + 10 * rank
    labels = torch.tensor([1, 2]) + 10 * rank
    slots = queue.enqueue(gather(columns.T), gather(labels))
    return dict(slots=slots, entries=queue.entries, labels=queue.labels)


def sync_buffers(state):
    """The support set before and after MMEngine's hook at the end of an epoch."""
    queue = SupportQueue(20, 6).double()
    prefix = 'heads.nnclr.queue.'
    queue.load_state_dict(
        {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    )
    queue.labels[::3] = -1
    before = {name: buffer.clone() for name, buffer in queue.named_buffers()}
    SyncBuffersHook().after_train_epoch(SimpleNamespace(model=queue))
    return before, dict(queue.named_buffers())


def process(rank):
    """The body of each process."""
    results = pretrain(rank, WORLD, channels_last=True, compile=dict(backend='eager'))
    results['columns'] = enqueue_columns(rank)
    results['buffers'] = sync_buffers(results['state'])
    return results


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of the two processes found."""
    return run_in_processes(process, tmp_path_factory.mktemp('ranks'))


@pytest.fixture(scope='module')
def single():
    """What one process finds on the whole batch."""
    return pretrain()


def test_losses_average_to_those_of_one(ranks, single):
    for step, expected in enumerate(single['losses']):
        assert {f'{name}_purity' in expected for name in ('nnclr', 'neighbour')} == {step > 0}
        for key, value in expected.items():
            got = [rank['losses'][step][key] for rank in ranks]
            tolerance = 1e-10 if key.startswith('loss') else 1e-6  # percentages are float32
            assert sum(got) / WORLD == pytest.approx(value, rel=tolerance, abs=1e-12), (step, key)
        assert ranks[0]['losses'][step] == ranks[1]['losses'][step]  # each logs the mean
    assert min(single['losses'][-1][f'loss_{name}'] for name in CONFIGS) > 0.5


def test_gradients_are_those_of_one_process(ranks, single):
    for step, expected in enumerate(single['gradients']):
        for rank in ranks:
            for key, value in expected.items():
                torch.testing.assert_close(
                    rank['gradients'][step][key],
                    value,
                    rtol=1e-8,
                    atol=1e-10,
                    msg=lambda text, at=(step, key): f'{at}: {text}',
                )
    for key, value in expected.items():
        assert value.abs().max() > 1e-5, key


@pytest.mark.parametrize('name', CONFIGS)
def test_queues_hold_the_same_in_the_same_order(ranks, single, name):
    prefix = f'heads.{name}.queue.'
    queue = {key[len(prefix) :]: v for key, v in single['state'].items() if key.startswith(prefix)}
    size = len(queue['embeddings'])
    assert int(queue['num_filled']) == size
    assert int(queue['pointer']) == BATCH * STEPS * ENQUEUED[name] % size > 0
    for key, value in queue.items():
        for rank in ranks:
            torch.testing.assert_close(rank['state'][prefix + key], value, rtol=1e-8, atol=1e-10)
        assert torch.equal(*(rank['state'][prefix + key] for rank in ranks))


def test_weights_and_targets_are_those_of_one_process(ranks, single):
    for rank in ranks:
        torch.testing.assert_close(rank['state'], single['state'], rtol=1e-8, atol=1e-10)


def test_support_set_is_in_the_order_of_one_process(ranks):
    for rank in ranks:
        assert rank['columns']['slots'].tolist() == [0, 1, 2, 3]
        expected = [[1, 3], [11, 13], [2, 4], [12, 14]]
        assert rank['columns']['entries'].tolist() == expected
        assert rank['columns']['labels'].tolist() == [1, 11, 2, 12, -1]


@pytest.mark.parametrize(
    ('cfg', 'num_gathered'),
    [
        (HEADS['inter'], 1),
        (CONFIGS['moco'], 1),
        (CONFIGS['vince'], 1),
        (CONFIGS['neighbour'], 2),  # keys and labels
        (CONFIGS['nnclr'], 3),  # predictions, keys and labels
        (dict(type='SwAVHead', projector=PROJECTOR, queue_size=10, freeze_epochs=0), 1),
    ],
)
def test_all_rows_are_gathered_at_once(monkeypatch, cfg, num_gathered):
    """In a step of the first of two processes; the other one's rows are the same."""
    gathered = []

    def all_gather(rows):
        gathered.append(rows)
        return [rows, rows]

    monkeypatch.setattr(gather_module, 'all_gather', all_gather)
    for module in ('gather', 'heads.nnclr', 'heads.swav'):
        monkeypatch.setattr(f'mmssl_video.models.{module}.get_world_size', lambda: WORLD)
    head = MODELS.build(cfg).double()
    head.epoch = 0  # SwAV's
    apply(head, *batch(head))
    assert len(gathered) == num_gathered


def test_sync_buffers_hook_leaves_the_support_set_alone(ranks):
    for rank in ranks:
        before, after = rank['buffers']
        assert before.keys() == after.keys() == {'embeddings', 'labels'}
        for key, value in before.items():
            assert after[key].dtype == value.dtype
            assert torch.equal(after[key], value), key
