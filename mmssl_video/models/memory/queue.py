"""First-in-first-out queue of embeddings (MoCo, Sec. 3.2)."""

import torch
from mmengine.dist import all_gather
from torch import Tensor, nn

from mmssl_video.errors import UserError


class EmbeddingQueue(nn.Module):
    """The latest ``size`` embeddings of all processes.

    Every process holds the same queue: what one enqueues is gathered from all, in order of rank.
    A batch of any size up to the queue's is taken; it wraps around the end. Contents, pointer and
    fill count are buffers, so a checkpoint holds them.

    An entry counts as a negative only once it has been written. The queue starts empty, and a loss
    over it starts at ln(1 + number of entries) rather than at ln(1 + size).

    Args:
        size (int): Number of embeddings, K.
        channels (int): Length of an embedding, D.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer('embeddings', torch.zeros(size, channels))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.int64))
        self.register_buffer('num_filled', torch.zeros((), dtype=torch.int64))

    @property
    def entries(self) -> Tensor:
        """The entries written so far, [number of entries, D], as they are in memory."""
        return self.embeddings[: int(self.num_filled)]

    def filled(self) -> Tensor:
        """A copy of the entries, since the queue moves on before the backward pass reads them."""
        return self.entries.clone()

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor) -> Tensor:
        """Replace the oldest entries by the ``embeddings`` [N, D] of every process.

        Returns:
            Where the rows of all processes, in order of rank, now stand, int64 [N of all].

        Raises:
            UserError: If the gathered batch is larger than the queue.
        """
        embeddings = embeddings.detach().to(self.embeddings.dtype).contiguous()
        embeddings = torch.cat(all_gather(embeddings))
        check_queue_size(self.size, len(embeddings))
        start = int(self.pointer)
        steps = torch.arange(start, start + len(embeddings), device=embeddings.device)
        slots = steps % self.size
        self.embeddings[slots] = embeddings
        self.pointer.fill_((start + len(embeddings)) % self.size)
        self.num_filled.fill_(min(int(self.num_filled) + len(embeddings), self.size))
        return slots

    def extra_repr(self) -> str:
        """Say size and channels."""
        return f'size={self.size}, channels={self.embeddings.shape[1]}'


def check_queue_size(size: int, enqueued: int, name: str = 'queue') -> None:
    """Raise a :class:`UserError` if a queue cannot hold what one iteration enqueues."""
    if size < enqueued:
        raise UserError(
            f'{name}: a queue of {size} is smaller than what all processes enqueue at once, '
            f'{enqueued}; set queue_size to {enqueued} or more, or lower '
            'train_dataloader.batch_size'
        )
