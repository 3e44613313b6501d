"""First-in-first-out queue of embeddings (MoCo, Sec. 3.2)."""

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmssl_video.errors import UserError

COUNTS = 'pointer', 'num_filled'


class EmbeddingQueue(nn.Module):
    """The latest ``size`` embeddings of all processes.

    Every process holds the same queue, since heads enqueue the embeddings gathered from all
    processes. A batch may have any size up to the queue's; it wraps around the end. A checkpoint
    holds contents, pointer and fill count.

    Enqueued embeddings are written at the next access to the queue: in the next iteration, or when
    a checkpoint is saved. Until then the backward pass may read the old entries, so no loss needs a
    copy.

    Only written entries are negatives. The queue starts empty, and a loss over it starts at
    ln(1 + number of entries), not at ln(1 + size).

    Args:
        size (int): Number of embeddings, K.
        channels (int): Length of an embedding, D.

    Attributes:
        embeddings (Tensor): Contents [K, D], zeros where nothing has been written; without the
            embeddings that wait to be written.
        pointer (int): Place of the next embedding.
        num_filled (int): Number of entries. It and the pointer are not tensors, since reading one
            on a GPU would wait for the GPU.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer('embeddings', torch.zeros(size, channels))
        self.pointer = self.num_filled = 0
        self._waiting: tuple[Tensor, Tensor] | None = None  # slots and embeddings

    @property
    def entries(self) -> Tensor:
        """The entries so far, [number of entries, D]: a view; the next access may change it."""
        self._write()
        return self.embeddings[: self.num_filled]

    @torch.no_grad()
    def _write(self) -> None:
        """Write the waiting embeddings."""
        if self._waiting is not None:
            slots, embeddings = self._waiting
            self.embeddings[slots] = embeddings
            self._waiting = None

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor) -> Tensor:
        """Replace the oldest entries.

        Args:
            embeddings: Those of every process, [N, D], or [N, K, D] for K of each sample.

        Returns:
            Their places in the queue, int64 [N] or [NK].

        Raises:
            UserError: If there are more embeddings than places.
        """
        self._write()
        embeddings = embeddings.detach().to(self.embeddings.dtype).flatten(0, -2)
        check_queue_size(self.size, len(embeddings))
        end = self.pointer + len(embeddings)
        slots = torch.arange(self.pointer, end, device=embeddings.device) % self.size
        self._waiting = slots, embeddings
        self.pointer = end % self.size
        self.num_filled = min(self.num_filled + len(embeddings), self.size)
        return slots

    def _apply(self, *args, **kwargs) -> 'EmbeddingQueue':
        self._write()  # on the old device and in the old type
        return super()._apply(*args, **kwargs)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        self._write()
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in COUNTS:
            destination[f'{prefix}{name}'] = torch.tensor(getattr(self, name))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Take contents, pointer and fill count together, or start empty."""
        buffers = dict(self.named_buffers())
        given = {name: state_dict.get(f'{prefix}{name}') for name in buffers}
        # Take these out: torch does not know such tensors.
        counts = [state_dict.pop(f'{prefix}{name}', None) for name in COUNTS]
        fits = None not in counts and all(
            given[name] is not None and given[name].shape == buffer.shape
            for name, buffer in buffers.items()
        )
        if not fits:
            if given['embeddings'] is not None:
                then, now = (list(of['embeddings'].shape) for of in (given, buffers))
                print_log(
                    f'{prefix[:-1]} starts empty: it is {then} in the checkpoint, {now} in the '
                    'config',
                    'current',
                    logging.WARNING,
                )
            counts = 0, 0
            state_dict.update({f'{prefix}{name}': buffer for name, buffer in buffers.items()})
        self.pointer, self.num_filled = map(int, counts)
        self._waiting = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Show size and channels."""
        return f'size={self.size}, channels={self.embeddings.shape[1]}'


def check_queue_size(size: int, enqueued: int, name: str = 'queue') -> None:
    """Raise a :class:`UserError` if a queue cannot hold what one iteration enqueues."""
    if size < enqueued:
        raise UserError(
            f'{name}: a queue of {size} is smaller than what all processes enqueue at once, '
            f'{enqueued}; set queue_size to {enqueued} or more, or lower '
            'train_dataloader.batch_size'
        )
