"""Refuse a last batch of one sample, which batch normalisation cannot process."""

from functools import partial

from mmaction.registry import HOOKS
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl_video.errors import UserError

from .unwrap import unwrapped_model


@HOOKS.register_module()
class LoneSampleHook(Hook):
    """Refuse batches of one sample if batch normalisation needs two.

    The last batch of an epoch has one sample if the number of videos of a process, divided by the
    batch size, leaves a remainder of 1. A layer that reads one value per channel and sample, as in
    a projector, then cannot normalise, and torch stops the run at the end of the first epoch. The
    first batch already shows what a layer reads, so this hook stops the run before the first step.

    Raises:
        UserError: Names the layer and the remedy.
    """

    def before_train(self, runner: Runner) -> None:
        """Watch the layers, if there will be a batch of one sample."""
        self._watched = []
        loader = runner.train_dataloader
        batch_size, num_videos = loader.batch_size, len(loader.sampler)
        if isinstance(loader.sampler, InfiniteSampler) or batch_size is None:
            return  # all batches have the same size, or it is not known
        if batch_size == 1:
            fault = 'train_dataloader.batch_size is 1'
            remedy = 'train_dataloader.batch_size=2 or more'
        elif num_videos % batch_size == 1 and not loader.drop_last:
            fault = f'{num_videos} videos per process leave a last batch of 1, not {batch_size}'
            remedy = 'train_dataloader.drop_last=True'
        else:
            return

        def look(name: str, layer: nn.Module, inputs: tuple[Tensor]) -> None:
            num_values = inputs[0].numel() // inputs[0].shape[1]  # per channel
            if layer.training and num_values <= batch_size:
                raise UserError(
                    f'{fault}, but model.{name} cannot normalise a single value; set {remedy}'
                )

        for name, layer in unwrapped_model(runner).named_modules():
            together = isinstance(layer, nn.SyncBatchNorm) and get_world_size() > 1
            if isinstance(layer, _BatchNorm) and not together:
                self._watched.append(layer.register_forward_pre_hook(partial(look, name)))

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Stop watching the layers after the first batch."""
        while self._watched:
            self._watched.pop().remove()
