"""The accuracy of a model in its own task, on videos of a list."""

import copy

import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from tiny_vclr import CHANNELS, build_tiny, tiny_config, write_videos

from mmssl_video.evaluation.pretext import pretext_accuracy

ROTATION = dict(
    type='TransformationHead', in_channels=CHANNELS, num_classes=4, label='rotation', dropout=0.5
)


@pytest.fixture(scope='module')
def setting(tmp_path_factory):
    """Model, config, list and folder: five videos in batches of two."""
    root = tmp_path_factory.mktemp('videos')
    write_videos(root, 5)
    (root / 'list.txt').write_text(''.join(f'video_{n}.mp4\n' for n in range(5)))
    cfg = tiny_config('', '', 'pretext')
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.dataset.pipeline = [
        *cfg.train_pipeline[:4],
        dict(type='ClipRotation'),
        cfg.train_pipeline[4],
        dict(type='PackActionInputs', algorithm_keys=('rotation',)),
    ]
    model = build_tiny(backbone=dict(type='TinyBackbone', norm=True), queue_size=12)
    model.heads['rotation'] = MODELS.build(ROTATION)
    return model, cfg, str(root / 'list.txt'), str(root)


def by_hand(model, cfg, ann_file, root, rounds, seed):
    """Percent right of two batches of two in each round; the fifth video is left out."""
    model = copy.deepcopy(model).eval()
    settings = cfg.train_dataloader.dataset.copy()
    settings.update(ann_file=ann_file, data_prefix=dict(video=root))
    dataset = DATASETS.build(settings)
    right = []
    for epoch in range(rounds):
        dataset.set_epoch(seed, epoch)
        for videos in ((0, 1), (2, 3)):
            batch = model.data_preprocessor(pseudo_collate([dataset[v] for v in videos]))
            features = model.extract_feat(batch['inputs'])[:, 0].mean(dim=1)
            answers = model.heads['rotation'].classifier(features).argmax(dim=1).tolist()
            labels = [sample.rotation for sample in batch['data_samples']]
            right += [answer == label for answer, label in zip(answers, labels, strict=True)]
    return 100 * sum(right) / len(right)


@pytest.mark.parametrize(('rounds', 'seed'), [(1, 0), (4, 1)])
def test_accuracy_is_that_of_a_loop(setting, rounds, seed):
    accuracy, chance = pretext_accuracy(*setting, rounds=rounds, seed=seed)['rotation']
    assert accuracy == pytest.approx(by_hand(*setting, rounds, seed))
    assert chance == 25


def test_it_repeats_itself_and_leaves_model_and_random_numbers_alone(setting):
    model, *_ = setting
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(0)
    first = pretext_accuracy(*setting)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert pretext_accuracy(*setting) == first
    torch.manual_seed(0)
    assert torch.rand(1) == drawn
    assert model.training
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    # Every head that tells an accuracy has its chance: of 12 keys in a queue, of 3 and 4 classes.
    chances = {name: chance for name, (_, chance) in first.items()}
    assert chances == pytest.approx(
        dict(inter=100 / 13, intra=100 / 3, video=100 / 13, order=25, rotation=25)
    )
