"""Measure how well a model solves its pretext task on videos that it was not trained on."""

from copy import deepcopy
from statistics import mean

import torch
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmssl_video.models.recognizers import SSLRecognizer


@torch.no_grad()
def pretext_accuracy(
    model: SSLRecognizer, cfg: Config, ann_file: str, data_root: str, rounds: int = 1, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Measure the accuracy of each head in evaluation mode, on views drawn as in training.

    Args:
        model: The trained model, which is not changed.
        cfg: Its config, with the pipeline and the batch size in ``train_dataloader``. Videos that
            do not fill a batch are left out.
        ann_file: List of the videos.
        data_root: Folder that it is relative to.
        rounds: Number of draws from each video.
        seed: Seed of the draws.

    Returns:
        By head, for those that log ``acc``: the accuracy and its chance level, in percent. A queue
        is filled with these videos, and chance is for a full queue.

    Raises:
        BadVideoError: A video cannot be read.
    """
    dataset_cfg = deepcopy(cfg.train_dataloader.dataset)
    # In test mode, an error does not advise to train without the video.
    source = dict(ann_file=ann_file, data_prefix=dict(video=data_root))
    dataset_cfg.update(**source, bad_videos='raise', test_mode=True)
    dataset = DATASETS.build(dataset_cfg)
    batch_size = cfg.train_dataloader.batch_size
    model = deepcopy(model).eval()
    logged: dict[str, list[float]] = {name: [] for name in model.heads}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for epoch in range(rounds):
            dataset.set_epoch(seed, epoch)
            for start in range(0, len(dataset) - batch_size + 1, batch_size):
                samples = [dataset[index] for index in range(start, start + batch_size)]
                batch = model.data_preprocessor(pseudo_collate(samples), training=True)
                outputs = model(**batch, mode='loss')
                for name, values in logged.items():
                    if f'{name}_acc' in outputs:
                        values.append(outputs[f'{name}_acc'].item())
    return {
        name: (mean(values), model.heads[name].chance_accuracy(batch_size))
        for name, values in logged.items()
        if values
    }
