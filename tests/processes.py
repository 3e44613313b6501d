"""Processes with a gloo group, and the steps of training whose results they must share."""

import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from forks import shared_forks
from mmengine.model import MMDistributedDataParallel

WORLD = 2


def run_in_processes(function, folder, *args, world=WORLD):
    """What ``function(rank, *args)``, of the top level of a module, returns in each process."""
    folder, forks = Path(folder), shared_forks()
    # The function is found by its name, in a module of the tests.
    (folder / 'call').write_bytes(pickle.dumps((sys.path, pickle.dumps((function, args)))))
    logs = [folder / f'rank{rank}.log' for rank in range(world)]
    ranks = [forks.start(__file__, folder, rank, world, out=log) for rank, log in enumerate(logs)]
    statuses = forks.wait(*ranks)
    assert statuses == [0] * world, '\n'.join(log.read_text() for log in logs)
    return [torch.load(folder / f'rank{rank}.pt') for rank in range(world)]


def _process(folder, rank, world):
    torch.set_num_threads(1)
    sys.path[:], call = pickle.loads(Path(folder, 'call').read_bytes())
    function, args = pickle.loads(call)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=world)
    torch.save(function(rank, *args), f'{folder}/rank{rank}.pt')
    dist.destroy_process_group()


def train(model, batches, world):
    """Take an SGD step on each batch (inputs, data samples), which is this process's share.

    Returns:
        Losses and gradients of each step, and the state dict at the end.
    """
    forward = (
        MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False)
        if world > 1
        else model
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    online = {name: p for name, p in model.named_parameters() if p.requires_grad}
    losses, gradients = [], []
    for inputs, samples in batches:
        total, log = model.parse_losses(forward(inputs, data_samples=samples, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        losses.append({key: value.item() for key, value in log.items()})
        gradients.append({name: p.grad.clone() for name, p in online.items()})
        # Losses of embeddings that are not normalised would run away at this rate.
        torch.nn.utils.clip_grad_norm_(online.values(), 1.0)
        optimizer.step()
    return dict(losses=losses, gradients=gradients, state=model.state_dict())


if __name__ == '__main__':
    _process(sys.argv[1], *map(int, sys.argv[2:]))
