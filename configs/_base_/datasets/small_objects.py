# Clips of videos with a moving object. Crops are large; smaller ones would often miss the object.
# Colours are unchanged, as in most of these tasks.
_base_ = 'small_clips.py'

crop = dict(type='RandomResizedCrop', area_range=(0.5, 1.0))
augment = dict(type='SharedAugment', share='clip', transforms=[crop, _base_.resize, _base_.flip])
train_pipeline = [
    _base_.open_video,
    _base_.sample_clips,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
