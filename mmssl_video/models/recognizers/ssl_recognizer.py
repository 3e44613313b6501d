"""One recognizer for all methods: encoders computed once, objectives by config."""

import difflib

import torch
from mmaction.models import BaseRecognizer
from mmaction.registry import MODELS
from mmengine.model import ModuleDict
from torch import Tensor

from mmssl_video.errors import UserError

from ..encoding import encode
from ..heads import SSLHead
from ..momentum import MomentumCopy, forward_shuffled


@MODELS.register_module()
class SSLRecognizer(BaseRecognizer):
    """Self-supervised recognizer: an encoder, its momentum copy and a set of objectives.

    The objectives say which views they read. In training, the recognizer encodes the union of
    the online views in one batch, the union of the target views in another, and hands out slices;
    it sums the losses and logs each under its head's name. VCLR costs 3 online and 6 target
    frames a sample.

    Inputs are [N, V, S, C, H, W] for a 2D backbone (``format_shape='NCHW'`` of the data
    preprocessor) and [N, V, S, C, T, H, W] for a 3D one (``'NCTHW'``), as ``FormatViews`` makes
    them. A feature is the mean of the backbone's output over space and time, [D].

    Args:
        backbone (dict): Any 2D or 3D backbone of MMAction2.
        heads (dict[str, dict | None]): Objectives by name; ``None`` switches one off.
        momentum (float): m of the target network, in [0, 1]; VCLR's is 0.999. The
            ``MomentumScheduleHook`` changes it in the course of training.
        shuffle_bn (bool): Whether the target encoder shuffles its batch across processes.
        data_preprocessor (dict): Config of MMAction2's ``ActionDataPreprocessor``.

    Raises:
        UserError: If there is no head, one is of an unknown type, or its name has ``loss`` in it.
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict | None],
        momentum: float = 0.999,
        shuffle_bn: bool = True,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor=data_preprocessor)
        # MMEngine's, which passes init_weights on to the heads.
        self.heads = ModuleDict(
            {name: _build_head(name, cfg) for name, cfg in (heads or {}).items() if cfg is not None}
        )
        if not self.heads:
            raise UserError('model.heads is empty; keep at least one objective in it')
        for name in self.heads:
            if 'loss' in name:  # MMEngine adds up whatever is logged under such a name
                raise UserError(f"model.heads.{name}: choose a name without 'loss' in it")
        self.momentum = momentum
        self.shuffle_bn = shuffle_bn
        self.online_views = self._views('online_views')
        self.target_views = self._views('target_views')
        if self.target_views:
            self.target_backbone = MomentumCopy(self.backbone)

    def _views(self, branch: str) -> list[int]:
        return sorted({view for head in self.heads.values() for view in getattr(head, branch)})

    @property
    def momentum_copies(self) -> list[MomentumCopy]:
        """The parts of the target network: the backbone's and the projectors' copies."""
        return [module for module in self.modules() if isinstance(module, MomentumCopy)]

    def init_weights(self) -> None:
        """Initialise the online network and start the target network from it."""
        super().init_weights()
        for copy in self.momentum_copies:
            copy.sync()

    def extract_feat(self, inputs: Tensor, **kwargs) -> Tensor:
        """Encode frames or clips by the online backbone.

        Args:
            inputs: Normalised, [..., C, H, W] or [..., C, T, H, W] for a 3D backbone.

        Returns:
            Features [..., D].
        """
        return encode(self.backbone, inputs, self.data_preprocessor.format_shape)

    def loss(self, inputs: Tensor, data_samples: list, **kwargs) -> dict[str, Tensor]:
        """Compute all objectives on a batch [N, V, S, ...].

        The target network takes its step first: it then follows the weights that the last
        optimiser step has made.

        Returns:
            ``loss_<head>`` for each head, and what else it logs as ``<head>_<name>``.
        """
        num_views = inputs.shape[1]
        if max(self.online_views + self.target_views) >= num_views:
            raise UserError(
                f'the heads read view {max(self.online_views + self.target_views)}, but the '
                f'pipeline makes views 0 to {num_views - 1}; match the view sampler and the '
                "heads' query_view and key_view"
            )
        online = self.extract_feat(inputs[:, self.online_views])
        online = dict(zip(self.online_views, online.unbind(1), strict=True))
        target = {}
        if self.target_views:
            for copy in self.momentum_copies:
                copy.update(self.momentum)
            features = self._encode_target(inputs[:, self.target_views])
            target = dict(zip(self.target_views, features.unbind(1), strict=True))

        outputs = {}
        for name, head in self.heads.items():
            results = head.loss(
                {view: online[view] for view in head.online_views},
                {view: target[view] for view in head.target_views},
            )
            outputs[f'loss_{name}'] = results.pop('loss')
            outputs.update({f'{name}_{key}': value for key, value in results.items()})
        return outputs

    def _encode_target(self, inputs: Tensor) -> Tensor:
        """Encode views [N, V, S, ...] by the target backbone: [N, V, S, D]."""

        def encode_images(images: Tensor) -> Tensor:
            return encode(self.target_backbone, images, self.data_preprocessor.format_shape)

        images = inputs.flatten(0, 2)
        if self.shuffle_bn:
            features = forward_shuffled(encode_images, images)
        else:
            features = encode_images(images)
        return features.unflatten(0, inputs.shape[:3])

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: list, **kwargs) -> list:
        """Give each data sample the mean feature of its clips, ``feature`` float32 [D]."""
        features = self.extract_feat(inputs).flatten(1, -2).mean(dim=1)
        for sample, feature in zip(data_samples, features, strict=True):
            sample.set_field(feature.float(), 'feature')
        return data_samples


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
    return MODELS.build(cfg)
