# Clips of videos in which something moves: crops are large, or they would often leave it out, and
# colours are left as they are, as in most of these tasks.
_base_ = 'small_clips.py'

augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
        *_base_.augment.transforms[1:3],
    ],
)
train_pipeline = [*_base_.train_pipeline[:3], augment, *_base_.train_pipeline[4:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
