# TSN on 10 % of Kinetics-400's labels.
_base_ = 'tsn_r50_8x32-1x1x3-100e_kinetics400-1percent-rgb.py'

train_dataloader = dict(
    dataset=dict(ann_file='data/kinetics400/kinetics400_train_list_videos_10percent-seed0.txt')
)
