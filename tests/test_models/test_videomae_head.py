"""Masked prediction: masks, visible tokens, target and loss, against loops and closed forms."""

import itertools
import math
from functools import partial

import pytest
import torch
from head_helpers import refused
from mmaction.models import VisionTransformer
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from scipy.stats import chisquare
from torch import nn

from mmssl_video.models.heads.videomae import complement, normalize_patches, take

SIDE, FRAMES, PATCH = 32, 4, 8  # 2 x 4 x 4 tokens
GRID = (2, 4, 4)
BACKBONE = dict(
    type='MaskedVisionTransformer',
    img_size=SIDE,
    patch_size=PATCH,
    num_frames=FRAMES,
    embed_dims=24,
    depth=2,
    num_heads=3,
    use_mean_pooling=False,
    return_feat_map=True,
)
HEAD = dict(
    type='VideoMAEHead',
    in_channels=24,
    mask=dict(type='TubeMask', ratio=0.75),
    decoder_channels=12,
    depth=1,
    num_heads=2,
    patch_size=PATCH,
)
PREPROCESSOR = dict(
    type='mmaction.ActionDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, format_shape='NCTHW'
)


def build(dtype=torch.float64, other_heads=(), **head):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='SSLRecognizer',
            backbone=BACKBONE,
            heads=dict(other_heads, mae={**HEAD, **head}),
            data_preprocessor=PREPROCESSOR,
        )
    )
    model.init_weights()
    return model.to(dtype)


def clips(*leading, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*leading, 3, FRAMES, SIDE, SIDE, generator=generator, dtype=dtype)


# ------------------------------------------------------------------------------------------ masks


def draw(name, ratio, grid, shape=(3, 2)):
    return MODELS.build(dict(type=name, ratio=ratio)).draw(shape, grid, torch.device('cpu'))


@pytest.mark.parametrize('grid', list(itertools.product((1, 2, 3), (2, 3), (3, 4))))
def test_masks_leave_the_tokens_that_they_should(grid):
    time, height, width = grid
    for ratio in (0.5, 0.75, 0.8):
        tube = draw('TubeMask', ratio, grid)
        num_places = height * width - int(ratio * height * width)
        assert tube.shape == (3, 2, time * num_places)
        at_times = tube.unflatten(2, (time, num_places))
        starts = height * width * torch.arange(time)[:, None]
        assert torch.equal(at_times - starts, at_times[:, :, :1].expand_as(at_times))
        anywhere = draw('SpaceTimeMask', ratio, grid)
        num_tokens = math.prod(grid)
        assert anywhere.shape == (3, 2, num_tokens - int(ratio * num_tokens))
        for visible in (tube, anywhere):
            assert (visible.diff(dim=-1) > 0).all()
            assert visible.min() >= 0 and visible.max() < num_tokens


def test_numbers_of_the_paper():
    assert draw('TubeMask', 0.9, (8, 14, 14)).shape[-1] == 160


@pytest.mark.parametrize(('name', 'grid'), [('TubeMask', (2, 2, 2)), ('SpaceTimeMask', (2, 2, 1))])
def test_every_subset_of_places_is_as_likely(name, grid):
    torch.manual_seed(0)
    visible = draw(name, 0.5, grid, shape=(3000, 2)).flatten(0, 1)
    places = visible[:, :2]  # of four; a tube's at the first time
    subsets = list(itertools.combinations(range(4), 2))
    counts = [int((places == torch.tensor(one)).all(dim=1).sum()) for one in subsets]
    assert sum(counts) == 6000
    assert chisquare(counts).pvalue > 1e-3


def test_masked_tokens_are_the_others():
    visible = draw('SpaceTimeMask', 0.6, GRID).flatten(0, 1)
    for seen, hidden in zip(visible, complement(visible, 32), strict=True):
        assert hidden.tolist() == sorted(set(range(32)) - set(seen.tolist()))


# -------------------------------------------------------------------------------------- backbone


@pytest.mark.parametrize('size', [SIDE, 48])
@pytest.mark.parametrize('pooled', [False, True])
def test_without_a_mask_it_is_the_parent(size, pooled):
    settings = {**BACKBONE, 'use_mean_pooling': pooled, 'return_feat_map': not pooled}
    torch.manual_seed(0)
    ours = MODELS.build(settings)
    ours.init_weights()
    theirs = VisionTransformer(**{k: v for k, v in settings.items() if k != 'type'})
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(2, 3, FRAMES, size, size)
    assert torch.equal(ours(inputs), theirs(inputs))


@pytest.mark.parametrize('size', [SIDE, 48])
def test_visible_tokens_are_those_of_a_transformer_without_the_others(size):
    torch.manual_seed(0)
    backbone = MODELS.build(BACKBONE).double()
    inputs = torch.randn(2, 3, FRAMES, size, size, dtype=torch.float64)
    num_tokens = 2 * (size // PATCH) ** 2
    everything = torch.arange(num_tokens).expand(2, -1)
    whole = backbone(inputs).flatten(2).mT
    torch.testing.assert_close(backbone.forward_visible(inputs, everything), whole)

    # The parent's own forward, whose blocks are given the visible tokens alone.
    visible = torch.stack([torch.randperm(num_tokens)[:9].sort().values for _ in range(2)])
    backbone.pos_drop.register_forward_hook(
        lambda module, args, tokens: (
            torch.stack([row[seen] for row, seen in zip(tokens, visible, strict=True)])
            if tokens.shape[1] == num_tokens
            else tokens
        )
    )
    found = []
    backbone.norm.register_forward_hook(lambda module, args, tokens: found.append(tokens))
    backbone.return_feat_map = False
    backbone(inputs)
    torch.testing.assert_close(backbone.forward_visible(inputs, visible), found[0])


def test_visible_tokens_need_the_norm_of_every_token():
    backbone = MODELS.build({k: v for k, v in BACKBONE.items() if k != 'use_mean_pooling'})
    with refused('^model.backbone.use_mean_pooling is True,.* set use_mean_pooling=False$'):
        backbone(torch.zeros(1, 3, FRAMES, SIDE, SIDE), torch.arange(4)[None])


def test_linear_layers_start_as_in_the_paper():
    model = build(torch.float32)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            bound = math.sqrt(6 / sum(module.weight.shape))
            assert 0.9 * bound < module.weight.abs().max() <= bound, name
            assert module.bias is None or not module.bias.any(), name
    assert 0 < model.heads['mae'].mask_token.std() < 0.04


# Encoder: width, depth, heads; decoder: width, depth, heads.
SIZES = dict(
    S=((384, 12, 6), (192, 4, 3)),
    B=((768, 12, 12), (384, 4, 6)),
    L=((1024, 24, 16), (512, 12, 8)),
    H=((1280, 32, 16), (640, 12, 8)),
)


@pytest.mark.parametrize('size', SIZES)
def test_numbers_of_parameters(size, monkeypatch):
    (width, depth, heads), (narrow, blocks, narrow_heads) = SIZES[size]
    # The parent asks for the numbers of stochastic depth.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    with torch.device('meta'):
        encoder = MODELS.build(
            dict(
                type='MaskedVisionTransformer',
                embed_dims=width,
                depth=depth,
                num_heads=heads,
                use_mean_pooling=False,
            )
        )
        decoder = MODELS.build(
            dict(
                type='VideoMAEHead',
                in_channels=width,
                mask=dict(type='TubeMask'),
                decoder_channels=narrow,
                depth=blocks,
                num_heads=narrow_heads,
            )
        )

    def transformer(width, depth):
        """Attention 4 D^2, with biases of queries, values and output; MLP 8 D^2; norms."""
        return depth * (12 * width**2 + 3 * width + 5 * width + 4 * width) + 2 * width

    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(encoder) == transformer(width, depth) + 1536 * width + width
    assert count(decoder) == (
        transformer(narrow, blocks) + width * narrow + narrow + 1536 * narrow + 1536
    )


# ------------------------------------------------------------------------------------------ loss


def test_target_is_what_a_loop_makes():
    head = build().heads['mae']
    videos = clips(1)
    found = normalize_patches(head.cut(videos))
    for video, t, y, x in itertools.product(range(1), *map(range, GRID)):
        token = (t * GRID[1] + y) * GRID[2] + x
        for colour in range(3):
            values = [
                videos[video, colour, 2 * t + dt, PATCH * y + dy, PATCH * x + dx].item()
                for dt, dy, dx in itertools.product(range(2), range(PATCH), range(PATCH))
            ]
            mean = sum(values) / 128
            deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 127)
            expected = [(v - mean) / (deviation + 1e-6) for v in values]
            assert found[video, token, :, colour].tolist() == pytest.approx(expected)


@pytest.mark.parametrize('name', ['TubeMask', 'SpaceTimeMask'])
def test_loss_is_the_mean_over_masked_tokens_of_all_masks(name):
    model = build(mask=dict(type=name, ratio=0.75), num_masks=2, loss_weight=0.5)
    head, inputs = model.heads['mae'], clips(2, 1, 1)
    passes, decode = [], head.decode

    def note(*args):
        passes.append((args[2], decode(*args)))
        return passes[-1][1]

    head.decode = note
    outputs = model.loss(inputs, [])
    target = normalize_patches(head.cut(inputs[:, 0, 0]))
    errors = torch.zeros(3, dtype=torch.float64)
    number = 0
    assert len(passes) == 2 and not torch.equal(passes[0][0], passes[1][0])
    for masked, predicted in passes:
        assert masked.shape == (2, 24)
        for video, token in itertools.product(range(2), range(24)):
            truth = target[video, masked[video, token]]
            errors += (predicted[video, token] - truth).square().sum(dim=0)
            number += len(truth)
    assert outputs['loss_mae'].item() == pytest.approx(0.5 * errors.sum().item() / 3 / number)
    for colour, error in zip(('red', 'green', 'blue'), errors / number, strict=True):
        assert outputs[f'mae_{colour}'].item() == pytest.approx(error.item())
    assert outputs['mae_masked'].item() == 75
    outputs['loss_mae'].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_prediction_of_nothing_is_at_chance():
    model = build(torch.float64)
    head = model.heads['mae']
    nn.init.zeros_(head.to_pixels.weight)
    loss = model.loss(clips(2, 1, 1), [])['loss_mae'].item()
    assert loss == pytest.approx(127 / 128, abs=1e-5)  # eps
    assert head.chance_level(2) == 127 / 128
    assert MODELS.build(HEAD | dict(patch_size=16)).chance_level(1) == 511 / 512


def test_an_affine_map_of_a_colour_changes_no_target():
    head = build().heads['mae']
    videos = clips(2)
    factor = torch.tensor([3.0, 0.5, 7.0]).double()[:, None, None, None]
    moved = videos * factor + torch.tensor([1.0, -2.0, 5.0]).double()[:, None, None, None]
    one, other = (normalize_patches(head.cut(one)) for one in (videos, moved))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_no_masked_pixel_is_seen():
    model = build()
    head, inputs = model.heads['mae'], clips(2, 1).requires_grad_()
    (visible,) = head.draw_visible(inputs)
    visible = visible[:, 0]
    tokens = model.backbone.forward_visible(inputs[:, 0], visible)
    masked = complement(visible, 32)
    head.decode(tokens, visible, masked).square().sum().backward()
    gradient = head.cut(inputs.grad[:, 0])
    assert not take(gradient, masked).any()
    assert take(gradient, visible).abs().amax(dim=(2, 3)).min() > 0


def test_order_of_visible_tokens_does_not_matter():
    """Positions say where a token is, not its place in the row."""
    model = build()
    head, inputs = model.heads['mae'], clips(2)
    visible = draw('SpaceTimeMask', 0.75, GRID, (2, 1))[:, 0]
    masked = complement(visible, 32)
    one, other = (
        head.decode(model.backbone.forward_visible(inputs, order), order, masked)
        for order in (visible, visible.flip(1))
    )
    torch.testing.assert_close(one, other)


def test_bfloat16_is_finite_and_near():
    model = build(torch.float32)
    inputs = clips(4, 1, 1, dtype=torch.float32)
    inputs[0] = 0.5  # without variance
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            loss = model.loss(inputs, [])['loss_mae']
        loss.backward()
        assert loss.dtype == torch.float32
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_one_pass_a_mask_beside_a_head_that_sees_everything():
    pace = dict(type='TransformationHead', in_channels=24, num_classes=4, label='pace')
    model = build(torch.float32, dict(pace=pace), num_masks=3)
    seen = []
    model.backbone.blocks[0].register_forward_hook(lambda m, args, out: seen.append(out.shape[1]))
    samples = [ActionDataSample(pace=0) for _ in range(2)]
    outputs = model.loss(clips(2, 1, 1, dtype=torch.float32), samples)
    assert sorted(seen) == [8, 8, 8, 32]
    assert {'loss_mae', 'loss_pace'} <= outputs.keys()


def test_mistakes_are_named():
    for changes, message in (
        (dict(num_masks=0), 'num_masks is 0; set it to 1 or more'),
        (dict(num_heads=5), 'num_heads is 5, which does not divide'),
        (dict(mask=dict(type='TubeMask', ratio=1.0)), 'TubeMask.ratio is 1.0'),
    ):
        with refused(message):
            MODELS.build({**HEAD, **changes})
    for frames, size, message in (
        (6, 32, 'model.backbone.num_frames is 4, but the clips have 6 frames'),
        (4, 36, 'model.backbone.patch_size is 8, but the pictures are 36 x 36'),
    ):
        with refused(message):
            MODELS.build(BACKBONE)(torch.zeros(1, 3, frames, size, size))
    head = MODELS.build({**HEAD, 'patch_size': 12})
    with refused('tubelet_size 2 and patch_size 12, which do not divide'):
        head.draw_visible(clips(1, 1))


def test_head_and_backbone_fit_together():
    model = build()
    for key, own in (('patch_size', PATCH), ('tubelet_size', 2)):
        kept = getattr(model.heads['mae'], key)
        setattr(model.heads['mae'], key, 1)
        with refused(rf'mae\.{key} is 1, but model\.backbone\.{key} is {own}'):
            model.loss(clips(1, 1, 1), [])
        setattr(model.heads['mae'], key, kept)
    model.backbone = nn.Identity()
    with refused('mae masks tokens, but a Identity sees all of them; use'):
        model.loss(clips(1, 1, 1), [])
