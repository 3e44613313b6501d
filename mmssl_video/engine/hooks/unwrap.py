"""Get the model out of its distributed wrapper."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped_model(runner: Runner) -> nn.Module:
    """The recognizer of a run, with one process or several."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
