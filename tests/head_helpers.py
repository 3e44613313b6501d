"""Every head in miniature, inputs for it, and what it should compute, one number at a time."""

import inspect
import math
from contextlib import contextmanager

import pytest
import torch
from mmaction.registry import MODELS
from tiny_vclr import CHANNELS, SEGMENTS

from mmssl_video.errors import UserError
from mmssl_video.models.heads.base import SSLHead, VisibleTokens, small_mlp

N = 5
PROJECTOR = small_mlp(CHANNELS)
HEADS = sorted(
    name
    for name, module in MODELS.module_dict.items()
    if inspect.isclass(module)
    and issubclass(module, SSLHead)
    and module.__module__.startswith('mmssl_video.')
)
"""Names of all registered heads, without those that a test registers."""


def example(name, **changes):
    """Config of a small head, with other arguments."""
    head = MODELS.get(name)
    return dict(type=name) | head.example(CHANNELS) | changes


def build_head(name, seed=0, **changes):
    """The head of :func:`example` in float64.

    Its target projector, if it has one, is not its online projector.
    """
    torch.manual_seed(seed)
    head = MODELS.build(example(name, **changes)).double()
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


def visible_tokens(head, num, num_segments, generator):
    """What a head that masks is given of a view of clips with 2 x 3 x 4 tokens."""
    lengths = 2 * head.tubelet_size, 3 * head.patch_size, 4 * head.patch_size
    shape = num, num_segments, 3, *lengths
    clips = torch.randn(shape, generator=generator, dtype=torch.float64)
    torch.manual_seed(generator.initial_seed())
    passes = []
    for visible in head.draw_visible(clips):
        shape = *visible.shape, CHANNELS
        tokens = torch.randn(shape, generator=generator, dtype=torch.float64)
        passes.append(VisibleTokens(tokens, visible, clips))
    return passes


def batch(head, seed=0, num=N, num_segments=None):
    """What a head is given, from a seed: online views, target views, fields.

    The views have the segments that the head wants, unless said otherwise; maps are of 2 frames
    and the places that the head wants. One ``gt_label`` in four is unknown.
    """
    num_segments = num_segments or getattr(head, 'num_segments', SEGMENTS)
    shape = dict(num=num, num_segments=num_segments)
    generator = torch.Generator().manual_seed(seed)
    if head.masks:
        online = {
            view: visible_tokens(head, num, num_segments, generator) for view in head.online_views
        }
    else:
        map_shape = (2, *getattr(head, 'map_size', (3, 4))) if head.reads_maps else ()
        online = features(*head.online_views, seed=seed, map_shape=map_shape, **shape)
    target = features(*head.target_views, seed=seed + 1000, **shape)
    fields = {}
    for name in head.reads:
        low, high = (-1, 3) if name == 'gt_label' else (0, head.num_classes_of[name])
        fields[name] = torch.randint(low, high, (num,), generator=generator)
    return online, target, fields


def map_views(function, views):
    """Views with ``function`` of each of their tensors."""

    def apply(view):
        if isinstance(view, torch.Tensor):
            return function(view)
        return [VisibleTokens(*map(function, tokens)) for tokens in view]

    return {name: apply(view) for name, view in views.items()}


@contextmanager
def refused(words):
    """The block raises a UserError that matches ``words`` and has one line."""
    with pytest.raises(UserError, match=words) as error:
        yield
    assert '\n' not in str(error.value)


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
