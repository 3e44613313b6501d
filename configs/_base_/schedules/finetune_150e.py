# VCOP's fine-tuning: SGD, batch 8, 150 epochs. The paper does not say when its rate falls: here at
# 4/9 and 8/9 of the run, as in MMAction2's C3D for UCF101.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=150, val_begin=1, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=5e-4),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[67, 133], gamma=0.1)
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
