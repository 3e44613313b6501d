_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_200e.py',
    '../_base_/default_runtime.py',
]

# MoCo v2's head on two clips of a video; the first is the query. Clips, augmentation and schedule
# are those of the ρ family with two clips, since MoCo v2's own are for images.
projector = dict(type='ProjectionMLP', in_channels=2048, hidden_channels=2048, out_channels=128)
model = dict(
    heads=dict(moco=dict(type='MoCoHead', projector=projector, queue_size=65536, temperature=0.2)),
    momentum=0.999,
)

optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [{**_base_.param_scheduler[0], 'start_factor': 0.001 / 0.05}]
