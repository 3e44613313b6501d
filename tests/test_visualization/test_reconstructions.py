"""Reconstructions: each row of a sheet holds the pixels that its heading says."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_stages import draw_reconstructions
from mmaction.registry import MODELS
from mmengine.config import Config
from PIL import Image
from tiny_vclr import REPOSITORY, tiny_config

from mmssl_video.models.heads.videomae import normalize_patches
from mmssl_video.video import encode_video
from mmssl_video.visualization.browse import (
    FedClip,
    FedSample,
    build_dataset,
    draw_sample,
    read_sample,
)
from mmssl_video.visualization.reconstructions import (
    MASKED,
    PREDICTED,
    ROWS,
    WHOLE,
    WITH_TRUTH,
    build_model,
    masked_head,
    reconstruct,
)

CONFIG = 'videomae/videomae_vit-t_1x16-8x2x1-100e_folder-rgb.py'
GRID, TUBELET, PATCH = (4, 4, 4), 2, 16  # of the small recipe


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Two videos, the small recipe with a smaller network, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp('masked')
    rng = np.random.default_rng(0)
    for number in range(2):
        still = rng.integers(0, 256, (1, 12, 16, 3)).repeat(8, axis=1).repeat(8, axis=2)
        encode_video(folder / f'v{number}.mp4', still.repeat(20, axis=0).astype(np.uint8))
    cfg = Config.fromfile(REPOSITORY / 'configs' / CONFIG)
    cfg.model.backbone.update(embed_dims=24, depth=1, num_heads=2)
    cfg.model.heads.videomae.update(in_channels=24, decoder_channels=12, depth=1, num_heads=2)
    cfg.train_dataloader.dataset.data_prefix.video = str(folder)
    cfg.dump(folder / 'c.py')
    torch.manual_seed(3)
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state), folder / 'x.pth')
    model = build_model(Config.fromfile(folder / 'c.py'), str(folder / 'x.pth'))
    return folder, model, read_sample(build_dataset(cfg), 1)


def tokens_of(frames):
    """By time, row and column, the pixels uint8 [t, h, w, 3] of a token."""
    sizes = TUBELET, PATCH, PATCH
    for place in itertools.product(*map(range, GRID)):
        cut = tuple(slice(n * size, (n + 1) * size) for n, size in zip(place, sizes, strict=True))
        yield place, frames[cut]


def test_rows_have_the_pixels_that_they_should(run):
    _, model, sample = run
    head = model.heads['videomae']
    predictions, decode = [], head.decode
    head.decode = lambda *args: predictions.append((args[2], decode(*args))) or predictions[-1][1]
    try:
        made = reconstruct(model, sample, seed=5)
    finally:
        del head.decode
    ((clip,),) = made.views
    ((masked, predicted),) = predictions
    hidden = masked[0].tolist()
    assert len(hidden) == int(64 * head.mask.ratio)
    assert list(clip.made) == list(ROWS)
    assert np.array_equal(clip.made[WHOLE], clip.fed)

    truth = [pixels.reshape(-1, 3).astype(float) for _, pixels in tokens_of(clip.fed)]
    seen = [token for number, token in enumerate(truth) if number not in hidden]
    mean = np.mean([token.mean(axis=0) for token in seen], axis=0)
    contrast = np.mean([token.std(axis=0, ddof=1) for token in seen], axis=0)
    errors = []
    for name in (MASKED, PREDICTED, WITH_TRUTH):
        for number, (_, pixels) in enumerate(tokens_of(clip.made[name])):
            true, found = truth[number], pixels.reshape(-1, 3).astype(float)
            if number not in hidden:
                assert np.array_equal(found, true), name
                continue
            values = predicted[0, hidden.index(number)].numpy()
            expected = {
                MASKED: np.full_like(true, 128),
                PREDICTED: mean + contrast * values,
                WITH_TRUTH: true.mean(axis=0) + true.std(axis=0, ddof=1) * values,
            }[name]
            np.testing.assert_allclose(found, expected.clip(0, 255), atol=0.51)
            target = (true - true.mean(axis=0)) / (true.std(axis=0, ddof=1) + 1e-6)
            errors.append(np.square(values - target).mean())
    assert made.facts == [
        f'SpaceTimeMask, {100 * len(hidden) / len(truth):.0f} % of the tokens hidden',
        f'mean squared error {np.mean(errors):.2f}, at chance {511 / 512:.2f}',
    ]


def test_a_perfect_prediction_with_the_true_statistics_is_the_clip(run):
    _, model, sample = run
    head = model.heads['videomae']
    clip = sample.views[0][0]
    pixels = torch.from_numpy(clip.fed).permute(3, 0, 1, 2)[None].float()
    patches = head.cut(pixels)
    assert torch.equal(head.join(patches, GRID), pixels)
    head.decode = lambda tokens, visible, masked: normalize_patches(patches)[:, masked[0]]
    try:
        made = reconstruct(model, sample)
    finally:
        del head.decode
    ((found,),) = made.views
    assert np.array_equal(found.made[WITH_TRUTH], clip.fed)
    assert not np.array_equal(found.made[PREDICTED], clip.fed)
    assert 'mean squared error 0.00' in made.facts[1]


def test_masks_follow_the_seed(run):
    _, model, sample = run
    state = torch.get_rng_state()
    one, again, other = (
        reconstruct(model, sample, seed).views[0][0].made[MASKED] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_views_of_the_head_are_drawn(run):
    _, model, sample = run
    blank = FedClip(np.arange(8), [], np.zeros((8, 64, 64, 3), np.uint8))
    several = FedSample('x', [], [[blank], [sample.views[0][0]]])
    head = model.heads['videomae']
    head.online_views = (1,)
    try:
        ((clip,),) = reconstruct(model, several).views
    finally:
        head.online_views = (0,)
    assert np.array_equal(clip.fed, sample.views[0][0].fed)


@pytest.fixture
def run_tool(tool_runner, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tool_runner('reconstructions')


def test_tool_writes_the_same_pictures_again(run, run_tool):
    folder, *_ = run
    given = folder / 'c.py', folder / 'x.pth', '--num', 2, '--out'
    code, output = run_tool(*given, 'all.png')
    assert code == 0 and output.out == 'all.png: 2 of 2 videos\n', output.err
    run_tool(*given, 'folder')
    names = ['000000_v0.png', '000001_v1.png']
    assert sorted(path.name for path in Path('folder').iterdir()) == names
    run_tool(*given, 'other.png', '--seed', 1)
    together = np.concatenate([np.asarray(Image.open(Path('folder', name))) for name in names])
    assert np.array_equal(np.asarray(Image.open('all.png')), together)
    assert not np.array_equal(np.asarray(Image.open('other.png')), together)


def test_tool_says_in_one_line_what_is_wrong(run, run_tool, tmp_path):
    folder, *_ = run
    vclr = tiny_config(folder, folder, 'vclr')
    vclr.dump(tmp_path / 'vclr.py')
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'other.pth')
    for arguments, message in (
        (('absent.py', 'x.pth', '--out', 'x'), 'absent.py: no such config file'),
        (('vclr.py', 'x.pth', '--out', 'x.pdf'), 'x.pdf: a file ends in .png, .jpg'),
        ((folder / 'c.py', 'absent.pth', '--out', 'x'), 'absent.pth: no such checkpoint'),
        (('vclr.py', folder / 'x.pth', '--out', 'x'), 'this config has no VideoMAEHead'),
        ((folder / 'c.py', 'other.pth', '--out', 'x'), 'a checkpoint of the same pretraining'),
    ):
        code, output = run_tool(*arguments)
        assert code == 2 and message in output.err and output.err.count('\n') == 1


def test_demo_shows_four_videos_of_its_list(run, tmp_path):
    folder, model, _ = run
    cfg = Config.fromfile(folder / 'c.py')
    path = draw_reconstructions(cfg, folder / 'x.pth', tmp_path, 2).path
    dataset = build_dataset(cfg)
    samples = [reconstruct(model, read_sample(dataset, n, 2), 2 + n) for n in (0, 0, 1, 1)]
    expected = np.concatenate([draw_sample(sample, ROWS) for sample in samples])
    assert np.array_equal(np.asarray(Image.open(path)), expected)


def test_other_models_have_no_masked_head():
    assert masked_head(torch.nn.Linear(1, 1)) is None
