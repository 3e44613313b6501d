# VCOP: SGD at one rate, batch 8, 300 epochs.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=5e-4),
)
param_scheduler = []
auto_scale_lr = dict(enable=False, base_batch_size=8)
