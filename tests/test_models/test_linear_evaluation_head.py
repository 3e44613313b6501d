"""The layer of a linear probe against loops in float64."""

import math

import pytest
import torch
from mmaction.registry import MODELS

import mmssl_video  # noqa: F401  registers it

CLASSES, D, SEGMENTS = 4, 6, 3


def build(**kwargs):
    torch.manual_seed(0)
    head = MODELS.build(
        dict(type='LinearEvaluationHead', num_classes=CLASSES, in_channels=D, topk=1, **kwargs)
    )
    head.init_weights()
    head.fc_cls.bias.data.normal_()
    return head


def scores_by_loop(maps, head, segments, l2_normalize):
    """The scores of each sample, number by number: maps [N * segments, D, ...] to [N][classes]."""
    rows = []
    for first in range(0, len(maps), segments):
        feature = []
        for channel in range(D):
            values = []
            for frame in range(first, first + segments):
                values += maps[frame, channel].flatten().tolist()
            feature.append(math.fsum(values) / len(values))
        if l2_normalize:
            length = math.sqrt(math.fsum(value**2 for value in feature))
            feature = [value / length for value in feature]
        weight, bias = head.fc_cls.weight.tolist(), head.fc_cls.bias.tolist()
        rows.append(
            [
                math.fsum(w * f for w, f in zip(row, feature, strict=True)) + b
                for row, b in zip(weight, bias, strict=True)
            ]
        )
    return rows


@pytest.mark.parametrize('l2_normalize', [True, False])
@pytest.mark.parametrize('space', [(3, 5), (2, 3, 5), ()], ids=['2D', '3D', 'vectors'])
def test_scores(space, l2_normalize):
    head = build(l2_normalize=l2_normalize).double()
    maps = torch.randn(2 * SEGMENTS, D, *space, dtype=torch.float64)
    for segments in (1, SEGMENTS):
        scores = head(maps, num_segs=segments, fcn_test=False)  # what Recognizer2D gives
        expected = scores_by_loop(maps, head, segments, l2_normalize)
        assert scores.flatten().tolist() == pytest.approx(sum(expected, []), rel=1e-12)
    assert torch.equal(head(maps), head(maps, num_segs=1))  # Recognizer3D gives none


def test_batch_normalisation_comes_between():
    """CoCLR's code: the L2-normalised feature, then batch normalisation, then the layer."""
    head = build(norm_cfg=dict(type='BN1d')).double().train()
    maps = torch.randn(5, D, 2, 2, dtype=torch.float64)
    features = maps.mean(dim=(2, 3))
    features = features / features.norm(dim=1, keepdim=True)
    variance = features.var(dim=0, unbiased=False)
    normed = (features - features.mean(dim=0)) / (variance + head.norm.eps).sqrt()
    torch.testing.assert_close(head(maps), normed @ head.fc_cls.weight.T + head.fc_cls.bias)


def test_float32_under_autocast():
    """Only the backbone's map is rounded, as autocast gives it."""
    head = build()
    maps = torch.randn(2 * SEGMENTS, D, 7, 7).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        scores = head(maps, num_segs=SEGMENTS)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, head(maps.float(), num_segs=SEGMENTS))


def test_start():
    torch.manual_seed(0)
    head = MODELS.build(dict(type='LinearEvaluationHead', num_classes=101, in_channels=1024))
    head.init_weights()
    assert head.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert head.fc_cls.weight.mean().abs().item() < 1e-4
    assert not head.fc_cls.bias.any()


def test_a_feature_of_zeros_gives_the_bias():
    head = build().double()
    dead = torch.zeros(1, D, 2, 2, dtype=torch.float64)
    assert torch.equal(head(dead), head.fc_cls.bias[None])
