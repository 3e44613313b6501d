"""Faults of MMAction2, with references and the affected versions.

- 1: ``import mmaction.models`` fails: the wheel lacks ``localizers/drn``. mmaction2 issue 2714;
  mmaction2 1.2.0 from PyPI.
- 6: ``ResNetTSM(pretrained=None)`` fails without ``pretrained2d=False``. mmaction2 1.2.0.
- 10: Top-k accuracy cannot read bfloat16 scores. mmaction2 1.2.0, BaseHead.
- 11: ``ANetMetric`` scores only the first process's videos, loses videos of a batch, changes its
  config, and fails without proposals, actions or a file. mmaction2 1.2.0, anet_metric.py.
- 26: BMN fails on videos without an action, and its loss is NaN for a batch whose actions are too
  short for its proposals. mmaction2 1.2.0, GenerateLocalizationLabels and BMNLoss.
- 28: ``Flip`` writes into its input frames, which two views may share. mmaction2 1.2.0.
- 29: ``VisualizationHook`` passes ``show``, but ``ActionVisualizer`` calls it ``show_frames``. Both
  expect other names of labels, and one clip of a video. mmaction2 1.2.0.
"""

import copy
import importlib.util
import os
import sys
import types
from importlib.machinery import PathFinder

import numpy as np
import torch

from mmssl_video.errors import UserError

from .replace import replace


# 1 ------------------------------------------------------------------------------------------
def stub_missing_drn():
    """Fault 1: add the ``drn.drn`` module that the wheel's ``mmaction.models.localizers`` lacks.

    A source installation has the module; then this does nothing.
    """
    name = 'mmaction.models.localizers.drn'
    package = importlib.util.find_spec('mmaction')
    folders = [os.path.join(p, 'models', 'localizers') for p in package.submodule_search_locations]
    if name in sys.modules or PathFinder.find_spec('drn', folders):
        return

    class DRN:
        """Replaces MMAction2's DRN localizer; building one is an error."""

        def __init__(self, *args, **kwargs):
            raise UserError('DRN is not in the mmaction2 wheel; install mmaction2 from source')

    stub, stub_drn = types.ModuleType(name), types.ModuleType(f'{name}.drn')
    stub.__path__, stub.drn, stub_drn.DRN = [], stub_drn, DRN
    sys.modules.update({name: stub, f'{name}.drn': stub_drn})


# 6 ------------------------------------------------------------------------------------------
def let_tsm_start_from_scratch():
    """Fault 6: ``pretrained=None`` means random weights for any ``pretrained2d``."""
    from mmaction.models import ResNetTSM

    def without_weights(upstream):
        def init_weights(self):
            self.pretrained2d = self.pretrained2d and bool(self.pretrained)
            return upstream(self)

        return init_weights

    replace(ResNetTSM, 'init_weights', without_weights)


# 10 -----------------------------------------------------------------------------------------
def score_in_float32():
    """Fault 10: MMAction2's classification heads take bfloat16 scores."""
    from mmaction.models.heads import BaseHead

    def cast(upstream):
        def loss_by_feat(self, cls_scores, data_samples):
            if cls_scores.dtype == torch.bfloat16:  # numpy counts top-k and has no such type
                cls_scores = cls_scores.float()
            return upstream(self, cls_scores, data_samples)

        return loss_by_feat

    replace(BaseHead, 'loss_by_feat', cast)


# 11 -----------------------------------------------------------------------------------------
def score_all_proposals():
    """Fault 11: `ANetMetric` keeps each video's ground truth together with its proposals.

    Upstream keeps it in the process that has read the video, so several processes score only the
    first one's videos. Here it is part of the results that MMEngine collects, and N processes give
    the score of one.

    In addition, a metric does not change its config, writes no file if ``dump_config.out`` is
    empty, and takes videos without a proposal or an action. It raises a UserError if a localizer
    has not predicted all videos of a batch, since only those predicted would count.
    """
    from mmaction.evaluation import ANetMetric

    def copy_options(upstream):
        def __init__(self, *args, **kwargs):  # upstream removes entries from the config's dicts
            upstream(self, *copy.deepcopy(args), **copy.deepcopy(kwargs))

        return __init__

    def attach(upstream):
        def process(self, data_batch, predictions):
            start = len(self.results)
            upstream(self, data_batch, predictions)
            if not hasattr(self, 'ground_truth'):  # only AR@AN has one
                return
            num_videos, num_predicted = len(data_batch['data_samples']), len(predictions)
            if num_predicted != num_videos:
                raise UserError(
                    f'only {num_predicted} of {num_videos} videos of a batch get proposals; set '
                    'val_dataloader.batch_size=1 and test_dataloader.batch_size=1'
                )
            # New dicts, since other metrics hold the same predictions.
            self.results[start:] = [
                {**result, 'ground_truth': self.ground_truth[result['video_name'][2:]]}
                for result in self.results[start:]
            ]

        return process

    def restore(upstream):
        def compute_metrics(self, results):
            if hasattr(self, 'ground_truth'):
                self.ground_truth = {
                    result['video_name'][2:]: result['ground_truth'].reshape(-1, 3)
                    for result in results
                }
            return upstream(self, results)

        return compute_metrics

    def dump_to_a_file(upstream):
        def dump_results(self, results, *args, **kwargs):
            if self.out:
                upstream(self, results, *args, **kwargs)

        return dump_results

    def keep_columns(upstream):
        def _import_proposals(*args):  # static upstream, a method here: results come last
            proposals, num_proposals = upstream(args[-1])
            proposals = {name: rows.reshape(-1, 3) for name, rows in proposals.items()}
            return proposals, num_proposals

        return _import_proposals

    replace(ANetMetric, '__init__', copy_options)
    replace(ANetMetric, 'process', attach)
    replace(ANetMetric, 'compute_metrics', restore)
    replace(ANetMetric, 'dump_results', dump_to_a_file)
    replace(ANetMetric, '_import_proposals', keep_columns)


# 26 -----------------------------------------------------------------------------------------
def train_on_background():
    """Fault 26: BMN learns from videos without an action, in which nothing starts or ends.

    If no proposal of a batch overlaps an action by more than 0.7, the regression loss is 0.
    """
    from mmaction.datasets.transforms import GenerateLocalizationLabels
    from mmaction.models.losses import BMNLoss

    def overlap_with_nothing(upstream):
        def transform(self, results):
            results = upstream(self, results)
            if not len(results['gt_bbox']):
                # An action of length 0, long before the video: all its labels are 0.
                results['gt_bbox'] = np.array([[-1.0, -1.0]])
            return results

        return transform

    def without_matches(upstream):
        def pem_reg_loss(*args):  # static upstream, a method here
            pred_score, gt_iou_map, mask = args[-3:]
            # Upstream divides by the number of proposals that overlap an action.
            if (gt_iou_map <= 0.7).all():
                return pred_score.sum() * 0
            return upstream(pred_score, gt_iou_map, mask)

        return pem_reg_loss

    replace(GenerateLocalizationLabels, 'transform', overlap_with_nothing)
    replace(BMNLoss, 'pem_reg_loss', without_matches)


# 28 -----------------------------------------------------------------------------------------
def flip_copies():
    """Fault 28: ``Flip`` does not change its input frames."""
    from mmaction.datasets.transforms import Flip

    def of_copies(upstream):
        def _flip_imgs(self, imgs, modality):
            return upstream(self, [img.copy() for img in imgs], modality)

        return _flip_imgs

    replace(Flip, '_flip_imgs', of_copies)


# 29 -----------------------------------------------------------------------------------------
def draw_predictions():
    """Fault 29: ``VisualizationHook`` draws all frames of a sample, with label and prediction.

    Pictures are named by the number of the sample, since videos of two folders may share a name.
    """
    from mmaction.engine.hooks import VisualizationHook
    from mmaction.structures import ActionDataSample
    from mmengine.structures import LabelData

    def in_its_terms(sample):
        """A sample with the names that the visualizer looks for."""
        shown = ActionDataSample()
        if 'gt_label' in sample:
            shown.gt_label = shown.gt_labels = sample.gt_label
        shown.pred_labels = LabelData(item=sample.pred_label, score=sample.pred_score)
        return shown

    def of_one_clip(upstream):
        def _draw_samples(self, batch_idx, data_batch, data_samples, step=0):
            if not self.enable:
                return
            if 'show' in self.draw_args:
                self.draw_args['show_frames'] = self.draw_args.pop('show')
            # [N, C, H, W] or [N, C, T, H, W] to [C, T, H, W]
            clips = [video.transpose(0, 1).flatten(1, -3) for video in data_batch['inputs']]
            shown = [in_its_terms(sample) for sample in data_samples]
            upstream(self, batch_idx, dict(inputs=clips), shown, step)

        return _draw_samples

    replace(VisualizationHook, '_draw_samples', of_one_clip)
