"""The queue against a plain list, for batches of any size."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl_video.errors import UserError
from mmssl_video.models.memory import EmbeddingQueue
from mmssl_video.models.memory.queue import check_queue_size


def numbered(first, count):
    """Embeddings [count, 2] that carry their number."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return torch.stack([numbers, -numbers], dim=1)


@given(st.integers(1, 13).flatmap(lambda k: st.tuples(st.just(k), st.lists(st.integers(0, k)))))
@settings(deadline=None, max_examples=80)
def test_same_as_a_list(sizes):
    size, batches = sizes
    queue = EmbeddingQueue(size, 2)
    slots, written = [], 0
    for batch in batches:
        queue.enqueue(numbered(written, batch))
        for number in range(written, written + batch):
            if len(slots) < size:
                slots.append(number)
            else:
                slots[number % size] = number
        written += batch
        assert queue.entries[:, 0].tolist() == slots
        assert queue.entries[:, 1].tolist() == [-number for number in slots]
        assert int(queue.num_filled) == min(written, size) == len(slots)
        assert int(queue.pointer) == written % size
    # It holds the latest and, from the pointer on, oldest first.
    oldest_first = queue.entries.roll(-int(queue.pointer) if written >= size else 0, 0)
    assert oldest_first[:, 0].tolist() == list(range(max(0, written - size), written))


def test_state_dict_carries_contents_pointer_and_fill_count():
    queue = EmbeddingQueue(5, 2)
    queue.enqueue(numbered(0, 3))
    queue.enqueue(numbered(3, 4))
    state = queue.state_dict()
    assert set(state) == {'embeddings', 'pointer', 'num_filled'}
    assert (int(state['pointer']), int(state['num_filled'])) == (2, 5)
    assert state['pointer'].dtype == state['num_filled'].dtype == torch.int64

    half_full = EmbeddingQueue(5, 2)
    half_full.enqueue(numbered(0, 3))
    for source in (queue, half_full):
        resumed = EmbeddingQueue(5, 2)
        resumed.enqueue(numbered(50, 2))  # waits to be written, over what is loaded
        resumed.load_state_dict({key: value.clone() for key, value in source.state_dict().items()})
        for one in (source, resumed):
            one.enqueue(numbered(100, 4))
        assert torch.equal(resumed.entries, source.entries)
        assert int(resumed.pointer) == int(source.pointer)


def test_entries_stay_until_the_next_look():
    queue = EmbeddingQueue(4, 2)
    queue.enqueue(numbered(0, 4))
    entries = queue.entries
    queue.enqueue(numbered(4, 2))
    assert entries[:, 0].tolist() == [0, 1, 2, 3]
    assert queue.entries[:, 0].tolist() == [4, 5, 2, 3]
    assert queue.entries.data_ptr() == entries.data_ptr() == queue.embeddings.data_ptr()


@pytest.mark.parametrize('move', [deepcopy, EmbeddingQueue.double, EmbeddingQueue.share_memory])
def test_what_waits_to_be_written_moves_along(move):
    queue = EmbeddingQueue(4, 2)
    queue.enqueue(numbered(0, 3))
    moved = move(queue)
    assert moved.entries[:, 0].tolist() == [0, 1, 2]
    moved.enqueue(numbered(3, 2))
    assert moved.entries[:, 0].tolist() == [4, 1, 2, 3]


def test_backward_after_the_queue_has_moved_on():
    queue = EmbeddingQueue(4, 2)
    queue.enqueue(numbered(1, 4))
    query = torch.ones(1, 2, requires_grad=True)
    loss = (query @ queue.entries.T).sum()
    queue.enqueue(numbered(50, 4))
    loss.backward()
    assert query.grad.tolist() == [[10.0, -10.0]]


def test_takes_no_gradient_and_other_dtypes():
    queue = EmbeddingQueue(4, 2)
    embeddings = numbered(0, 3).bfloat16().requires_grad_()
    queue.enqueue(embeddings)
    assert queue.embeddings.dtype == torch.float32
    assert not queue.entries.requires_grad


def test_batch_larger_than_the_queue_is_an_error():
    queue = EmbeddingQueue(4, 2)
    with pytest.raises(UserError, match='a queue of 4 is smaller than what .*, 5; set queue'):
        queue.enqueue(numbered(0, 5))
    check_queue_size(5, 5)
    with pytest.raises(UserError, match='^model.heads.inter: '):
        check_queue_size(4, 5, 'model.heads.inter')
