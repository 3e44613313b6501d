# CVRL's R3D-50 on HMDB51, as on UCF101.
_base_ = 'r3d50_8x8-32x2x1-200e_ucf101-rgb.py'

model = dict(cls_head=dict(num_classes=51))

train_data = dict(
    ann_file='data/hmdb51/hmdb51_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
test_data = dict(
    ann_file='data/hmdb51/hmdb51_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
train_dataloader = dict(dataset=train_data)
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)
