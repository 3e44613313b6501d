"""Convert ResNet weights of torchvision, MoCo v2 or VCLR's authors for `load_from`.

    python tools/convert_weights.py moco_v2_200ep_pretrain.pth.tar work_dirs/mocov2_r50.pth
    python tools/train.py configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py \
        --cfg-options load_from=work_dirs/mocov2_r50.pth

Keys are mapped by name. The backbone fits MMAction2's recognizers too. MoCo v2's MLP initialises
the projection of every head; the heads of a VCLR checkpoint go to the heads of the same objective.
"""

import argparse
import sys

import torch

from mmssl_video.compat import load_checkpoint_file
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.files import atomic_path
from mmssl_video.models.weights import convert_weights


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='checkpoint of torchvision, MoCo v2 or VCLR')
    parser.add_argument('out', help='checkpoint to write')
    parser.add_argument(
        '--heads',
        nargs='*',
        default=['inter', 'intra', 'video', 'order'],
        metavar='NAME',
        help="names of the heads that MoCo v2's MLP initialises (default: VCLR's four)",
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
    checkpoint = load_checkpoint_file(args.source, trusted=args.trust)
    try:
        converted = convert_weights(checkpoint, args.heads)
    except UserError as error:
        raise UserError(f'{args.source}: {error}') from None
    with atomic_path(args.out) as temporary:
        torch.save({'state_dict': converted}, temporary)
    modules = sorted({'.'.join(key.split('.')[:3]) for key in converted if key.startswith('heads')})
    print(f'{args.out}: {len(converted)} tensors for the backbone and {modules or "no head"}')


if __name__ == '__main__':
    sys.exit(main())
