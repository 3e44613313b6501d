"""VideoMAE's released files and Hugging Face's give the same features, there and back."""

import re

import pytest
import torch
import torch.nn.functional as F
from mmaction.models import VisionTransformer
from mmaction.models.backbones.vit_mae import get_sinusoid_encoding

from mmssl_video.checkpoints.conversion import convert_weights, detect_format, to_layout
from mmssl_video.checkpoints.fitting import fit_tensors, own_names, select_backbone
from mmssl_video.errors import UserError

WIDTH, DEPTH, HEADS, CLASSES = 12, 2, 3, 5
SIZES = dict(img_size=16, patch_size=8, num_frames=4, embed_dims=WIDTH, num_heads=HEADS)


def network(pooled, depth=DEPTH, **settings):
    return VisionTransformer(depth=depth, use_mean_pooling=pooled, **{**SIZES, **settings}).eval()


def randn(*shape):
    return torch.randn(*shape) * 0.5


def hugging_face(pooled):
    """A file of Hugging Face's VideoMAE, by its names."""
    torch.manual_seed(0)
    state = {}

    def linear(name, inputs, outputs):
        state[f'{name}.weight'], state[f'{name}.bias'] = randn(outputs, inputs), randn(outputs)

    def norm(name):
        state[f'{name}.weight'], state[f'{name}.bias'] = 1 + randn(WIDTH), randn(WIDTH)

    stem = 'videomae.embeddings.patch_embeddings.projection'
    state[f'{stem}.weight'], state[f'{stem}.bias'] = randn(WIDTH, 3, 2, 8, 8) / 4, randn(WIDTH)
    for number in range(DEPTH):
        block = f'videomae.encoder.layer.{number}'
        for part in ('query', 'key', 'value'):
            state[f'{block}.attention.attention.{part}.weight'] = randn(WIDTH, WIDTH)
        for part in ('q_bias', 'v_bias'):
            state[f'{block}.attention.attention.{part}'] = randn(WIDTH)
        linear(f'{block}.attention.output.dense', WIDTH, WIDTH)
        linear(f'{block}.intermediate.dense', WIDTH, 4 * WIDTH)
        linear(f'{block}.output.dense', 4 * WIDTH, WIDTH)
        norm(f'{block}.layernorm_before')
        norm(f'{block}.layernorm_after')
    if pooled:
        norm('fc_norm')
        linear('classifier', WIDTH, CLASSES)
    else:
        norm('videomae.layernorm')
        linear('decoder.head', 4, 6)
        state['encoder_to_decoder.weight'] = randn(4, WIDTH)
        state['mask_token'] = randn(1, 1, 4)
    return state


def released(pooled):
    """The same weights by the names of the released files."""
    theirs = hugging_face(pooled)
    state = {}
    for key, value in theirs.items():
        if re.search('(key|value).weight$', key):
            continue
        if key.endswith('query.weight'):
            parts = [key.replace('query', part) for part in ('query', 'key', 'value')]
            value = torch.cat([theirs[part] for part in parts])
        for old, new in (
            ('videomae.embeddings.patch_embeddings.projection', 'patch_embed.proj'),
            ('videomae.encoder.layer', 'blocks'),
            ('videomae.layernorm', 'norm'),
            ('classifier', 'head'),
            ('attention.attention.query', 'attn.qkv'),
            ('attention.attention', 'attn'),
            ('attention.output.dense', 'attn.proj'),
            ('intermediate.dense', 'mlp.fc1'),
            ('output.dense', 'mlp.fc2'),
            ('layernorm_before', 'norm1'),
            ('layernorm_after', 'norm2'),
        ):
            key = key.replace(old, new)
        if not pooled and re.match('patch_embed|blocks|norm', key):
            key = f'encoder.{key}'
        state[key] = value
    return state


def features_of_hugging_face(state, clips, pooled):
    """What its network gives, written out: with matrices for queries, keys and values apart."""

    def linear(name, x, bias=True):
        return F.linear(x, state[f'{name}.weight'], state[f'{name}.bias'] if bias else None)

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def heads(x):
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    stem = 'videomae.embeddings.patch_embeddings.projection'
    x = F.conv3d(clips, state[f'{stem}.weight'], state[f'{stem}.bias'], stride=(2, 8, 8))
    x = x.flatten(2).transpose(1, 2)
    x = x + get_sinusoid_encoding(x.shape[1], WIDTH)
    for number in range(DEPTH):
        block = f'videomae.encoder.layer.{number}'
        attention = f'{block}.attention.attention'
        y = norm(f'{block}.layernorm_before', x)
        query, key, value = (
            heads(linear(f'{attention}.{part}', y, bias=False) + bias)
            for part, bias in (
                ('query', state[f'{attention}.q_bias']),
                ('key', 0),
                ('value', state[f'{attention}.v_bias']),
            )
        )
        shares = (query @ key.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5).softmax(dim=-1)
        y = (shares @ value).transpose(1, 2).flatten(2)
        x = x + linear(f'{block}.attention.output.dense', y)
        y = F.gelu(linear(f'{block}.intermediate.dense', norm(f'{block}.layernorm_after', x)))
        x = x + linear(f'{block}.output.dense', y)
    return norm('fc_norm', x.mean(dim=1)) if pooled else norm('videomae.layernorm', x)


@pytest.mark.parametrize('pooled', [False, True], ids=['pretrained', 'fine-tuned'])
def test_both_layouts_give_the_features_of_their_network(pooled):
    files = dict(videomae=dict(module=released(pooled), epoch=3), huggingface=hugging_face(pooled))
    clips = torch.randn(2, 3, 4, 16, 16)
    expected = features_of_hugging_face(hugging_face(pooled), clips, pooled)
    given = []
    for layout, checkpoint in files.items():
        assert detect_format(checkpoint.get('module', checkpoint)) == layout
        converted = convert_weights(checkpoint)
        backbone = network(pooled, return_feat_map=not pooled)
        fitted = fit_tensors(converted, backbone, 'backbone.', 'x.pth', 'none')
        assert own_names(fitted, backbone) == ['pos_embed']
        backbone.load_state_dict(fitted)
        features = backbone(clips).detach()
        if not pooled:
            features = features.flatten(2).transpose(1, 2)
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
        given.append(features)
    assert torch.equal(*given)


@pytest.mark.parametrize('layout', ['videomae', 'huggingface'])
@pytest.mark.parametrize('pooled', [False, True], ids=['pretrained', 'fine-tuned'])
def test_there_and_back(layout, pooled):
    source = released(pooled) if layout == 'videomae' else hugging_face(pooled)
    ours = convert_weights(source)
    heads = {key: value for key, value in ours.items() if not key.startswith('backbone.')}
    classifier = {key.removeprefix('cls_head.fc_cls.'): value for key, value in heads.items()}
    assert classifier.keys() == ({'weight', 'bias'} if pooled else set())
    # A checkpoint of ours has positions, which theirs has not.
    backbone = {**select_backbone(ours), 'pos_embed': get_sinusoid_encoding(8, WIDTH)}
    back = to_layout(backbone, layout, classifier=classifier)
    back = back['model'] if layout == 'videomae' else back
    kept = {key for key in source if not re.match('decoder|encoder_to|mask', key)}
    assert back.keys() == kept
    assert all(torch.equal(back[key], source[key]) for key in kept)


def test_learned_positions_are_kept_or_refused():
    positions = torch.randn(1, 8, WIDTH)
    ours = convert_weights({**released(False), 'encoder.pos_embed': positions})
    assert torch.equal(ours['backbone.pos_embed'], positions)
    fixed = get_sinusoid_encoding(8, WIDTH)
    assert 'backbone.pos_embed' not in convert_weights(
        {**released(False), 'encoder.pos_embed': fixed}
    )
    backbone = select_backbone(ours)
    assert torch.equal(to_layout(backbone, 'videomae')['model']['encoder.pos_embed'], positions)
    with pytest.raises(UserError, match='^1 keys of this backbone are unknown: pos_embed; '):
        to_layout(backbone, 'huggingface')


def test_keys_that_are_missing_or_unknown_are_named():
    state = hugging_face(False)
    del state['videomae.encoder.layer.1.attention.attention.key.weight']
    with pytest.raises(UserError, match=r'^1 keys .* missing: .*layer\.1\..*\.key\.weight; '):
        convert_weights(state)
    state = {**released(True), 'blocks.0.gamma_1': randn(WIDTH)}
    with pytest.raises(UserError, match=r'^1 keys .* unknown: blocks\.0\.gamma_1; '):
        convert_weights(state)
    with pytest.raises(UserError, match='vision transformers only.* conv1.conv.weight'):
        to_layout({'conv1.conv.weight': randn(1)}, 'videomae')


# -------------------------------------------------------------------------- into a config's network


def pretrained():
    return {f'backbone.{key}': value for key, value in network(False).state_dict().items()}


def fit(state, backbone):
    return fit_tensors(state, backbone, 'backbone.', 'x.pth', 'a remedy')


def test_fine_tuning_starts_with_a_new_norm():
    backbone = network(True)
    torch.nn.init.constant_(backbone.fc_norm.weight, 3.0)
    fitted = fit(pretrained(), backbone)
    assert own_names(fitted, backbone) == ['fc_norm.bias', 'fc_norm.weight', 'pos_embed']
    assert (fitted['fc_norm.weight'] == 3).all()
    # The other way, a fine-tuned network has no norm for its tokens.
    fine_tuned = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    with pytest.raises(UserError, match=r'2 missing \(backbone.norm.weight'):
        fit(fine_tuned, network(False))


def test_fixed_positions_are_computed_for_the_clips_of_the_config():
    longer = network(False, num_frames=8)
    fitted = fit(pretrained(), longer)
    assert torch.equal(fitted['pos_embed'], get_sinusoid_encoding(4 * 2 * 2, WIDTH))
    learned = {**pretrained(), 'backbone.pos_embed': torch.randn(1, 8, WIDTH)}
    assert torch.equal(fit(learned, network(False))['pos_embed'], learned['backbone.pos_embed'])
    with pytest.raises(UserError, match='for 8 tokens, .* clips have 16; set .*num_frames'):
        fit(learned, longer)


@pytest.mark.parametrize(
    'settings, field',
    [
        (dict(depth=3), 'depth is 3, the file has 2'),
        (dict(depth=1), 'depth is 1, the file has 2'),
        (dict(embed_dims=24), 'embed_dims is 24, the file has 12'),
        (dict(patch_size=16), 'patch_size is 16, the file has 8'),
        (dict(tubelet_size=1), 'tubelet_size is 1, the file has 2'),
    ],
)
def test_what_does_not_fit_names_file_and_field(settings, field):
    with pytest.raises(UserError, match=rf'^x\.pth: .*model\.backbone\.{field}.*; a remedy$'):
        fit(pretrained(), network(True, **settings))
