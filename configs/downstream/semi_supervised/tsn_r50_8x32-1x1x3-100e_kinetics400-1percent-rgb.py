# TSN on 1 % of Kinetics-400's labels, with VCLR's three frames of a video. VCLR has no such
# experiment: the recipe is MMAction2's for all labels.
_base_ = [
    '../../_base_/mmaction2/tsn_1x1x3.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None))

train_dataloader = dict(
    dataset=dict(ann_file='data/kinetics400/kinetics400_train_list_videos_1percent-seed0.txt')
)
# One validation reads as many videos as eight epochs on 1 %.
train_cfg = dict(val_interval=10)
