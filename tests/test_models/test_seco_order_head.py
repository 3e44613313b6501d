"""SeCo's order task against a loop in float64."""

import math

import pytest
import torch
from head_helpers import batch, build_head, features, mean, project, refused


@pytest.mark.parametrize('query_segments', [1, 3])
def test_loss_and_accuracy(query_segments):
    """The query view is the query alone, as SampleHalves makes it, or a triple."""
    head = build_head('SeCoOrderHead')
    seen = set()
    for step in range(8):
        online, target, fields = batch(head, step)
        value = head.loss({0: online[0][:, :query_segments]}, target, **fields)
        losses, right = [], []
        for n, label in enumerate(fields['query_in_second_half'].tolist()):
            shown = project(head.projector, online[0][n, 0])
            for segment in (1, 2):
                shown += project(head.target_projector.module, target[1][n, segment])
            logits = head.classifier(torch.tensor(shown).double()).tolist()
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
            right.append(logits[label] == max(logits))
            seen.add((label, right[-1]))
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert len(seen) == 4  # both labels, told right and wrong


def test_keys_that_are_no_triple_are_refused():
    head = build_head('SeCoOrderHead')
    fields = batch(head)[2]
    with refused('^SeCoOrderHead: key view 1 has 4 segments.*SampleHalves'):
        head.loss(features(0), features(1, num_segments=4), **fields)
