"""Search videos with extracted features: measure R@K, and draw the neighbours."""

import argparse
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from command_line import Parser, count, positive, tool

if TYPE_CHECKING:
    import numpy as np

    from mmssl_video.evaluation import FeatureSet, RetrievalResult

DESCRIPTION = """\
Search the gallery with every query video by cosine similarity. R@K is the percentage of queries
with a video of their own class among the K nearest. Usually, the gallery is the training split, and
the queries are the test split.

GALLERY and QUERY are features of tools/extract_features.py, both labelled. Without labels there is
no R@K, but --visualize still shows the neighbours.

The search is exact, and needs little memory if GALLERY is a folder, which stays on disk. With very
many queries in a gallery of a million, --index ivf is faster: it groups the gallery into lists and
compares a query with the nearest lists only. It needs Faiss: pip install 'mmssl_video[faiss]'."""
EXAMPLE = """\
examples:
  python tools/retrieval.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --topk 1 5 10 20 50 --out work_dirs/ucf101/retrieval.json

  python tools/retrieval.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --out work_dirs/ucf101/retrieval.json --visualize work_dirs/ucf101/retrieval.png \\
      --gallery-root data/ucf101/videos --query-root data/ucf101/videos

  python tools/retrieval.py work_dirs/k400/train work_dirs/k400/val --index ivf \\
      --out work_dirs/k400/retrieval.json"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(DESCRIPTION, EXAMPLE)
    parser.add_argument('gallery', metavar='GALLERY', help='features of the gallery')
    parser.add_argument('query', metavar='QUERY', help='features of the queries')
    parser.add_allow_different()
    parser.add_argument('--out', required=True, metavar='JSON', help='file for the result')
    parser.add_argument(
        '--topk',
        type=positive,
        nargs='+',
        metavar='K',
        help='the K of R@K (default: those of 1 5 10 20 50 that the gallery has videos for)',
    )
    parser.add_argument(
        '--leave-one-out',
        action='store_true',
        help='leave out videos with the name of the query: for a set that is searched in itself',
    )
    parser.add_argument(
        '--per-class',
        action='store_true',
        help='also print R@K of each class, which JSON always has',
    )
    parser.add_argument(
        '--class-names',
        metavar='FILE',
        help='names of the classes, one per line, starting with label 0',
    )

    sheet = parser.add_argument_group('picture of queries and their neighbours')
    sheet.add_argument(
        '--visualize',
        metavar='PICTURE',
        help='file to draw, .png, .pdf or .svg: correct neighbours have a green frame, wrong ones '
        'a red one',
    )
    sheet.add_argument(
        '--gallery-root',
        default='',
        metavar='DIR',
        help="folder that the gallery's names are relative to, of videos or folders of raw frames",
    )
    sheet.add_argument('--query-root', default='', metavar='DIR', help='the same for the queries')
    sheet.add_argument(
        '--num-sheets',
        type=positive,
        default=6,
        metavar='N',
        help='queries to draw, spread over the classes (default 6)',
    )
    sheet.add_argument(
        '--num-neighbours',
        type=positive,
        default=5,
        metavar='N',
        help='neighbours to draw for each (default 5)',
    )

    index = parser.add_argument_group('large galleries')
    index.add_argument(
        '--index',
        choices=('exact', 'ivf'),
        default='exact',
        help='compare with every video (exact, the default) or with some lists of them (ivf)',
    )
    index.add_argument(
        '--nlist',
        type=positive,
        help='number of lists (default the square root of the size of the gallery)',
    )
    index.add_argument(
        '--code-size',
        type=positive,
        metavar='BYTES',
        help='memory for each video: that many principal components of 8 bits (default 256, or the '
        'number of features if that is less)',
    )
    index.add_argument(
        '--nprobe',
        type=positive,
        help='number of lists to search (default a 16th of them, at least 8)',
    )
    index.add_argument(
        '--candidates',
        type=positive,
        metavar='N',
        help='number of videos to compare again by their features (default 4 K, at least 200)',
    )
    index.add_argument(
        '--check',
        type=count,
        default=100,
        metavar='N',
        help='number of queries to search exactly too, which gives the share of true neighbours '
        'found (default 100, 0 for none)',
    )
    args = parser.parse_args()
    for option in ('nlist', 'code_size', 'nprobe', 'candidates'):
        if args.index == 'exact' and getattr(args, option) is not None:
            parser.error(f'--{option.replace("_", "-")} is for --index ivf; add that')
    return args


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    """Load both sets, search, measure, write, draw and print."""
    from mmssl_video.evaluation import (
        InvertedFile,
        nearest_neighbours,
        neighbours_found,
        retrieval,
    )
    from mmssl_video.evaluation.features import load_pair, shared_note
    from mmssl_video.files import write_json
    from mmssl_video.visualization.figures import picture_format, read_class_names

    if args.visualize:
        picture_format(args.visualize)  # raises before the search
    gallery, query = load_pair(args.gallery, args.query, args.allow_different)
    gallery.require_videos()
    query.require_videos()
    class_names = None
    if args.class_names:
        class_names = read_class_names(
            args.class_names, max(gallery.labels.max(), query.labels.max())
        )

    index = search = None
    if args.index == 'ivf':
        index = InvertedFile(gallery, args.nlist, args.code_size, description='Index')
        numbers = dict(num_probes=args.nprobe, num_candidates=args.candidates)
        search = partial(index.nearest_neighbours, **numbers, description='Search')

    content = {'num_gallery': len(gallery), 'num_query': len(query), 'dim': gallery.dim}
    shown = args.num_neighbours if args.visualize else 0
    if shown and min(gallery.labels.min(), query.labels.min()) < 0:
        result = None
        shown = min(shown, len(gallery) - args.leave_one_out)
        search = search or partial(nearest_neighbours, gallery, description='Search')
        indices, similarities = search(query, shown, leave_one_out=args.leave_one_out)
    else:
        result = retrieval(
            gallery,
            query,
            args.topk,
            leave_one_out=args.leave_one_out,
            num_neighbours=shown,
            search=search,
            description='Search',
        )
        indices, similarities = result.indices, result.similarities
        content |= result.recall | {'chance': result.chance}
        content['num_query_without_match'] = result.num_without_match
        content['num_shared'], content['tied'] = result.num_shared, result.tied
        content['per_class'] = {
            label: ({'name': class_names[label]} if class_names else {}) | row
            for label, row in result.per_class.items()
        }
    content['index'] = {'type': args.index}
    if index:
        num_probes, num_candidates = index.search_numbers(indices.shape[1], **numbers)
        content['index'] |= asdict(index.plan)
        content['index'] |= {'num_probes': num_probes, 'num_candidates': num_candidates}
        if args.check > 0:
            content['index']['neighbours_found'] = neighbours_found(
                gallery,
                query,
                indices,
                args.check,
                leave_one_out=args.leave_one_out,
                description='Check',
            )
    write_json(args.out, content | {'arguments': vars(args)})

    print(f'retrieval: {len(query)} queries in {len(gallery)} videos, {gallery.dim} features')
    if index:
        print_index(content['index'])
    if result:
        print_recall(result, class_names, args.per_class)
        if result.tied:
            print(
                f'note: {result.tied:.2f} % of the queries find videos that tie; R@K is the mean '
                f'over their orders{", of those that were found" if index else ""}'
            )
        if result.num_shared:
            print(f'note: {shared_note(result.num_shared)}; see --leave-one-out')
    else:
        print('note: no R@K, because not every video has a label')
    print(f'written to {args.out}')
    if args.visualize:
        draw(args, gallery, query, indices, similarities, class_names)


def print_index(facts: dict) -> None:
    code = f'{facts["code_size"]} bytes for a video, {facts["index_bytes"] / 2**20:.0f} MiB in all'
    print(f'  searched {facts["num_probes"]} of {facts["num_lists"]} lists; {code}')
    found = facts.get('neighbours_found', {})
    if found:
        shares = ', '.join(f'{share:.1f} % of the first {k[1:]}' for k, share in found.items())
        print(f'  true nearest neighbours found: {shares}')


def print_recall(result: 'RetrievalResult', class_names: list[str] | None, per_class: bool) -> None:
    from mmssl_video.visualization.figures import class_name

    print(f'  {"":<8}{"found":>8}{"chance":>10}')
    for key, percent in result.recall.items():
        print(f'  {key:<8}{percent:6.2f} %{result.chance[key]:8.2f} %')
    if result.num_without_match:
        print(f'note: {result.num_without_match} queries have no video of their class to find')
    if per_class:
        names = [class_name(label, class_names) for label in result.per_class]
        width = max(map(len, names))
        print(f'  {"":<{width}} queries' + ''.join(f'{key:>8}' for key in result.recall))
        for name, row in zip(names, result.per_class.values(), strict=True):
            shares = ''.join(f'{row[key]:8.2f}' for key in result.recall)
            print(f'  {name:<{width}}{row["num_query"]:8}{shares}')


def draw(
    args: argparse.Namespace,
    gallery: 'FeatureSet',
    query: 'FeatureSet',
    indices: 'np.ndarray',
    similarities: 'np.ndarray',
    class_names: list[str] | None,
) -> None:
    from mmssl_video.visualization import retrieval_sheets, save_sheet

    sheets = retrieval_sheets(
        gallery,
        query,
        indices,
        similarities,
        gallery_root=args.gallery_root,
        query_root=args.query_root,
        num_sheets=args.num_sheets,
        num_neighbours=args.num_neighbours,
        class_names=class_names,
    )
    save_sheet(args.visualize, sheets)
    tiles = [tile for sheet in sheets for tile in (sheet.query, *sheet.neighbours)]
    empty = [tile.name for tile in tiles if tile.image is None]
    if empty:
        print(
            f'note: {len(empty)} of {len(tiles)} pictures are empty, {empty[0]} cannot be read; '
            'see --gallery-root and --query-root'
        )
    print(f'{len(sheets)} queries drawn in {args.visualize}')


if __name__ == '__main__':
    main()
