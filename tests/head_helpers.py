"""Heads in miniature, inputs for them, and what they should compute, one number at a time."""

import math

import torch
from mmaction.registry import MODELS
from tiny_vclr import CHANNELS, SEGMENTS, tiny_model

N = 5
PROJECTOR = dict(type='ProjectionMLP', in_channels=CHANNELS, hidden_channels=16, out_channels=6)
HEADS = dict(
    **tiny_model()['heads'],
    vince=dict(type='VINCEHead', projector=PROJECTOR, queue_size=20, num_segments=SEGMENTS),
    nnclr=dict(
        type='NNCLRHead',
        projector=PROJECTOR,
        predictor=PROJECTOR | dict(in_channels=6),
        queue_size=20,
    ),
    neighbour=dict(type='NeighbourHead', projector=PROJECTOR, queue_size=20),
    seco_order=dict(type='SeCoOrderHead', projector=PROJECTOR),
    permutation=dict(type='PermutationHead', in_channels=CHANNELS, hidden_channels=7, dropout=0.0),
    shuffle_learn=dict(
        type='ShuffleLearnHead', in_channels=CHANNELS, hidden_channels=7, dropout=0.0
    ),
    odd_one_out=dict(
        type='OddOneOutHead',
        in_channels=CHANNELS,
        num_segments=SEGMENTS,
        hidden_channels=7,
        dropout=0.0,
    ),
    pace=dict(type='TransformationHead', in_channels=CHANNELS, num_classes=4, label='pace'),
    rotation=dict(type='TransformationHead', in_channels=CHANNELS, num_classes=4, label='rotation'),
    speed=dict(type='SpeedHead', in_channels=CHANNELS),
)


def build_head(name, seed=0, **changes):
    """A head in float64 whose target projector, if it has one, is not its online projector."""
    torch.manual_seed(seed)
    head = MODELS.build({**HEADS[name], **changes}).double()
    if head.target_views:
        with torch.no_grad():
            for parameter in head.target_projector.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return head


def features(*views, seed=0, num_segments=SEGMENTS, num=N, map_shape=()):
    """Features [N, S, D] of each view, or maps [N, S, D, T, H, W], from a seed."""
    generator = torch.Generator().manual_seed(seed)
    shape = num, num_segments, CHANNELS, *map_shape
    return {view: torch.randn(shape, generator=generator, dtype=torch.float64) for view in views}


def batch(head, seed=0, **shape):
    """What a head is given, from a seed: online views, target views, fields.

    The views have the segments the head wants, unless said otherwise; maps are of 2 x 3 x 4
    places. One ``gt_label`` in four is unknown.
    """
    num_segments = getattr(head, 'num_segments', SEGMENTS)
    shape = dict(num_segments=num_segments) | shape
    map_shape = (2, 3, 4) if head.reads_maps else ()
    online = features(*head.online_views, seed=seed, map_shape=map_shape, **shape)
    target = features(*head.target_views, seed=seed + 1000, **shape)
    num = len(online[head.online_views[0]])
    generator = torch.Generator().manual_seed(seed)
    fields = dict(
        gt_label=torch.randint(-1, 3, (num,), generator=generator),
        query_in_second_half=torch.randint(2, (num,), generator=generator),
        odd_one=torch.randint(num_segments, (num,), generator=generator),
        pace=torch.randint(4, (num,), generator=generator),
        rotation=torch.randint(4, (num,), generator=generator),
    )
    return online, target, {name: fields[name] for name in head.reads}


def apply(head, online, target, fields):
    """The outputs of a head on a :func:`batch`."""
    return head.loss(online, target, **fields)


@torch.no_grad()
def perceptron(projector, feature):
    """A projection of one feature by plain matrix products, as a list of floats."""
    first, _, last = projector.layers
    hidden = [max(0.0, float(w @ feature + b)) for w, b in zip(*first.parameters(), strict=True)]
    hidden = torch.tensor(hidden, dtype=torch.float64)
    return [float(w @ hidden + b) for w, b in zip(*last.parameters(), strict=True)]


def unit(embedding):
    norm = math.sqrt(sum(x * x for x in embedding))
    return [x / norm for x in embedding]


def project(projector, feature):
    """The embedding of one feature: its projection, normalised."""
    return unit(perceptron(projector, feature))


def cross_entropy(positive, negatives, query, temperature):
    def attraction(key):
        return math.exp(similarity(query, key) / temperature)

    own = attraction(positive)
    return -math.log(own / (own + sum(map(attraction, negatives))))


def linear(layer, inputs):
    """A linear layer on one list of floats, as a list of floats."""
    outputs = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [similarity(weights, inputs) + bias for weights, bias in outputs]


def relu(inputs):
    return [max(0.0, x) for x in inputs]


def log_loss(logits, label):
    """Cross-entropy of one sample."""
    return math.log(sum(map(math.exp, logits))) - logits[label]


def similarity(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def nearest(embedding, entries):
    """Place of the first of the entries that are most similar, -1 if there is none."""
    return max(range(len(entries)), key=lambda e: similarity(embedding, entries[e]), default=-1)


def mean(values):
    return sum(values) / len(values)


def queue_list(head):
    return head.queue.entries.tolist()


def queue_labels(head):
    return head.queue.labels[: int(head.queue.num_filled)].tolist()


def latest(pushed, size):
    """What a queue of ``size`` holds, slot by slot, after ``pushed`` have gone in one by one."""
    slots = list(pushed[:size])
    for number in range(size, len(pushed)):
        slots[number % size] = pushed[number]
    return slots
