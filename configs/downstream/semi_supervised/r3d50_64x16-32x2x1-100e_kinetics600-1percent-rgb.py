# CVRL's R3D-50 fine-tuned on 1 % of Kinetics-600's labels.
_base_ = 'r3d50_64x16-32x2x1-100e_kinetics400-1percent-rgb.py'

model = dict(cls_head=dict(num_classes=600))

test_data = dict(
    ann_file='data/kinetics600/kinetics600_val_list_videos.txt',
    data_prefix=dict(video='data/kinetics600/videos_val'),
)
train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics600/kinetics600_train_list_videos_1percent-seed0.txt',
        data_prefix=dict(video='data/kinetics600/videos_train'),
    )
)
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)
