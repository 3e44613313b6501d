"""What the monitor says of series in closed form: collapses, healthy runs, noise."""

import math

import numpy as np
import pytest

from mmssl_video.engine.hooks import read_messages
from mmssl_video.engine.hooks.diagnosis import Diagnosis, Message, write_messages

ITERS, WARMUP, BATCH, EVERY = 400, 40, 32, 20
CHANCE = math.log(129)  # of a queue of 128


class Run:
    """A run whose numbers are functions of the iteration; what it was told and when.

    Args:
        heads: By name, functions of the iteration: ``loss``, ``acc``, and ``positive``,
            ``negative``, ``std``, ``rank`` for a head with pairs.
    """

    def __init__(self, iters=ITERS, warmup=WARMUP, batch=BATCH, every=EVERY, **heads):
        self.diagnosis = Diagnosis(iters, warmup, batch)
        self.iters, self.every, self.heads = iters, every, heads
        self.go(1, iters)

    def go(self, first, last):
        for t in range(first, last + 1):
            for name, head in self.heads.items():
                if 'loss' in head:
                    accuracy = head['acc'](t) if 'acc' in head else None
                    chance_accuracy = head.get('chance_acc', 100 / 129)
                    chance = head.get('chance', CHANCE)
                    chance = chance(t) if callable(chance) else chance
                    masked = {key: value(t) for key, value in head.get('masked', {}).items()}
                    self.diagnosis.observe(
                        name, head['loss'](t), chance, accuracy, chance_accuracy, masked
                    )
                if t % self.every == 0 and 'positive' in head:
                    keys = ('positive', 'negative', 'std', 'rank')
                    values = {key: head[key](t) for key in keys}
                    self.diagnosis.measure(name, values, head.get('pairs', lambda t: BATCH)(t))
            if t % self.every == 0:
                self.diagnosis.judge(t)

    @property
    def told(self):
        """Messages as (iteration, whether it is a warning, first words)."""
        return [(m.iteration, m.is_warning, m.text.split(':')[0]) for m in self.diagnosis.messages]


def at(value):
    return lambda t: value


def ramp(*knots):
    """Linear between (iteration, value)."""
    return lambda t: float(np.interp(t, *zip(*knots, strict=True)))


def contrast(**changes):
    """A head that learns: its loss starts above chance, as that of spread embeddings does."""
    head = dict(
        loss=ramp((0, CHANCE), (80, 1.2 * CHANCE), (400, 0.7 * CHANCE)),
        acc=ramp((0, 1), (40, 4), (400, 50)),
        positive=ramp((0, 0.1), (40, 0.15), (400, 0.7)),
        negative=at(0.02),
        std=at(0.97),
        rank=ramp((0, 24), (400, 13)),
    )
    return {**head, **changes}


def order(**changes):
    """A head of four classes that stays at chance."""
    return {**dict(loss=at(1.39), chance=math.log(4), acc=at(25.2), chance_acc=25), **changes}


STUCK = 'the loss has not come down from chance, so nothing is told apart'
BACK = 'the loss is back at chance, so nothing is told apart any more'
FALLEN = 'the accuracy has fallen by half or more'
GAP = 'positives are hardly nearer than negatives'
ALIKE = 'the embeddings are nearly all alike'
FEWER = 'the embeddings fill far fewer dimensions than they did'


# Healthy ----------------------------------------------------------------------------------------


def test_single_bad_batches_are_told_nowhere():
    """Every tenth iteration is as bad as can be, and so is every third measurement."""

    def spoiled(good, bad, every):
        return lambda t: bad if t % every == 0 else good(t)

    head = contrast()
    head['loss'] = spoiled(head['loss'], CHANCE, 10)
    head['acc'] = spoiled(head['acc'], 0, 10)
    for key, bad in dict(positive=0.02, std=0.01, rank=1).items():
        head[key] = spoiled(head[key], bad, 3 * EVERY)
    assert Run(video=head).told == []


@pytest.mark.parametrize(('batch', 'share'), [(2, 0.1), (2, 0.6), (8, 0.35), (64, 0.1)])
def test_noise_of_small_batches_is_no_fall(batch, share):
    """Right answers are drawn, over a long run at a constant rate."""
    rng = np.random.default_rng(batch)
    drawn = 100 * rng.binomial(batch, share, 4001) / batch
    head = contrast(acc=lambda t: drawn[t], positive=at(0.5))
    run = Run(iters=4000, batch=batch, every=50, video=head)
    assert run.told == []


def test_a_falling_accuracy_of_embeddings_that_stay_apart_is_no_collapse():
    """As the learning rate falls, the keys of a queue get younger and harder."""
    head = contrast(acc=ramp((0, 1), (150, 40), (400, 10)))
    assert Run(video=head).told == []


def test_a_smaller_last_batch_is_not_compared():
    head = contrast(rank=lambda t: 2 if t > 200 else 24, pairs=lambda t: 3 if t > 200 else BATCH)
    assert Run(video=head).told == []


# Chance -----------------------------------------------------------------------------------------


def collapsed(**changes):
    """A head whose embeddings are alike from the first."""
    cosines = dict(positive=at(0.95), negative=at(0.91))
    head = dict(loss=at(0.96 * CHANCE), acc=at(2), std=at(0.3), rank=at(5), **cosines)
    return {**head, **changes}


def test_a_collapse_from_the_start_is_told_after_the_warmup():
    """A quarter of the run after the first measurement behind the warm-up."""
    run = Run(inter=collapsed(), video=collapsed(), order=order())
    assert run.told == [(60 + 100, True, STUCK)]
    (message,) = run.diagnosis.messages
    for details in (
        f'inter (loss_inter {0.96 * CHANCE:.2f}, at chance {CHANCE:.2f}; ',
        '; mean cosine 0.95 with positives, 0.91 with negatives), video (',
        'order (loss_order 1.39, at chance 1.39; order_acc 25.2 %, at chance 25.0 %)',
    ):
        assert details in message.text
    for remedy in ('learning rate', 'norm_last=True', 'sync_bn', 'batch', 'queue_size'):
        assert remedy in message.remedy
    assert str(message) == f'{message.text}. {message.remedy}' and '\n' not in str(message)


def test_the_accuracy_over_a_queue_does_not_hide_a_collapse():
    """It is high while the network moves fast; the embeddings were never apart."""
    head = collapsed(acc=ramp((0, 3), (60, 40), (90, 6), (130, 2), (400, 3)))
    assert Run(video=head).told == [(160, True, STUCK), (200, True, FALLEN)]


def test_a_loss_that_goes_back_to_chance():
    head = contrast(
        loss=ramp((0, CHANCE), (100, 0.5 * CHANCE), (160, CHANCE)),
        acc=ramp((0, 1), (100, 40), (160, 2)),
        positive=ramp((0, 0.1), (100, 0.6), (160, 0.04)),
    )
    told = Run(video=head, intra=contrast()).told
    assert [(is_warning, text) for _, is_warning, text in told] == [(True, FALLEN), (True, BACK)]
    assert 200 < told[0][0] <= told[1][0] <= 300


def test_an_objective_at_chance_beside_others_that_learn_is_a_note():
    run = Run(inter=contrast(), video=contrast(), order=order())
    assert run.told == [(160, False, STUCK)]
    text = str(run.diagnosis.messages[0])
    assert 'order (loss_order 1.39' in text and 'video (' not in text
    assert 'look the same played backwards' in text and 'learning rate' not in text


def test_others_that_take_longer_to_learn_are_waited_for():
    late = ramp((0, 0.05), (150, 0.05), (200, 0.3))
    video = contrast(loss=at(CHANCE), positive=late)
    assert Run(video=video, order=order()).told == [(160, True, STUCK), (220, False, 'video')]
    video = contrast(loss=at(CHANCE), positive=lambda t: 0.3 if t > 150 else 0.15)
    assert Run(video=video, order=order()).told == [(180, False, STUCK)]
    video = contrast(loss=at(CHANCE), positive=at(0.15))  # neither
    assert Run(video=video, order=order()).told == [(260, True, STUCK)]


def test_contrast_at_chance_beside_others_that_learn_is_a_warning():
    run = Run(inter=collapsed(), video=contrast(), order=order())
    assert run.told == [(160, True, STUCK), (160, False, STUCK)]
    assert 'inter (' in run.diagnosis.messages[0].text
    assert 'order (' in run.diagnosis.messages[1].text


def test_a_classifier_at_chance_alone_is_a_warning():
    run = Run(order=order())
    assert run.told == [(160, True, STUCK)]
    remedy = run.diagnosis.messages[0].remedy
    assert 'frame_interval' in remedy and 'queue' not in remedy


def masked_head(loss, **logged):
    """A head of masked prediction with tokens of 128 values, its norm infinite now and then."""
    logged = dict(red=0.98, green=0.97, blue=0.96, masked=89.0625) | logged
    masked = {f'mae_{key}': at(value) for key, value in logged.items()}
    masked['grad_norm'] = lambda t: math.inf if t % 50 == 3 else 0.25
    return dict(loss=loss, chance=127 / 128, masked=masked)


NOT_PREDICTED = 'the loss has not come down from chance, so nothing is predicted'


def test_masked_prediction_that_stays_at_chance():
    run = Run(mae=masked_head(at(0.97)))
    assert run.told == [(160, True, NOT_PREDICTED)]
    (message,) = run.diagnosis.messages
    assert message.text.endswith(
        'mae (loss_mae 0.97, at chance 0.99; mae_red 0.98, mae_green 0.97, mae_blue 0.96, '
        'mae_masked 89.06, grad_norm 0.25)'
    )
    for remedy in ('more epochs', 'mask.ratio', 'learning rate'):
        assert remedy in message.remedy
    for remedy in ('queue', 'temperature', 'norm_last', 'momentum', 'views', '_acc'):
        assert remedy not in str(message)


def test_masked_prediction_beside_others_has_a_message_of_its_own():
    run = Run(video=collapsed(), order=order(), mae=masked_head(at(0.97)))
    assert run.told == [(160, True, STUCK), (160, True, NOT_PREDICTED)]
    assert 'mae' not in run.diagnosis.messages[0].text
    assert 'video' not in run.diagnosis.messages[1].text
    learned = Run(video=contrast(), mae=masked_head(at(0.97)))  # not a matter of the videos
    assert learned.told == [(160, True, NOT_PREDICTED)]


def test_masked_prediction_that_leaves_chance_and_comes_back():
    assert Run(mae=masked_head(ramp((0, 1.2), (80, 0.95), (200, 0.6)))).told == []
    back = Run(mae=masked_head(ramp((0, 1.2), (80, 0.6), (160, 0.6), (161, 0.99)))).told
    ((iteration, is_warning, text),) = back
    assert 260 < iteration < 320 and is_warning
    assert text == 'the loss is back at chance, so nothing is predicted any more'


@pytest.mark.parametrize('batch', [2, 32])
def test_a_classifier_that_learns_is_told_nothing(batch):
    """From chance to 45 % of four classes, drawn."""
    rng = np.random.default_rng(0)
    share = np.interp(np.arange(ITERS + 1), (0, 100, ITERS), (0.25, 0.35, 0.45))
    drawn = 100 * rng.binomial(batch, share) / batch
    loss = ramp((0, 1.39), (100, 1.3), (ITERS, 1.15))
    head = order(loss=loss, acc=lambda t: drawn[t])
    assert Run(batch=batch, order=head).told == []


def test_lucky_first_batches_are_not_what_others_have_learned():
    lucky = order(loss=lambda t: 0.6 if t <= EVERY / 2 else 1.39)
    run = Run(video=collapsed(), order=lucky)
    assert run.told == [(160, True, STUCK)]
    assert 'order (' in run.diagnosis.messages[0].text


def test_the_chance_level_may_grow_with_a_queue():
    """The loss follows chance, ln(1 + entries), for 120 iterations, and stays with it."""

    def filling(t):
        return math.log1p(min(4 * t, 480))

    run = Run(video=collapsed(loss=filling, chance=filling))
    (message,) = run.diagnosis.messages
    assert message.iteration == 160
    assert f'loss_video {math.log(481):.2f}, at chance {math.log(481):.2f}' in message.text


# Accuracy, cosines, rank, spread ----------------------------------------------------------------


def fallen(share):
    """An accuracy from 1 to 41 % and down to a share of it, the cosines likewise."""
    return contrast(
        loss=at(0.8 * CHANCE),
        acc=ramp((0, 1), (150, 41), (200, 41 * share)),
        positive=ramp((0, 0.12), (150, 0.72), (200, 0.02 + 0.7 * share)),
    )


@pytest.mark.parametrize(('share', 'expected'), [(0.7, []), (0.3, [FALLEN])])
def test_an_accuracy_that_falls_by_half(share, expected):
    run = Run(video=fallen(share))
    assert [text for _, _, text in run.told] == expected
    for message in run.diagnosis.messages:
        words = message.text.replace('%', '').split()
        now, best = (float(word) for word in words if word[0].isdigit())
        assert now == pytest.approx(41 * share, abs=0.3)
        # The best mean over 20 iterations lags behind the best value.
        assert 35 < best < 41


def test_positives_no_nearer_than_negatives():
    """BYOL's loss is low in a collapse; its cosines tell."""
    alike = dict(positive=at(0.95), negative=at(0.9), std=at(0.3), rank=at(5))
    run = Run(byol=dict(loss=ramp((0, 2), (100, 0.2)), chance=2, **alike))
    assert run.told == [(160, True, GAP)]
    assert 'mean cosine 0.95 with positives, 0.90 with negatives' in run.diagnosis.messages[0].text


def test_embeddings_alike_are_told_once_for_all_that_follows_from_it():
    alike = dict(positive=at(1), negative=at(0.996), std=at(0.06), rank=at(3))
    run = Run(byol=dict(loss=at(0.1), chance=2, **alike))
    assert run.told == [(160, True, ALIKE)]
    assert 'byol_std 0.060' in run.diagnosis.messages[0].text


@pytest.mark.parametrize(('rank', 'expected'), [(7, []), (5, [FEWER])])
def test_a_rank_that_falls_to_a_quarter(rank, expected):
    run = Run(video=contrast(rank=ramp((0, 24), (200, rank))))
    assert [text for _, _, text in run.told] == expected


def test_a_sign_is_told_again_only_after_it_has_gone():
    """Gone is twice the value where it comes; between the two nothing changes."""
    alike = [(100, 0.5), (101, 0.05), (600, 0.05), (601, 0.15), (700, 0.15), (800, 0.15)]
    again = [(801, 0.05), (1000, 0.05), (1001, 0.3), (1100, 0.3), (1101, 0.05)]
    head = dict(positive=at(0.9), negative=at(0.5), std=ramp(*alike, *again), rank=at(9))
    told = Run(iters=2000, byol=head).told
    assert told == [(140 + 200, True, ALIKE), (1040, False, 'byol'), (1140 + 200, True, ALIKE)]


def test_before_the_warmup_is_over_only_what_was_good_turns_bad():
    """A projector without normalisation starts with embeddings all alike."""
    slow = dict(positive=at(0.9), negative=at(0.5), rank=at(9))
    started_alike = Run(warmup=200, byol=dict(**slow, std=ramp((0, 0.01), (250, 0.3))))
    assert started_alike.told == []
    fell = Run(warmup=200, byol=dict(**slow, std=ramp((20, 0.3), (21, 0.01))))
    assert fell.told == [(160, True, ALIKE)]


def test_numbers_that_are_not_finite_are_no_sign():
    """FiniteLossHook has its own word for them."""
    assert Run(video={**contrast(), 'rank': at(math.nan)}).told == []


# Resuming, and the file -------------------------------------------------------------------------


@pytest.mark.parametrize('cut', [30, 150, 170, 290])
def test_what_is_remembered_goes_on_in_a_resumed_run(cut):
    heads = dict(video=fallen(0.2), order=order())
    whole = Run(**heads)
    first = Run(**heads, iters=ITERS)
    first.diagnosis = Diagnosis(ITERS, WARMUP, BATCH)
    first.go(1, cut)
    first.diagnosis = Diagnosis(ITERS, WARMUP, BATCH, first.diagnosis.state_dict())
    first.go(cut + 1, ITERS)
    assert first.diagnosis.state_dict() == whole.diagnosis.state_dict()
    assert len(whole.told) == 2


def test_messages_are_read_as_they_were_written(tmp_path):
    """What to try comes once, behind all of them."""
    assert read_messages(tmp_path) == ([], [])
    messages = [
        Message(160, True, 'a: b %', 'Try this.'),
        Message(180, False, 'c', 'No matter.'),
        Message(200, True, 'd', 'Try this.'),
        Message(220, True, 'e', 'Try that.'),
        Message(240, False, 'f'),
    ]
    write_messages(tmp_path, messages)
    warnings, notes = read_messages(tmp_path)
    assert warnings[:3] == ['Iteration 160: a: b %.', 'Iteration 200: d.', 'Iteration 220: e.']
    assert warnings[3:] == ['Try this.', 'Try that.']
    assert notes == ['Iteration 180: c. No matter.', 'Iteration 240: f.']
    write_messages(tmp_path, [])
    assert not list(tmp_path.iterdir())
