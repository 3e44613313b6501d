# CoCLR's InfoNCE and VCLR with S3D (App. A.3): Adam, batch 64, 300 epochs, a tenth of the rate from
# epochs 250 and 280 on. Rate and weight decay are from CoCLR's code.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-5),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[250, 280], gamma=0.1)]
auto_scale_lr = dict(enable=False, base_batch_size=64)
