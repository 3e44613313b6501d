"""How many samples a batch has."""

from torch.utils.data import DataLoader


def samples_per_batch(loader: DataLoader) -> int:
    """Samples of this process in a batch, also where the config has a ``batch_sampler``.

    A ``batch_sampler`` without a ``batch_size`` is asked for its first batch.
    """
    if loader.batch_size is not None:
        return loader.batch_size
    size = getattr(loader.batch_sampler, 'batch_size', None)
    return len(next(iter(loader.batch_sampler))) if size is None else size
