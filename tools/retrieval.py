"""Video retrieval with extracted features: R@K of a frozen backbone."""

import argparse

import numpy as np

from mmssl_video.errors import one_line_errors
from mmssl_video.evaluation import FeatureSet, retrieval
from mmssl_video.files import write_json

DESCRIPTION = """\
Search the gallery with every query video by cosine similarity. R@K is the percentage of queries
with a video of their own class among the K nearest. Usual: the gallery is the training split, the
queries are the test split.

GALLERY and QUERY are files of tools/extract_features.py, both labelled."""
EXAMPLE = """\
example:
  python tools/retrieval.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --topk 1 5 10 20 50 --out work_dirs/ucf101/retrieval.json"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('gallery', metavar='GALLERY.npz', help='features to search in')
    parser.add_argument('query', metavar='QUERY.npz', help='features to search with')
    parser.add_argument('--out', required=True, metavar='JSON', help='file for the result')
    parser.add_argument(
        '--topk',
        type=int,
        nargs='+',
        metavar='K',
        help='the K of R@K (default: 1 5 10 20 50, as far as the gallery has that many videos)',
    )
    parser.add_argument(
        '--leave-one-out',
        action='store_true',
        help='do not return a video that has the name of the query: for a set searched in itself',
    )
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Load both files, evaluate, write and print."""
    args = parse_args()
    gallery, query = FeatureSet.load(args.gallery), FeatureSet.load(args.query)
    result = retrieval(gallery, query, args.topk, leave_one_out=args.leave_one_out)
    counts = {'num_gallery': len(gallery), 'num_query': len(query), 'dim': gallery.dim}
    counts['num_query_without_match'] = result.num_without_match
    write_json(
        args.out, result.recall | {'chance': result.chance} | counts | {'arguments': vars(args)}
    )
    print(f'retrieval: {len(query)} queries in {len(gallery)} videos, {gallery.dim} features')
    print(f'  {"":<8}{"found":>8}{"chance":>10}')
    for key, percent in result.recall.items():
        print(f'  {key:<8}{percent:6.2f} %{result.chance[key]:8.2f} %')
    if result.num_without_match:
        print(f'note: {result.num_without_match} queries have no video of their class to find')
    shared = 0 if args.leave_one_out else np.isin(query.names, gallery.names).sum()
    if shared:
        print(f'note: {shared} queries are in the gallery by name; see --leave-one-out')
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
