"""Grad-CAM: show which parts of a frame or clip a feature or a class score depends on."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mmaction.models.recognizers import Recognizer2D, Recognizer3D
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl_video.checkpoints.fitting import fit_tensors
from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError, bad_video
from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.models.encoding import encode, run_backbone
from mmssl_video.video.find import require_file

from .figures import class_name, save_figure

TARGETS = ('norm', 'similarity', 'class')
COLORMAP = 'plasma'  # its lightness rises evenly
MAX_COLUMNS = 8
TILE = 1.4  # inches


# ------------------------------------------------------------------------------------------ maps


def grad_cam(
    score: Callable[[Tensor], Tensor], inputs: Tensor, layer: nn.Module
) -> tuple[np.ndarray, np.ndarray]:
    """Map the places in frames or clips that raise a score (Selvaraju et al., ICCV 2017, Sec. 3).

    Eq. 1 and 2: each channel of the layer is weighted by the mean over space (and time) of the
    score's gradient, and negative values of the sum are set to 0. The maps are upsampled linearly
    to the size of the input and divided by their largest value. If M frames give fewer scores (the
    segments of TSN and TSM), they are divided by the largest value of all frames of a score.

    No parameter, gradient or mode of the model is changed.

    Args:
        score: Maps ``inputs`` to scores [K], each from M / K consecutive inputs. Its networks
            should be in eval mode.
        inputs: Preprocessed frames [M, C, H, W] or clips [M, C, T, H, W].
        layer: A module that ``score`` runs, with one output [M, D, h, w] or [M, D, t, h, w].

    Returns:
        Maps float32 [M, H, W] or [M, T, H, W] in [0, 1], all 0 if no place raises the score, and
        the scores float32 [K].

    Raises:
        UserError: If captum is missing.
    """
    try:
        from captum.attr import LayerGradCam
    except ImportError as error:
        raise UserError("Grad-CAM needs captum; run: pip install 'mmssl_video[look]'") from error
    scores = []

    def keep_score(batch: Tensor) -> Tensor:
        scores.append(score(batch).float())
        return scores[-1]

    maps = LayerGradCam(keep_score, layer).attribute(inputs, relu_attributions=True).detach()
    mode = 'trilinear' if inputs.ndim == 5 else 'bilinear'
    maps = F.interpolate(maps.float(), size=inputs.shape[2:], mode=mode)[:, 0]
    highest = maps.reshape(len(scores[0]), -1).amax(dim=1)
    highest = highest.repeat_interleave(len(maps) // len(highest))
    maps = maps / highest.clamp_min(1e-12).view(-1, *[1] * (maps.ndim - 1))
    return maps.cpu().numpy(), scores[0].detach().cpu().numpy()


def feature_score(model: nn.Module, reference: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Score frames or clips by their features, without a class.

    Args:
        model: Has a ``backbone`` and a ``data_preprocessor``.
        reference: Features [M, D] or [D]; the score is the cosine similarity with them. Without
            it, the score is the norm of the feature.

    Returns:
        Callable: Maps M preprocessed frames or clips to scores [M].
    """

    def score(inputs: Tensor) -> Tensor:
        features = encode(model.backbone, inputs, model.data_preprocessor.format_shape).float()
        if reference is None:
            return features.norm(dim=-1)
        return F.cosine_similarity(features, reference, dim=-1)

    return score


def class_score(model: nn.Module, label: int) -> Callable[[Tensor], Tensor]:
    """Score the frames or clips of one video by the logit of a class.

    Args:
        model: MMAction2's ``Recognizer2D`` or ``Recognizer3D``, or a subclass.
        label: Number of the class.

    Returns:
        Callable: Maps M preprocessed frames or clips of a video to scores [K]: K = M for clips;
        K = 1 for frames, or M / num_segments if the backbone mixes segments (TSM).
    """
    return lambda inputs: _logits(model, inputs)[:, label]


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Compute scores of all classes [K, num_classes] for the frames or clips of one video."""
    # Not the model's own method: a subclass may run the backbone without gradients.
    recognizer = Recognizer2D if isinstance(model, Recognizer2D) else Recognizer3D
    return recognizer.extract_feat(model, inputs[None], stage='head')[0]


def find_layer(backbone: nn.Module, inputs: Tensor, name: str | None = None) -> str:
    """Find the layer for Grad-CAM.

    It is ``layer4`` (conv5), the last stage of a ResNet, if the backbone has it. Otherwise it is
    the last module with an output map that has the same number of channels as the feature. If there
    is none, as in a SlowFast with its feature from two pathways, it is the last module with the
    largest number of channels.

    Args:
        backbone: Runs once on ``inputs``.
        inputs: Preprocessed frames [M, C, H, W] or clips [M, C, T, H, W].
        name: Name of a layer in the backbone; it is checked.

    Returns:
        str: Name of the layer in the backbone, ``''`` for the backbone itself.

    Raises:
        UserError: If there is no layer with this name, or its output is no map.
    """
    modules = dict(backbone.named_modules())
    if name is not None and name not in modules:
        children = ', '.join(child for child, _ in backbone.named_children())
        raise UserError(
            f'`layer={name}`: {type(backbone).__name__} has no such layer; it has {children}'
        )
    maps: dict[str, int] = {}

    def keep_map(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == inputs.ndim and output[0, 0].numel() > 1:
            maps[name] = output.shape[1]

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=key: keep_map(name, output))
        for key, module in modules.items()
    ]
    try:
        with torch.no_grad():
            num_channels = run_backbone(backbone, inputs).shape[1]
    finally:
        for hook in hooks:
            hook.remove()
    if name is None and 'layer4' in maps:
        return 'layer4'
    if name in maps:
        return name
    if name is not None or not maps:
        layer = 'no layer' if name is None else f'`layer={name}`: this layer'
        raise UserError(
            f'{layer} of {type(backbone).__name__} outputs a map of several places; choose one '
            f'with `layer={list(maps)[-1] if maps else "NAME"}`'
        )
    if num_channels not in maps.values():
        num_channels = max(maps.values())
    return [key for key, channels in maps.items() if channels == num_channels][-1]


# -------------------------------------------------------------------------------------- a video


@dataclass
class CamRow:
    """Frames of one video with their maps.

    Attributes:
        title (str): File and, for a class, its name and score.
        images (np.ndarray): uint8 [L, H, W, 3], RGB, cropped by the pipeline.
        maps (np.ndarray): float32 [L, H, W] in [0, 1].
        captions (list[str]): Number of each frame, and its score if scores are comparable.
        layer (str): Name of the layer in the backbone.
    """

    title: str
    images: np.ndarray
    maps: np.ndarray
    captions: list[str]
    layer: str


def build_model(cfg: Config, checkpoint: str | None, with_head: bool, seed: int = 0) -> nn.Module:
    """Build a model for Grad-CAM: its backbone and, if requested, the head of a recognizer.

    Args:
        cfg: Config of pretraining or of an MMAction2 recognizer.
        checkpoint: As for :func:`~mmssl_video.evaluation.encoder.build_encoder`.
        with_head: Whether to load the ``cls_head`` too.
        seed: Seed of random weights.

    Raises:
        UserError: If the checkpoint's backbone or head does not fit the config's.
    """
    model = build_encoder(cfg, checkpoint, seed)
    if not with_head:
        return model
    if getattr(model, 'cls_head', None) is None or checkpoint is None:
        raise UserError(
            f'`target=class` needs a config with a cls_head and its checkpoint, not {cfg.filename} '
            f'and {checkpoint}; use `target=norm` or `target=similarity`'
        )
    fitted = fit_tensors(
        load_checkpoint_file(checkpoint),
        model.cls_head,
        'cls_head.',
        checkpoint,
        'use the config it was fine-tuned with, or `target=norm`',
    )
    model.cls_head.load_state_dict(fitted)
    return model


def look_at_video(
    model: nn.Module,
    pipeline: Sequence[dict],
    video: str | os.PathLike,
    target: str = 'norm',
    *,
    other: str | os.PathLike | None = None,
    label: int | None = None,
    class_names: Sequence[str] | None = None,
    layer: str | None = None,
) -> CamRow:
    """Read a video, compute the maps of the target, and choose frames to show.

    Args:
        model: From :func:`build_model`, or a trained one; it is in eval mode during the call.
        pipeline: From :func:`~mmssl_video.evaluation.loader.feature_pipeline`.
        video: A video file.
        target: ``'norm'``: the norm of the pooled feature of each frame or clip. ``'similarity'``:
            its cosine similarity with the feature of the frame or clip half the video away, or
            with the mean feature of ``other``. ``'class'``: the score of a class.
        other: Video for the similarity.
        label: Class of the score; default the predicted one.
        class_names: Name of each label; without it the title says ``class 3``.
        layer: Name of a layer in the backbone; default that of :func:`find_layer`.

    Returns:
        CamRow: Up to 8 frames: evenly spaced ones of M frames; or evenly spaced frames of each of M
        clips, the middle one if there is only room for one.

    Raises:
        UserError: If a video cannot be read, or the target cannot be computed.
    """
    if target not in TARGETS:
        raise UserError(f'the target is {target!r}; choose one of {", ".join(TARGETS)}')
    images, inputs, numbers = _read_video(model, pipeline, video)
    format_shape = model.data_preprocessor.format_shape
    title = Path(video).name
    with _eval_mode(model):
        layer = find_layer(model.backbone, inputs, layer)
        if target == 'class':
            with torch.no_grad():
                probabilities = _logits(model, inputs).softmax(dim=-1).mean(dim=0)
            if label is None:
                label = int(probabilities.argmax())
            elif not 0 <= label < len(probabilities):
                raise UserError(
                    f'there is no class {label}; classes are 0 … {len(probabilities) - 1}'
                )
            name = class_name(label, class_names)
            title += f' · {name}, {100 * probabilities[label]:.0f} %'
            score = class_score(model, label)
        elif target == 'norm':
            score = feature_score(model)
        else:
            with torch.no_grad():
                if other is not None:
                    others = _read_video(model, pipeline, other)[1]
                    reference = encode(model.backbone, others, format_shape).float().mean(dim=0)
                    title += f' · similar to {Path(other).name}'
                elif len(inputs) > 1:
                    half = len(inputs) // 2
                    features = encode(model.backbone, inputs, format_shape).float()
                    reference = features.roll(-half, dims=0)
                else:
                    raise UserError(
                        f'{video}: the pipeline gives a single view, but similarity needs two; '
                        'set `num_frames=2` or more, or `other=VIDEO`'
                    )
            score = feature_score(model, reference)
        maps, scores = grad_cam(score, inputs, model.backbone.get_submodule(layer))

    # As clips [M, T, ...], for frames too.
    images = images.reshape(*numbers.shape, *images.shape[-3:])
    maps = maps.reshape(*numbers.shape, *maps.shape[-2:])
    num_clips, clip_len = numbers.shape
    if num_clips > MAX_COLUMNS:
        clips = np.linspace(0, num_clips - 1, MAX_COLUMNS).round().astype(int)
    else:
        clips = np.arange(num_clips)
    per_clip = min(MAX_COLUMNS // len(clips), clip_len)
    # The middle frames of `per_clip` equal parts.
    frames = (2 * np.arange(per_clip) + 1) * clip_len // (2 * per_clip)
    chosen = [(int(clip), int(frame)) for clip in clips for frame in frames]
    captions = []
    for clip, frame in chosen:
        caption = f'frame {numbers[clip, frame]}'
        if target == 'similarity':
            if other is None:
                away = numbers[(clip + half) % num_clips, frame]
                caption += f' ~ {away}'
            caption += f': {scores[clip]:.2f}'
        captions.append(caption)
    where = tuple(np.array(chosen).T)
    return CamRow(title, images[where], maps[where], captions, layer)


def _read_video(
    model: nn.Module, pipeline: Sequence[dict], video: str | os.PathLike
) -> tuple[np.ndarray, Tensor, np.ndarray]:
    """Read the frames or clips of a video.

    Returns:
        Images uint8 [M, H, W, 3] or [M, T, H, W, 3], the same as input of the model, and their
        frame numbers int64 [M, T].
    """
    require_file(video, 'no such video file')
    results = dict(filename=str(video), label=-1, start_index=0, modality='RGB')
    numbers = None
    try:
        for transform in Compose(list(pipeline)).transforms:
            results = transform(results)
            numbers = results.get('frame_inds', numbers)
    except Exception as error:
        raise bad_video(error, str(video)) or error from error
    images = results['inputs']  # [M, C, H, W] or [M, C, T, H, W]
    batch = dict(inputs=[images], data_samples=[results['data_samples']])
    inputs = model.data_preprocessor(batch, training=False)['inputs'][0]
    num_segments = getattr(model.backbone, 'num_segments', None)
    if num_segments and len(inputs) % num_segments:
        raise UserError(
            f'{video}: {len(inputs)} frames are not a multiple of the {num_segments} segments of '
            f'the backbone; set `num_frames={num_segments}`'
        )
    clip_len = images.shape[2] if images.ndim == 5 else 1
    # Each crop repeats the frames of all clips.
    numbers = np.resize(numbers, (len(images), clip_len))
    return images.movedim(1, -1).numpy(), inputs, numbers


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode during the block; afterwards each module has its old mode."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


# -------------------------------------------------------------------------------------- pictures


def overlay(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Overlay heat maps on frames.

    Args:
        images: uint8 [..., H, W, 3], RGB.
        maps: [..., H, W] in [0, 1].

    Returns:
        np.ndarray: uint8 [..., H, W, 3]: half the colour of the map, half the frame in grey, so
        that all colours are those of the map.
    """
    colors = matplotlib.colormaps[COLORMAP](maps)[..., :3] * 255
    grey = images @ np.array([0.299, 0.587, 0.114])
    return np.rint(0.5 * colors + 0.5 * grey[..., None]).astype(np.uint8)


def grad_cam_sheet(
    path: str | os.PathLike, rows: Sequence[CamRow], title: str = 'Grad-CAM', dpi: int = 150
) -> None:
    """Write a picture: for each video its frames, and below them the frames with their maps.

    Args:
        path: The file; its suffix names the format (``.png``, ``.pdf``, ``.svg``).
        rows: One or more, from :func:`look_at_video`.
        title: Title of the picture.
        dpi: Pixels per inch; a frame is 1.4 inches wide.

    Raises:
        UserError: If the file cannot be written.
    """
    columns = max(len(row.images) for row in rows)
    heights = [2 * TILE * row.images.shape[1] / row.images.shape[2] + 0.45 for row in rows]
    width, side_width, head = TILE * columns, 0.7, 0.35
    figure = Figure(figsize=(width + side_width, head + sum(heights)), layout='constrained')
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.02, hspace=0, wspace=0)
    top, body = figure.subfigures(2, 1, height_ratios=[head, sum(heights)])
    top.text(0.05 / (width + side_width), 0.45, title, size=10, weight='bold', parse_math=False)
    body, side = body.subfigures(1, 2, width_ratios=[width, side_width])
    parts = body.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        part.suptitle(row.title, size=8.5, x=0.05 / width, ha='left', parse_math=False)
        axes = part.subplots(2, columns, squeeze=False)
        laid = overlay(row.images, row.maps)
        for each in axes.flat:
            each.set_axis_off()
        # Put the two pictures of a frame close together.
        for line, anchor in zip(axes, 'SN', strict=True):
            for each in line:
                each.set_anchor(anchor)
        for column, caption in enumerate(row.captions):
            axes[0, column].imshow(row.images[column], interpolation='bilinear')
            axes[1, column].imshow(laid[column], interpolation='bilinear')
            axes[0, column].set_title(caption, size=7, pad=3)
    bar_height = min(1.6 / sum(heights), 0.8)
    bar = side.add_axes((0.1, 0.5 - bar_height / 2, 0.14, bar_height))
    scale = side.colorbar(ScalarMappable(Normalize(0, 1), COLORMAP), cax=bar)
    scale.set_ticks([0, 1], labels=['none', 'most'], size=7)
    scale.ax.tick_params(length=0)
    scale.outline.set_visible(False)
    save_figure(path, figure, dpi)
