# VCLR with S3D-G; from no paper. Clips are those of the text's S3D.
_base_ = [
    '../_base_/models/s3d.py',
    '../_base_/datasets/vclr_clips_128.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

projector = dict(type='ProjectionMLP', in_channels=1024, hidden_channels=1024, out_channels=128)
model = dict(
    backbone=dict(gating=True),
    heads=dict(
        inter=dict(type='InterFrameHead', projector=projector, queue_size=131072, temperature=0.1),
        intra=dict(type='IntraFrameHead', projector=projector, temperature=0.1),
        video=dict(type='MoCoHead', projector=projector, queue_size=131072, temperature=0.1),
        order=dict(type='OrderHead', projector=projector),
    ),
)

# 8 GPUs x 8 videos instead of 512; the rate follows linearly from 0.2.
optim_wrapper = dict(optimizer=dict(lr=0.025))
auto_scale_lr = dict(base_batch_size=64)
