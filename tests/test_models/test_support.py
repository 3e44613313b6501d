"""The support set against a plain list: neighbours by brute force, labels, purity."""

import math

import pytest
import torch
import torch.nn.functional as F
from head_helpers import latest, nearest

from mmssl_video.models.memory import SupportQueue

SIZE = 9


def draw(num, seed, channels=4):
    """L2-normalised embeddings, and labels of which one in four is unknown."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(num, channels, generator=generator, dtype=torch.float64)
    return F.normalize(embeddings, dim=1), torch.randint(-1, 3, (num,), generator=generator)


def filled_queue(*batches, size=SIZE):
    """A queue in float64 that has been given batches of these sizes."""
    queue = SupportQueue(size, 4).double()
    for seed, num in enumerate(batches):
        queue.enqueue(*draw(num, seed))
    return queue


def test_neighbours_and_labels_are_those_of_a_list():
    queue, pushed, pushed_labels = SupportQueue(SIZE, 4).double(), [], []
    for step, num in enumerate((4, 1, 6, 9, 2, 5)):  # fills and wraps around within a batch
        entries, labels = latest(pushed, SIZE), latest(pushed_labels, SIZE)
        queries, _ = draw(7, 100 + step)
        neighbours, slots = queue.nearest(queries)
        assert slots.tolist() == [nearest(query, entries) for query in queries.tolist()]
        assert slots.dtype == torch.int64
        if entries:
            expected = torch.tensor([entries[slot] for slot in slots], dtype=torch.float64)
            assert torch.equal(neighbours, expected)
        assert queue.labels[: len(labels)].tolist() == labels
        embeddings, new_labels = draw(num, step)
        where = queue.enqueue(embeddings, new_labels)
        assert torch.equal(queue.entries[where], embeddings)
        pushed += embeddings.tolist()
        pushed_labels += new_labels.tolist()
    assert queue.entries.tolist() == latest(pushed, SIZE)
    assert queue.labels.tolist() == latest(pushed_labels, SIZE)
    assert queue.labels.dtype == torch.int64


def test_of_equal_entries_the_first_is_the_neighbour():
    queue = SupportQueue(5, 2)
    entries = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    queue.enqueue(entries, torch.arange(5))
    queries = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [-1.0, 0.0]])
    # The last has similarity 0 with three entries, and -1 with the others.
    assert queue.nearest(queries)[1].tolist() == [1, 0, 1, 0]


def test_in_an_empty_queue_everything_is_its_own_neighbour():
    queue = filled_queue()
    queries = draw(3, 0)[0].requires_grad_()
    neighbours, slots = queue.nearest(queries)
    assert torch.equal(neighbours, queries)
    assert slots.tolist() == [-1, -1, -1]
    assert not neighbours.requires_grad
    assert queue.purity(slots, torch.zeros(3, dtype=torch.int64)) == {}
    queue.enqueue(queries, None)
    assert queue.labels.tolist() == [-1] * SIZE
    assert queue.purity(torch.arange(3), None) == {}


def test_slots_that_are_not_written_are_never_found():
    """Zeros would lie nearer than an entry on the other side of the sphere."""
    queue = SupportQueue(4, 2)
    queue.enqueue(torch.tensor([[-1.0, 0.0]]), torch.tensor([2]))
    neighbours, slots = queue.nearest(torch.tensor([[1.0, 0.0]]))
    assert slots.tolist() == [0]
    assert neighbours.tolist() == [[-1.0, 0.0]]


def test_neighbours_have_no_gradient_and_outlive_the_queue():
    queue = filled_queue(SIZE)
    queries = draw(3, 50)[0].requires_grad_()
    neighbours, _ = queue.nearest(queries)
    before = neighbours.clone()
    queue.enqueue(*draw(SIZE, 51))
    assert not neighbours.requires_grad
    assert torch.equal(neighbours, before)


@pytest.mark.parametrize(
    ('slots', 'labels', 'purity'),
    [
        ([0, 1, 2, 3], [7, 8, 7, 7], 75),
        ([0, 1, 2, 4], [7, 8, 9, 7], 200 / 3),  # place 4 has no label
        ([0, 1, 1, 3], [7, -1, -1, 8], 50),
        ([4, 4, 0, 0], [-1, 7, -1, -1], math.nan),  # unknown and unknown are not the same
    ],
)
def test_purity_counts_pairs_of_known_labels(slots, labels, purity):
    queue = SupportQueue(6, 2)
    queue.enqueue(torch.eye(2)[[0, 0, 0, 0, 0]], torch.tensor([7, 8, 7, 9, -1]))
    value = queue.purity(torch.tensor(slots), torch.tensor(labels))['purity']
    assert value.item() == pytest.approx(purity, nan_ok=True)


def test_look_up_is_exact_under_autocast():
    """In bfloat16 both entries would be equally near, and the first would win."""
    queue = SupportQueue(2, 2)
    queue.enqueue(torch.tensor([[1.0, 0.0], [0.9999, 0.01414]]), torch.tensor([0, 1]))
    query = queue.entries[1:].clone()
    with torch.autocast('cpu', torch.bfloat16):
        assert (query @ queue.entries.T).argmax() == 0
        assert queue.nearest(query)[1].tolist() == [1]


def test_resumes_from_its_state():
    queue, resumed = filled_queue(7, 6), filled_queue(3)
    resumed.load_state_dict({key: value.clone() for key, value in queue.state_dict().items()})
    for one in (queue, resumed):
        one.enqueue(*draw(6, 80))
    assert set(queue.state_dict()) == {'embeddings', 'labels', 'pointer', 'num_filled'}
    torch.testing.assert_close(resumed.state_dict(), queue.state_dict(), rtol=0, atol=0)
