"""Write the bare backbone of a pretraining (or MMAction2) checkpoint to a file of its own.

    python tools/export_backbone.py work_dirs/vclr/epoch_400.pth vclr_r50.pth
    python tools/export_backbone.py work_dirs/vclr/epoch_400.pth resnet50.pth --format torchvision

A checkpoint of pretraining holds heads, queues, a target network and the optimiser's state too. The
format mmaction (default) has MMAction2's names after 'backbone.'; torchvision has torchvision's
(conv1.weight, layer1.0.downsample.0.weight), for 2D ResNets only. The tensors of a TSM get the
names of a plain ResNet. extract_features.py and grad_cam.py take the file with any config of the
network, TSM too. How training loads it:

load_from=OUT                    mmaction, every backbone. For a TSM the config needs the
                                 BackboneLoadHook, which knows the names of the shift; all of
                                 configs/downstream have it.
backbone.init_cfg=dict(          mmaction, a ResNet and what else MMEngine initialises. A ResNet3d,
    type='Pretrained',           SlowOnly or C3D does not look at init_cfg (the hook warns), and
    checkpoint=OUT,              a TSM would miss its first convolutions: use load_from.
    prefix='backbone.')
backbone.pretrained=OUT          torchvision: a ResNet or TSM takes it as it is, a ResNet3d or
                                 SlowOnly inflates it. The format mmaction does not work here: a
                                 ResNet raises KeyError, the others would stay random, which the
                                 BackboneLoadHook makes an error.
"""

import argparse
import sys

import torch

from mmssl_video.checkpoints.conversion import to_layout
from mmssl_video.checkpoints.fitting import BRANCHES, select_backbone
from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.files import atomic_path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'checkpoint', help='checkpoint of pretraining or of an MMAction2 recognizer'
    )
    parser.add_argument('out', help='file to write')
    parser.add_argument(
        '--branch',
        choices=BRANCHES,
        default='online',
        help='the network that is trained (default), or its momentum copy',
    )
    parser.add_argument(
        '--format',
        choices=('mmaction', 'torchvision'),
        default='mmaction',
        help='whose names the tensors get (default mmaction)',
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='load a file that holds more than tensors; it can then run any code it likes',
    )
    return parser.parse_args()


@one_line_errors
def main() -> None:
    args = parse_args()
    checkpoint = load_checkpoint_file(args.checkpoint, trusted=args.trust)
    try:
        backbone = select_backbone(checkpoint, args.branch)
        if args.format == 'torchvision':
            exported = to_layout(backbone, 'torchvision')
        else:
            meta = checkpoint.get('meta', {})
            exported = {
                'state_dict': {f'backbone.{key}': value for key, value in backbone.items()},
                'meta': {'source': args.checkpoint, 'branch': args.branch}
                | {key: meta[key] for key in ('experiment_name', 'epoch', 'iter') if key in meta},
            }
    except UserError as error:
        raise UserError(f'{args.checkpoint}: {error}') from None
    with atomic_path(args.out) as temporary:
        torch.save(exported, temporary)
    print(f'{args.out}: {len(backbone)} tensors of the {args.branch} backbone')


if __name__ == '__main__':
    sys.exit(main())
