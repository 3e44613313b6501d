# VCLR: every objective has its own projection; the losses are summed 1:1:1:1 (Eq. 11).
_base_ = 'r50.py'

projector = _base_.projector
model = dict(
    heads=dict(
        inter=dict(type='InterFrameHead', projector=projector, queue_size=131072, temperature=0.1),
        intra=dict(type='IntraFrameHead', projector=projector, temperature=0.1),
        video=dict(type='MoCoHead', projector=projector, queue_size=131072, temperature=0.1),
        order=dict(type='OrderHead', projector=projector),
    ),
)
