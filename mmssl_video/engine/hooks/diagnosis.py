"""Find problems of a run from its losses, accuracies and embeddings, without the Runner."""

import math
import os
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmssl_video.files import atomic_path

LOW = 0.1
"""Each of these is too low below this value: the decrease of a loss, as a part of its chance level;
the increase of an accuracy, as a part of the distance from a guess to 100 %; the gap between the
mean cosines of positives and negatives (at a temperature of 0.1, a smaller gap leaves a softmax
nearly flat); the std of embeddings (the mean cosine of two is then about 1 - std^2 = 0.99)."""
SAMPLES = 640
"""Number of samples in a mean over the last iterations, so that no single batch decides."""
STANDARD_ERRORS = 6
"""If an accuracy falls by fewer standard errors, this may be by chance."""
MAX_PATIENCE = 200
"""In iterations, because a network changes with the optimiser's steps, not with epochs."""

TRY = (
    'What usually helps, tried one at a time: norm_last=True in the projector (with '
    "norm_cfg=dict(type='BN1d'); on several GPUs also sync_bn='torch', or a target network with "
    'model.shuffle_bn=True), a third of the learning rate (optim_wrapper.optimizer.lr), a larger '
    'batch; in a run of some hundred iterations a queue_size (if any) of one batch and a '
    'model.momentum (if any) of 0.9.'
)
TRY_VIEWS = (
    'What usually helps, tried one at a time: a third or three times the learning rate '
    '(optim_wrapper.optimizer.lr), more epochs, a larger frame_interval, so that the views show '
    'what the task asks for.'
)
TRY_MASKED = (
    'What usually helps, tried one at a time: more epochs, because masked prediction may stay at '
    'chance for long; fewer masked tokens (mask.ratio of the head); a third or three times the '
    'learning rate (optim_wrapper.optimizer.lr); a longer warm-up if the gradient norm is large.'
)
UNSEEN = (
    'The other objectives learn, so these videos may not show what this task asks for: scenes that '
    'look the same played backwards, for example, have no order.'
)
STUCK = 'the loss has not come down from chance, so nothing is {learned}'
# By kind of sign: the text when it appears, and when it disappears.
HEADLINES = {
    'chance': ('the loss is back at chance, so nothing is {learned} any more', 'has left chance'),
    'accuracy': ('the accuracy has fallen by half or more', 'accuracy up again'),
    'std': ('the embeddings are nearly all alike', 'embeddings differ'),
    'gap': ('positives are hardly nearer than negatives', 'positives nearer than negatives'),
    'rank': ('the embeddings fill far fewer dimensions than they did', 'dimensions filled again'),
}


class Message(NamedTuple):
    """A message of the monitor.

    Attributes:
        iteration (int): Number of iterations done.
        is_warning (bool): Whether it is a warning; otherwise a note.
        text (str): What was seen, and where.
        remedy (str): What to try, or why nothing needs to be done; may be empty.
    """

    iteration: int
    is_warning: bool
    text: str
    remedy: str = ''

    def __str__(self) -> str:
        return f'{self.text}. {self.remedy}'.strip()


@dataclass
class Sign:
    """One kind of problem of one objective.

    Attributes:
        has_been_good (bool): Whether it was clearly absent at some time.
        since (int | None): Iteration since which it has been seen without a break.
        is_told (bool): Whether it was reported and has not disappeared since.
    """

    has_been_good: bool = False
    since: int | None = None
    is_told: bool = False


@dataclass
class Objective:
    """The state of a head.

    Attributes:
        chance (float): Chance level of the loss in the last iteration.
        loss (float): Mean of the last losses, each divided by its chance level.
        num_losses (int): Number of losses so far.
        chance_accuracy, accuracy, num_accuracies: The same for the accuracy, in percent.
        best_accuracy (float): Highest mean so far.
        masked (dict[str, float]): For a masked head, means of the other values that it logs, and of
            the gradient norm; empty for other heads.
        recent (list[dict]): The last three measurements of ``positive``, ``negative``, ``std`` and
            ``rank``; empty for a head without pairs.
        num_pairs (int): Number of pairs in the largest measurement.
        best_gap, best_rank (float): Highest medians so far; for the rank, since the warm-up.
        signs (dict): :class:`Sign` by kind.
    """

    chance: float = 0.0
    loss: float = 0.0
    num_losses: int = 0
    chance_accuracy: float = 0.0
    accuracy: float = 0.0
    num_accuracies: int = 0
    best_accuracy: float = 0.0
    masked: dict[str, float] = field(default_factory=dict)
    recent: list[dict[str, float]] = field(default_factory=list)
    num_pairs: int = 0
    best_gap: float = 0.0
    best_rank: float = 0.0
    signs: dict[str, Sign] = field(default_factory=dict)

    def median(self, key: str) -> float:
        """Median of the last three measurements, so that one unusual batch does not count."""
        return statistics.median(each[key] for each in self.recent)

    @property
    def gap(self) -> float:
        """Median difference between the mean cosines of positives and negatives."""
        return statistics.median(each['positive'] - each['negative'] for each in self.recent)

    def lift(self, accuracy: float) -> float:
        """Rescale an accuracy such that a guess is 0 and all right is 1."""
        return (accuracy - self.chance_accuracy) / (100 - self.chance_accuracy)


class Diagnosis:
    """Finds problems of a run from its numbers. Each is reported once, until it disappears.

    A sign counts after it has been seen for ``patience`` iterations in a row: a quarter of the run,
    but at most 200. Before the end of the warm-up, only a head that has been good can become bad.

    - *chance*: the loss is above 0.9 of its chance level, and nothing else shows that the head
      learns: with pairs, a gap between the mean cosines of positives and negatives; without, the
      accuracy, if there is one. With pairs the loss alone is not enough, because the loss of spread
      embeddings exceeds its chance level long after they have begun to order. If a classifier has
      never left chance while another objective learns, this is a note, not a warning.
    - *accuracy*: its lift above chance is below half of the best one and, if there are pairs, so is
      the gap; or it is below a quarter. With a queue, an accuracy may fall without harm: it is high
      while the network changes fast, since old keys are far from any query, and falls with the
      learning rate.
    - *std*: the std of the embeddings is below 0.1.
    - *gap*: the gap is below 0.1.
    - *rank*: the rank is below a quarter of the best one since the warm-up. (Random embeddings that
      are normalised last fill all dimensions with noise.)

    Chance, std and gap mean the same problem in different strengths, so only the first of them is
    reported. A sign disappears at twice the value at which it appears; the rank at half and the
    accuracy at three quarters of the best one.

    No single batch decides. Losses and accuracies are means over the last iterations (640 samples,
    or 10 iterations of larger batches), and the others medians of the last three measurements.

    Args:
        max_iters: Length of the run in iterations.
        warmup: Length of the warm-up in iterations.
        batch_size: Number of samples in a loss: those of all processes.
        state: Result of :meth:`state_dict` of an earlier part of the run.

    Attributes:
        messages (list[Message]): All messages so far.
    """

    def __init__(
        self, max_iters: int, warmup: int, batch_size: int, state: dict | None = None
    ) -> None:
        self.warmup = warmup
        self.patience = min(max_iters // 4, MAX_PATIENCE)
        self.memory = max(10, SAMPLES // batch_size)
        self.num_samples = 2 * self.memory * batch_size  # effective number in an exponential mean
        self.objectives: dict[str, Objective] = {}
        self.messages: list[Message] = []
        if state is not None:
            self.messages = [Message(*message) for message in state['messages']]
            for name, values in state['objectives'].items():
                signs = {kind: Sign(**sign) for kind, sign in values['signs'].items()}
                self.objectives[name] = Objective(**{**values, 'signs': signs})

    def state_dict(self) -> dict:
        """The state in plain types, for a checkpoint."""
        return {
            'messages': [tuple(message) for message in self.messages],
            'objectives': {name: asdict(each) for name, each in self.objectives.items()},
        }

    def observe(
        self,
        name: str,
        loss: float,
        chance: float,
        accuracy: float | None = None,
        chance_accuracy: float = 0.0,
        masked: Mapping[str, float] | None = None,
    ) -> None:
        """Add the numbers that a head has logged in an iteration.

        Args:
            name: Name of the head.
            loss: The loss in the log.
            chance: Chance level of the loss, above 0.
            accuracy: In percent, if the head has one that can be compared with earlier ones.
            chance_accuracy: Chance level of the accuracy.
            masked: For a masked head, the other values that it logs, and the gradient norm, by
                name.
        """
        objective = self.objectives.setdefault(name, Objective())
        objective.chance = chance
        objective.num_losses += 1
        objective.loss = self._mean(objective.loss, loss / chance, objective.num_losses)
        for key, value in (masked or {}).items():
            if math.isfinite(value):  # mixed precision skips a step with an infinite gradient
                before = objective.masked.get(key, value)
                objective.masked[key] = self._mean(before, value, objective.num_losses)
        if accuracy is not None:
            objective.chance_accuracy = chance_accuracy
            objective.num_accuracies += 1
            objective.accuracy = self._mean(objective.accuracy, accuracy, objective.num_accuracies)
            if objective.num_accuracies >= self.memory:
                objective.best_accuracy = max(objective.best_accuracy, objective.accuracy)

    def _mean(self, mean: float, value: float, number: int) -> float:
        """Update a mean: the plain mean of the first values, then an exponential one."""
        return mean + (value - mean) / min(number, self.memory)

    def measure(self, name: str, values: Mapping[str, float], num_pairs: int) -> None:
        """Add a measurement of the pairs of a head.

        Args:
            name: Name of the head.
            values: ``positive``, ``negative``, ``std`` and ``rank``.
            num_pairs: Number of pairs. With fewer than in an earlier measurement, as in the last
                batch of an epoch, the values are not comparable and are ignored.
        """
        objective = self.objectives.setdefault(name, Objective())
        if 1 < num_pairs >= objective.num_pairs:
            if num_pairs > objective.num_pairs:
                objective.num_pairs, objective.recent = num_pairs, []
            objective.recent = [*objective.recent[-2:], dict(values)]

    def judge(self, iteration: int) -> list[Message]:
        """Find new messages.

        Args:
            iteration: Number of iterations done.

        Returns:
            New messages; ``messages`` has them too.
        """
        ripe, gone = self._update_signs(iteration)
        chance = {
            name: each.signs['chance']
            for name, each in self.objectives.items()
            if 'chance' in each.signs
        }
        others_learn = any(sign.has_been_good and sign.since is None for sign in chance.values())
        all_known = all(sign.is_told or name in ripe['chance'] for name, sign in chance.items())
        stuck, notes, back = [], [], []
        for name in ripe['chance']:
            sign = chance[name]
            if sign.has_been_good:
                back.append(name)
            elif self.objectives[name].recent or self.objectives[name].masked:
                stuck.append(name)
            elif others_learn:
                notes.append(name)
            # Otherwise the others may still start to learn: wait for the same time again.
            elif all_known or iteration - sign.since >= 2 * self.patience:
                stuck.append(name)
        ripe['chance'] = back
        new = [
            Message(iteration, False, f'{", ".join(names)}: {HEADLINES[kind][1]}')
            for kind, names in gone.items()
        ]
        told = [('chance', stuck, STUCK, True), ('chance', notes, STUCK, False)]
        told += [(kind, names, HEADLINES[kind][0], True) for kind, names in ripe.items()]
        for kind, names, headline, is_warning in told:
            masked = [name for name in names if self.objectives[name].masked]
            others = [name for name in names if name not in masked]
            new += [
                self._message(iteration, kind, some, headline, is_warning)
                for some in (others, masked)
                if some
            ]
        self.messages += new
        return new

    def _update_signs(self, iteration: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Find heads with a sign that must be reported now, or has disappeared; both by kind."""
        ripe, gone = defaultdict(list), defaultdict(list)
        for name, objective in self.objectives.items():
            if objective.recent:
                objective.best_gap = max(objective.best_gap, objective.gap)
                if iteration > self.warmup:
                    objective.best_rank = max(objective.best_rank, objective.median('rank'))
            for kind, is_bad in self._verdicts(objective).items():
                sign = objective.signs.setdefault(kind, Sign())
                if is_bad is False:
                    sign.has_been_good = True
                    if sign.is_told:
                        sign.is_told = False
                        gone[kind].append(name)
                if not is_bad or not (sign.has_been_good or iteration > self.warmup):
                    sign.since = None
                elif sign.since is None:
                    sign.since = iteration
                elif not sign.is_told and iteration - sign.since >= self.patience:
                    ripe[kind].append(name)
        return ripe, gone

    def _message(
        self,
        iteration: int,
        kind: str,
        names: list[str],
        headline: str,
        is_warning: bool,
    ) -> Message:
        """Report a sign of some heads, either all masked or none of them."""
        objectives = {name: self.objectives[name] for name in names}
        for objective in objectives.values():
            objective.signs[kind].is_told = True
        details = [f'{name} ({_details(kind, name, each)})' for name, each in objectives.items()]
        is_masked = any(each.masked for each in objectives.values())
        has_pairs = any(each.recent for each in objectives.values())
        headline = headline.format(learned='predicted' if is_masked else 'told apart')
        remedy = TRY_MASKED if is_masked else TRY if has_pairs else TRY_VIEWS
        if not is_warning:
            remedy = UNSEEN
        return Message(iteration, is_warning, f'{headline}: {", ".join(details)}', remedy)

    def _verdicts(self, objective: Objective) -> dict[str, bool | None]:
        """Whether each sign is present; ``None`` for undecided, or if another sign covers it."""
        verdicts: dict[str, bool | None] = {}
        has_pairs = bool(objective.recent)
        if objective.num_losses:
            found = [1 - objective.loss]
            if has_pairs:
                found.append(objective.gap)
            elif objective.num_accuracies:
                found.append(objective.lift(objective.accuracy))
            is_low = _is_low(max(found), LOW, 2 * LOW)
            # The first batches may be lucky.
            verdicts['chance'] = is_low if objective.num_losses >= self.patience else is_low or None
        if objective.num_accuracies >= self.memory:
            best = objective.lift(objective.best_accuracy)
            stay_apart = has_pairs and objective.gap > max(LOW, objective.best_gap / 2)
            is_low = _is_low(
                objective.lift(objective.accuracy), best / (4 if stay_apart else 2), 3 * best / 4
            )
            share = objective.best_accuracy / 100
            noise = 100 * math.sqrt(share * (1 - share) / self.num_samples)
            may_be_noise = objective.best_accuracy - objective.accuracy < STANDARD_ERRORS * noise
            verdicts['accuracy'] = None if is_low and may_be_noise else is_low
        if has_pairs:
            rank, best = objective.median('rank'), objective.best_rank
            verdicts['rank'] = _is_low(rank, best / 4, best / 2)
            # Of the signs for the same problem, only the first.
            if not verdicts.get('chance'):
                verdicts['std'] = _is_low(objective.median('std'), LOW, 2 * LOW)
                verdicts['gap'] = None if verdicts['std'] else _is_low(objective.gap, LOW, 2 * LOW)
        return verdicts


def _details(kind: str, name: str, objective: Objective) -> str:
    """Format the numbers of a sign."""
    if kind == 'accuracy':
        return f'{name}_acc {objective.accuracy:.1f} %, at best {objective.best_accuracy:.1f} %'
    if kind == 'std':
        return f'{name}_std {objective.median("std"):.3f} of 1'
    if kind == 'rank':
        return f'{name}_rank {objective.median("rank"):.1f}, at best {objective.best_rank:.1f}'
    if objective.masked:
        details = ', '.join(f'{key} {value:.2f}' for key, value in objective.masked.items())
    elif objective.recent:
        positive, negative = objective.median('positive'), objective.median('negative')
        details = f'mean cosine {positive:.2f} with positives, {negative:.2f} with negatives'
    else:
        details = (
            f'{name}_acc {objective.accuracy:.1f} %, at chance {objective.chance_accuracy:.1f} %'
        )
    if kind == 'chance':
        loss = objective.loss * objective.chance
        details = f'loss_{name} {loss:.2f}, at chance {objective.chance:.2f}; {details}'
    return details


def _is_low(value: float, low: float, high: float) -> bool | None:
    """True below ``low``, False from ``high`` on, None between and for NaN."""
    return True if value < low else False if value >= high else None


class Told(NamedTuple):
    """The messages of the monitor for a run, in sentences, each with its iteration.

    Attributes:
        warnings (list[str]): Warnings, followed by what to try, each remedy once.
        notes (list[str]): Messages that are no warnings.
    """

    warnings: list[str]
    notes: list[str]


def write_messages(work_dir: str | os.PathLike, messages: list[Message]) -> None:
    """Write ``warnings.txt``, or remove it if there are no messages.

    Args:
        work_dir: Work directory of the run.
        messages: Written one per line: ``warning`` or ``note``, iteration, text and remedy,
            separated by tabs.
    """
    path = Path(work_dir, 'warnings.txt')
    if not messages:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(
            ''.join(
                f'{"warning" if each.is_warning else "note"}\t{each.iteration}\t{each.text}\t'
                f'{each.remedy}\n'
                for each in messages
            )
        )


def read_messages(work_dir: str | os.PathLike) -> Told:
    """Read the messages of a run so far; empty if there is no ``warnings.txt``."""
    path = Path(work_dir, 'warnings.txt')
    told, remedies = Told([], []), []
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, iteration, text, remedy = line.split('\t')
        if kind == 'warning':
            told.warnings.append(f'Iteration {iteration}: {text}.')
            remedies.append(remedy)
        else:
            told.notes.append(f'Iteration {iteration}: {text}. {remedy}'.strip())
    told.warnings.extend(dict.fromkeys(remedies))
    return told
