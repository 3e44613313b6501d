# The budget of the small recipes of order and prediction: 16 epochs, some minutes on a CPU.
_base_ = 'small_10e.py'

train_cfg = dict(max_epochs=16)
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # at 2e-3, MemDPC stays at chance
