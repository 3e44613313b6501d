# R3D-50 on Kinetics-600, as on Kinetics-400.
_base_ = 'linear_r3d50_64x16-32x2x1-100e_kinetics400-rgb.py'

model = dict(cls_head=dict(num_classes=600))

train_data = dict(
    ann_file='data/kinetics600/kinetics600_train_list_videos.txt',
    data_prefix=dict(video='data/kinetics600/videos_train'),
)
test_data = dict(
    ann_file='data/kinetics600/kinetics600_val_list_videos.txt',
    data_prefix=dict(video='data/kinetics600/videos_val'),
)
train_dataloader = dict(dataset=train_data)
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)
