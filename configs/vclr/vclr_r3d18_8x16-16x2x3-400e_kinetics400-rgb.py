# VCLR with R3D-18; from no paper. Clips have the usual length and size for this network.
_base_ = [
    '../_base_/models/r3d18.py',
    '../_base_/datasets/vclr_clips_112.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

projector = dict(type='ProjectionMLP', in_channels=512, hidden_channels=512, out_channels=128)
model = dict(
    heads=dict(
        inter=dict(type='InterFrameHead', projector=projector, queue_size=131072, temperature=0.1),
        intra=dict(type='IntraFrameHead', projector=projector, temperature=0.1),
        video=dict(type='MoCoHead', projector=projector, queue_size=131072, temperature=0.1),
        order=dict(type='OrderHead', projector=projector),
    ),
)

# 8 GPUs x 16 videos instead of 512; the rate follows linearly from 0.2.
optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=128)
