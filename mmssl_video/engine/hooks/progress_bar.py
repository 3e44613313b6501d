"""A progress bar with the remaining time."""

import atexit

from mmaction.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show the iterations done, the loss and an ETA on stderr; log lines still go to stdout.

    If stderr is not a terminal, a line is printed at every tenth of the run instead.

    Args:
        description (str): Label of the bar.
    """

    priority = 'LOW'

    def __init__(self, description: str = 'Pretraining') -> None:
        self.description = description

    def before_train(self, runner: Runner) -> None:
        """Start the bar, for a resumed run at its first iteration."""
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('loss {task.fields[loss]}'),
            TextColumn('ETA'),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (is_main_process() and self.console.is_terminal),
        )
        self.task = self.progress.add_task(
            self.description, total=runner.max_iters, completed=runner.iter, loss='-'
        )
        # Hooks are not called on an interrupt, but the terminal must get its cursor back.
        atexit.register(self.progress.stop)
        self.progress.start()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict = None, outputs: dict = None
    ) -> None:
        """Advance the bar."""
        done = runner.iter + 1
        loss = f'{outputs["loss"].item():.3f}'
        self.progress.update(self.task, completed=done, loss=loss)
        if is_main_process() and not self.console.is_terminal:
            tenths = 10 * done // runner.max_iters
            if tenths > 10 * runner.iter // runner.max_iters:
                remaining = self.progress.tasks[0].time_remaining
                eta = '' if remaining is None else f', ETA {remaining:.0f} s'
                self.console.print(
                    f'{self.description}: {done}/{runner.max_iters}, loss {loss}{eta}'
                )

    def after_train(self, runner: Runner) -> None:
        """Close the bar."""
        self.progress.stop()
        atexit.unregister(self.progress.stop)
