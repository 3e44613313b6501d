"""Classification of paces and rotations against a loop in float64."""

import pytest
from head_helpers import batch, build_head, linear, log_loss, mean


@pytest.mark.parametrize('label', ['pace', 'rotation'])
@pytest.mark.parametrize('num_segments', [1, 3])
def test_loss_and_accuracy(label, num_segments):
    head = build_head('TransformationHead', label=label)
    seen = set()
    for step in range(8):
        online, target, fields = batch(head, step, num_segments=num_segments)
        value = head.loss(online, target, **fields)
        losses, right = [], []
        for clips, told in zip(online[0].tolist(), fields[label].tolist(), strict=True):
            logits = linear(head.classifier, [mean(column) for column in zip(*clips, strict=True)])
            losses.append(log_loss(logits, told))
            right.append(logits[told] == max(logits))
            seen.add((told, right[-1]))
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert {label for label, _ in seen} == {0, 1, 2, 3}
    assert {told for _, told in seen} == {False, True}
