# CVRL's R3D-50 on UCF101. How CVRL is fine-tuned is not published: clips are those of its linear
# protocol, 32 frames two apart, the rest is that of the ρ family.
_base_ = 'slowonly-r50_8x8-8x8x1-200e_ucf101-rgb.py'

model = dict(backbone=dict(conv1_kernel=(5, 7, 7), conv1_stride_t=2))

train_pipeline = [*_base_.train_pipeline]
val_pipeline = [*_base_.val_pipeline]
test_pipeline = [*_base_.test_pipeline]
train_pipeline[1] = dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=1)
val_pipeline[1] = dict(
    type='SampleFrames', clip_len=32, frame_interval=2, num_clips=1, test_mode=True
)
test_pipeline[1] = dict(
    type='SampleFrames', clip_len=32, frame_interval=2, num_clips=10, test_mode=True
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
