"""One recognizer for all methods: it encodes views once; the config sets the objectives."""

import difflib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from mmaction.models import BaseRecognizer
from mmaction.registry import MODELS
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.model import ModuleDict
from torch import Tensor

from mmssl_video.errors import UserError

from ..encoding import check_mixed_frames, encode, encode_maps, pool
from ..heads import SSLHead
from ..heads.base import VisibleTokens
from ..memory_format import input_channels_last, store_kernels
from ..momentum import MomentumCopy, forward_shuffled


class _Encoded(NamedTuple):
    """A view of one branch: maps [N, S, D, T, H, W] or vectors [N, S, D], and their means."""

    maps: Tensor
    means: Tensor  # [N, S, D]


@MODELS.register_module()
class SSLRecognizer(BaseRecognizer):
    """Self-supervised recognizer: an encoder, its momentum copy and a set of objectives.

    The objectives say which views they read. In training, the recognizer encodes all the online
    views in one batch, all the target views in another, and gives each head its views; it sums the
    losses and logs each under its head's name. For VCLR, it encodes 3 online and 6 target frames of
    each sample.

    Inputs are [N, V, S, C, H, W] for a 2D backbone (``format_shape='NCHW'`` of the data
    preprocessor) and [N, V, S, C, T, H, W] for a 3D one (``'NCTHW'``), as ``FormatViews`` makes
    them. A feature is the mean of the backbone's output over space and time, [D]. A head may
    instead ask for the maps (``reads_maps``), or for the tokens that its mask leaves visible
    (``masks``). For a backbone with two pathways (SlowFast), the means of both are concatenated. A
    backbone that mixes frames (TSM) has ``num_segments=S``, so that it mixes those of one view.

    Views may also differ in their number of segments, as those of ``SampleJointly`` do: for
    example, VCLR's tuples of three and CVRL's single clips. The field ``num_segments`` of the data
    samples, which ``PackViews`` writes, then says how many clips each view has.

    Args:
        backbone (dict): Any 2D or 3D backbone of MMAction2.
        heads (dict[str, dict | None]): Objectives by name; ``None`` switches one off.
        momentum (float): m of the target network, in [0, 1]; VCLR's is 0.999. The
            ``MomentumScheduleHook`` changes it during training.
        shuffle_bn (bool): Whether target backbone and target projectors shuffle their batches
            across processes. Only those with batch normalisation over one process's batch do; with
            ``sync_bn``, none does.
        channels_last (bool): Whether the backbones work with channels last in memory, which is
            faster for convolutions, most of all with mixed precision on a GPU.
        compile (bool | dict): Whether ``torch.compile`` compiles the backbones' forward and
            backward pass; a dict holds its options.
        data_preprocessor (dict): Config of :class:`SSLDataPreprocessor`, or of MMAction2's
            ``ActionDataPreprocessor``.

    Attributes:
        target_follows (bool): Whether the target network takes a step in this iteration. The
            ``TargetStepHook`` clears it while gradients accumulate.
        pairs (dict[str, tuple[Tensor, Tensor]]): By head, the embeddings [M, D] of the last
            iteration's queries and their positives, for monitors.

    Raises:
        UserError: If there is no head, a head has an unknown type, ``loss`` in its name, or an
            impossible temperature, weight or view. In the first iteration, if views, segments or
            features do not fit the heads.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict | None],
        momentum: float = 0.999,
        shuffle_bn: bool = True,
        channels_last: bool = False,
        compile: bool | dict = False,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor=data_preprocessor)
        # MMEngine's ModuleDict passes init_weights on to the heads.
        self.heads = ModuleDict(
            {name: _build_head(name, cfg) for name, cfg in (heads or {}).items() if cfg is not None}
        )
        if not self.heads:
            raise UserError('model.heads is empty; keep at least one objective in it')
        for name in self.heads:
            if 'loss' in name:  # MMEngine adds up everything logged under such a name
                raise UserError(f"model.heads.{name}: choose a name without 'loss' in it")
        self.momentum = momentum
        self.target_follows = True
        self.shuffle_bn = shuffle_bn
        for head in self.heads.values():
            head.shuffle_bn = shuffle_bn
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}
        self._labelled: bool | None = None
        self.online_views = self._views('online_views')
        self.target_views = self._views('target_views')
        self.channels_last = channels_last
        if channels_last:
            store_kernels(self.backbone, channels_last)
            self.backbone.register_forward_pre_hook(input_channels_last)
        backbones = [self.backbone]
        if self.target_views:
            self.target_backbone = MomentumCopy(self.backbone)
            backbones.append(self.target_backbone.module)
        if compile not in (False, None):
            for backbone in backbones:
                backbone.compile(**({} if compile is True else compile))

    def _views(self, branch: str) -> list[int]:
        return sorted({view for head in self.heads.values() for view in getattr(head, branch)})

    @property
    def momentum_copies(self) -> list[MomentumCopy]:
        """The parts of the target network: the backbone's and the projectors' copies."""
        return [module for module in self.modules() if isinstance(module, MomentumCopy)]

    def init_weights(self) -> None:
        """Initialise the online network and start the target network from it."""
        store_kernels(self.backbone, channels_last=False)  # torch draws in the order of memory
        super().init_weights()
        store_kernels(self.backbone, self.channels_last)
        for copy in self.momentum_copies:
            copy.sync()

    def _forward(self, inputs: Tensor, **kwargs) -> Tensor:
        """The forward of ``mode='tensor'``: features [..., D] of :meth:`extract_feat`."""
        return self.extract_feat(inputs)

    def extract_feat(self, inputs: Tensor, **kwargs) -> Tensor:
        """Encode frames or clips with the online backbone.

        Args:
            inputs: Normalised, [..., C, H, W] or [..., C, T, H, W] for a 3D backbone.

        Returns:
            Features [..., D].
        """
        return encode(self.backbone, inputs, self.data_preprocessor.format_shape)

    def loss(self, inputs: Tensor, data_samples: list, **kwargs) -> dict[str, Tensor]:
        """Compute all objectives on a batch [N, V, S, ...].

        The target network takes its step first, so it follows the weights of the last optimiser
        step.

        Returns:
            ``loss_<head>`` for each head, and its other scalars as ``<head>_<name>``.
        """
        views = self._split_views(inputs, data_samples)
        # First, since it keeps nothing for the backward pass: this lowers the peak of memory.
        target = {}
        if self.target_views:
            if self.target_follows:
                for copy in self.momentum_copies:
                    copy.update(self.momentum)
            target = self._encode_views(views, self.target_views, self._encode_target)
        whole = sorted(
            {view for head in self.heads.values() if not head.masks for view in head.online_views}
        )
        online = self._encode_views(views, whole, self._encode_online)
        given = {}
        for name, head in self.heads.items():
            if head.masks:
                given[name] = {
                    view: self._encode_visible(name, head, views[view])
                    for view in head.online_views
                }
            else:
                given[name] = self._hand_out(name, head, head.online_views, online)

        outputs = {}
        self.pairs = {}
        reads_labels = any('gt_label' in head.reads for head in self.heads.values())
        labelled = reads_labels and self._has_labels(data_samples)
        for name, head in self.heads.items():
            results = head.loss(
                given[name],
                self._hand_out(name, head, head.target_views, target),
                **_read_fields(name, head, data_samples, labelled, inputs.device),
            )
            outputs[f'loss_{name}'] = results.pop('loss')
            if 'pair' in results:
                query, positive = results.pop('pair')
                self.pairs[name] = query.detach(), positive.detach()
            outputs.update({f'{name}_{key}': value for key, value in results.items()})
        return outputs

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses, as MMEngine does, and average the logged values over all processes."""
        total, log = super().parse_losses(losses)
        if get_world_size() > 1:
            means = torch.stack([value.detach().to(total.dtype) for value in log.values()])
            all_reduce(means, op='mean')
            log = OrderedDict(zip(log, means.unbind(), strict=True))
        return total, log

    def _has_labels(self, data_samples: list) -> bool:
        """Whether any sample has a label; for several processes, in their first batch.

        All must take part in gathering labels, and asking the others in each iteration would wait
        for the GPU. The samples of a data set have labels in every batch or in none.
        """
        known = any(sample.get('gt_label') is not None for sample in data_samples)
        if get_world_size() == 1:
            return known
        if self._labelled is None:
            self._labelled = any(all_gather_object(known))
        return self._labelled

    def _split_views(self, inputs: Tensor, data_samples: list) -> tuple[Tensor, ...]:
        """Cut a batch [N, V, S, ...] into its views, each [N, S of the view, ...]."""
        made = [inputs.shape[2]] * inputs.shape[1]
        # Views with different numbers of segments are packed as one view.
        told = data_samples[0].get('num_segments') if data_samples else None
        segments = list(told) if isinstance(told, tuple) else made
        last = max(self.online_views + self.target_views)
        if last >= len(segments):
            raise UserError(
                f'the heads read view {last}, but the pipeline makes views 0 to '
                f"{len(segments) - 1}; match the view sampler and the heads' views, and end the "
                'pipeline with PackViews where views differ in their segments'
            )
        return inputs.flatten(1, 2).split(segments, dim=1)

    def _hand_out(
        self, name: str, head: SSLHead, wanted: Sequence[int], encoded: dict[int, _Encoded]
    ) -> dict[int, Tensor]:
        """Give a head its views as it reads them: maps [N, S, D, T, H, W] or their means."""
        for view in wanted:
            maps = encoded[view].maps
            if head.reads_maps and maps.ndim == 3:
                raise UserError(
                    f'model.heads.{name} reads maps, but a {type(self.backbone).__name__} gives '
                    'vectors; use a backbone that gives one map, a ResNet3d for example'
                )
            self._check_channels(name, head, maps.shape[2])
        return {
            view: encoded[view].maps if head.reads_maps else encoded[view].means for view in wanted
        }

    def _check_channels(self, name: str, head: SSLHead, channels: int) -> None:
        if head.in_channels not in (None, channels):
            raise UserError(
                f'model.heads.{name} takes features of {head.in_channels}, but the '
                f'{type(self.backbone).__name__} gives {channels}; set in_channels of the head '
                f'or of its projector to {channels}'
            )

    def _encode_visible(self, name: str, head: SSLHead, clips: Tensor) -> list[VisibleTokens]:
        """Encode the visible tokens of a view [N, S, C, T, H, W], for each mask of a head."""
        if not hasattr(self.backbone, 'forward_visible'):
            raise UserError(
                f'model.heads.{name} masks tokens, but a {type(self.backbone).__name__} sees all '
                "of them; use model.backbone.type='MaskedVisionTransformer'"
            )
        for key in ('patch_size', 'tubelet_size'):
            size, cut = getattr(head, key), getattr(self.backbone, key)
            if size != cut:
                raise UserError(
                    f'model.heads.{name}.{key} is {size}, but model.backbone.{key} is {cut}; set '
                    'both to the same number'
                )
        passes = []
        for visible in head.draw_visible(clips):
            tokens = self.backbone(clips.flatten(0, 1), visible.flatten(0, 1))
            self._check_channels(name, head, tokens.shape[-1])
            passes.append(VisibleTokens(tokens.unflatten(0, clips.shape[:2]), visible, clips))
        return passes

    def _encode_views(
        self, views: tuple[Tensor, ...], wanted: list[int], encoder: Callable[[Tensor], Tensor]
    ) -> dict[int, _Encoded]:
        """Encode the wanted views in one batch."""
        if not wanted:
            return {}
        for view in wanted:
            check_mixed_frames(self.backbone, views[view].shape[1])
        features = encoder(torch.cat([views[view] for view in wanted], dim=1))
        parts = features.split([views[view].shape[1] for view in wanted], dim=1)
        return {
            view: _Encoded(maps, pool(maps, leading=2))
            for view, maps in zip(wanted, parts, strict=True)
        }

    def _encode_online(self, inputs: Tensor) -> Tensor:
        """Encode clips [N, M, ...] with the online backbone: maps [N, M, D, T, H, W]."""
        maps = encode_maps(self.backbone, inputs, self.data_preprocessor.format_shape)
        return maps.unsqueeze(3) if maps.ndim == 5 else maps

    @torch.no_grad()
    def _encode_target(self, inputs: Tensor) -> Tensor:
        """Encode clips [N, M, ...] with the target backbone: maps [N, M, D, T, H, W].

        If no head reads its maps, the result is their means over space and time [N, M, D]: less
        data to shuffle back.
        """
        backbone = self.target_backbone.module
        reads_maps = any(head.reads_maps for head in self.heads.values() if head.target_views)
        encode_groups = partial(
            encode_maps if reads_maps else encode,
            backbone,
            format_shape=self.data_preprocessor.format_shape,
        )
        # Frames that a backbone mixes stay together.
        groups = inputs.flatten(0, 1).unflatten(0, (-1, getattr(backbone, 'num_segments', 1)))
        if self.shuffle_bn and self.target_backbone.has_own_statistics:
            features = forward_shuffled(encode_groups, groups)
        else:
            features = encode_groups(groups)
        features = features.flatten(0, 1).unflatten(0, inputs.shape[:2])
        return features.unsqueeze(3) if features.ndim == 5 else features

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: list, **kwargs) -> list:
        """Add to each data sample the mean feature of its clips: ``feature``, float32 [D]."""
        features = self.extract_feat(inputs).flatten(1, -2).mean(dim=1)
        for sample, feature in zip(data_samples, features, strict=True):
            sample.set_field(feature.float(), 'feature')
        return data_samples


def _read_fields(
    name: str, head: SSLHead, data_samples: list, labelled: bool, device: torch.device
) -> dict[str, Tensor | None]:
    """Read a head's fields, int64 [N] each; ``gt_label`` may be ``None``."""
    fields: dict[str, Tensor | None] = {}
    for field in head.reads:
        values = [sample.get(field) for sample in data_samples]
        if field == 'gt_label':
            fields[field] = _collect_labels(values, device) if labelled else None
            continue
        if any(value is None for value in values):
            raise UserError(
                f'model.heads.{name} reads {field!r}, which the data samples lack; use the sampler '
                f'that writes it and PackViews(algorithm_keys=({field!r},))'
            )
        collected = torch.cat([torch.as_tensor(value).reshape(1) for value in values])
        # Transforms write numbers; check them here, since a check on the device would wait for it.
        if collected.is_cpu and field in head.num_classes_of:
            num_classes = head.num_classes_of[field]
            wrong = {value for value in collected.tolist() if not 0 <= value < num_classes}
            if wrong:  # on a GPU, the loss would kill the process
                raise UserError(
                    f'model.heads.{name}: a {field} is {min(wrong)}, but {type(head).__name__} '
                    f'expects 0 to {num_classes - 1}; set num_classes (or '
                    'num_segments) of the head to the number of different labels'
                )
        if collected.is_cpu and device.type == 'cuda':
            collected = collected.pin_memory()  # otherwise the copy waits for the device
        fields[field] = collected.to(device, non_blocking=True)
    return fields


def _collect_labels(labels: list[Tensor | None], device: torch.device) -> Tensor:
    """Labels int64 [N], -1 for one that is not known or not single."""
    unknown = torch.full((1,), -1, device=device)
    return torch.cat([unknown if label is None or len(label) > 1 else label for label in labels])


def _build_head(name: str, cfg: dict) -> SSLHead:
    known = sorted(
        key
        for key, module in MODELS.module_dict.items()
        if isinstance(module, type) and issubclass(module, SSLHead)
    )
    if cfg.get('type') not in known:
        guess = difflib.get_close_matches(str(cfg.get('type')), known, n=1)
        hint = f'did you mean {guess[0]}? ' if guess else ''
        raise UserError(
            f'model.heads.{name}: unknown head {cfg.get("type")!r}; {hint}'
            f'The heads are {", ".join(known)}'
        )
    head = MODELS.build(cfg)
    views = head.online_views + head.target_views
    for key in ('temperature', 'epsilon'):
        if not getattr(head, key, 1) > 0:
            raise UserError(
                f'model.heads.{name}.{key} is {getattr(head, key)}; set it above 0, because '
                'similarities are divided by it'
            )
    if not head.loss_weight >= 0:
        raise UserError(
            f'model.heads.{name}.loss_weight is {head.loss_weight}; set it to 0 or more; a '
            'negative weight teaches the opposite'
        )
    if min(views) < 0:
        raise UserError(f'model.heads.{name} reads view {min(views)}; views are counted from 0')
    return head
