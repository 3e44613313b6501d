"""Two processes with a gloo group, and the steps of training whose results they must share."""

import multiprocessing

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from forks import PRELOADED
from mmengine.model import MMDistributedDataParallel

WORLD = 2
multiprocessing.set_forkserver_preload(PRELOADED)


def run_in_processes(function, folder, *args):
    """What ``function(rank, *args)``, of the top level of a module, returns in each process."""
    mp.start_processes(_process, (function, str(folder), args), WORLD, start_method='forkserver')
    return [torch.load(f'{folder}/rank{rank}.pt') for rank in range(WORLD)]


def _process(rank, function, folder, args):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=WORLD)
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
