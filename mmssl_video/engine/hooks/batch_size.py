"""Number of samples in a batch."""

from torch.utils.data import DataLoader


def samples_per_batch(loader: DataLoader) -> int:
    """Number of samples of this process in a batch, also if the config has a ``batch_sampler``.

    For a ``batch_sampler`` without ``batch_size``, it is the length of its first batch.
    """
    if loader.batch_size is not None:
        return loader.batch_size
    size = getattr(loader.batch_sampler, 'batch_size', None)
    return len(next(iter(loader.batch_sampler))) if size is None else size
