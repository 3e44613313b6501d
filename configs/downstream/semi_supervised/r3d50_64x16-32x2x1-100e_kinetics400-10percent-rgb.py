# CVRL's R3D-50 fine-tuned on 10 % of Kinetics-400's labels.
_base_ = 'r3d50_64x16-32x2x1-100e_kinetics400-1percent-rgb.py'

train_dataloader = dict(
    dataset=dict(ann_file='data/kinetics400/kinetics400_train_list_videos_10percent-seed0.txt')
)
