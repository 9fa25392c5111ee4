"""Small tokenizers of the kinds that the hub has, each able to write Countdown, and policies that use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    ByT5Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from maxent_ray.policy import Policy
from maxent_ray.policy.tokenizer import build_character_tokenizer

SIGNS = "0123456789+-*/()=,:."
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
EVERY_SIGN_ALONE = pre_tokenizers.Split(Regex("[\\s\\S]"), behavior="isolated")


def bpe(signs: str = SIGNS, unknown: str | None = None) -> PreTrainedTokenizerBase:
    """One token a sign; others get the unknown token, or are dropped where there is none."""
    backend = Tokenizer(models.BPE(numbered(["<s>", "</s>", "<unk>", *signs]), [], unk_token=unknown))
    backend.decoder = decoders.Fuse()
    return wrap(backend, eos_token="</s>", unk_token=unknown)


def bpe_with_unknown() -> PreTrainedTokenizerBase:
    return bpe(unknown="<unk>")


def gpt2() -> PreTrainedTokenizerBase:
    """Bytes; begin, end and unknown are one token."""
    return byte_level([], eos_token="<|endoftext|>", bos_token="<|endoftext|>", unk_token="<|endoftext|>")


def qwen() -> PreTrainedTokenizerBase:
    """300 tokens: bytes, some merges, and special tokens that prompts are written with."""
    merges = [("+", "5"), ("*", "3"), ("Ġ", "7"), *[(first, second) for first in "123" for second in SIGNS[:10]]]
    tokenizer = byte_level(merges, normalizers.NFC(), eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>"]})
    tokenizer.add_tokens([f"<tool {number}>" for number in range(300 - len(tokenizer))])
    return tokenizer


def byte_level(
    merges: Sequence[tuple[str, str]], normalizer: normalizers.Normalizer | None = None, **special: str
) -> PreTrainedTokenizerBase:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(numbered([*alphabet, *map("".join, merges)]), list(merges)))
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return wrap(backend, **special)


def llama(template: str = "<s> $A") -> PreTrainedTokenizerBase:
    """Sentencepiece: a space in front of every text, bytes for what has no token; a decoder that strips the space."""
    merges = [("▁", "3"), ("▁", "7"), ("+", "5")]
    vocabulary = numbered(["<unk>", "<s>", "</s>", *BYTES, "▁", *SIGNS.replace(",", ""), *map("".join, merges)])
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    add_template(backend, template, ["<s>", "</s>"])
    return wrap(backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def llama_that_ends_texts() -> PreTrainedTokenizerBase:
    return llama("<s> $A </s>")


def phi3() -> PreTrainedTokenizerBase:
    """Special tokens that take the white space behind them."""
    tokenizer = llama("$A")
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken("<|user|>", rstrip=True, special=True)]})
    return tokenizer


def unigram() -> PreTrainedTokenizerBase:
    """Another sentencepiece: runs of white space become one space, compatible characters one; ends texts."""
    pieces = ["<unk>", "</s>", "<sep>", "▁", "▁7", "+5", *SIGNS]
    backend = Tokenizer(models.Unigram([(piece, -float(place)) for place, piece in enumerate(pieces)], unk_id=0))
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex("\\s+"), " "), normalizers.Strip()]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    add_template(backend, "$A <sep> </s>", ["<sep>", "</s>"])
    return wrap(backend, eos_token="</s>", sep_token="<sep>", unk_token="<unk>")


def wordpiece() -> PreTrainedTokenizerBase:
    """Lower case without accents, words only; the decoder puts spaces in and cleans up before a full stop."""
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *SIGNS, *(f"##{digit}" for digit in SIGNS[:10]), "##", "e", "is"]
    backend = Tokenizer(models.WordPiece(numbered(pieces), unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    add_template(backend, "[CLS] $A [SEP]", ["[CLS]", "[SEP]"])
    return wrap(backend, eos_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", clean_up_tokenization_spaces=True)


def openai_gpt() -> PreTrainedTokenizerBase:
    """Words that end in a mark, which the decoder makes a space."""
    pieces = ["<unk>", "</s>", *(f"{sign}</w>" for sign in SIGNS), *SIGNS]
    backend = Tokenizer(models.BPE(numbered(pieces), [], unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer()])
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return wrap(backend, eos_token="</s>", unk_token="<unk>")


def ends_of_words() -> PreTrainedTokenizerBase:
    """The mark of a word's end is a token too, which reads as nothing at the end of a text."""
    backend = Tokenizer(models.BPE(numbered(["</s>", "a</w>", "</w>", "b"]), [], end_of_word_suffix="</w>"))
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return wrap(backend, eos_token="</s>")


def words_without_decoder() -> PreTrainedTokenizerBase:
    """Texts are the tokens with spaces between; a foreign word has no token at all."""
    numbers = [str(number) for number in range(37)]
    backend = Tokenizer(models.WordLevel(numbered(["<eos>", *numbers, *SIGNS[10:]])))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    return wrap(backend, eos_token="<eos>")


def holes() -> PreTrainedTokenizerBase:
    """Numbers of tokens with gaps, the highest above their count, and a token whose text is empty."""
    vocabulary = {sign: 3 * place + 1 for place, sign in enumerate([*SIGNS, "", "<eos>"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=""))
    backend.pre_tokenizer = EVERY_SIGN_ALONE
    backend.decoder = decoders.Fuse()
    return wrap(backend, eos_token="<eos>")


def byt5() -> PreTrainedTokenizerBase:
    """A tokenizer in Python: bytes, of which those that are no UTF-8 are dropped in decoding; ends texts."""
    tokenizer: PreTrainedTokenizerBase = ByT5Tokenizer(padding_side="left")
    return tokenizer


KINDS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    kind.__name__: kind
    for kind in (
        build_character_tokenizer,
        bpe,
        bpe_with_unknown,
        gpt2,
        qwen,
        llama,
        llama_that_ends_texts,
        phi3,
        unigram,
        wordpiece,
        openai_gpt,
        words_without_decoder,
        holes,
        byt5,
    )
}


def random_policy(tokenizer: PreTrainedTokenizerBase, rows: int | None = None, *, seed: int = 0) -> Policy:
    """A Llama with random weights whose embedding has `rows` rows; 64 more than the tokenizer needs by default."""
    torch.manual_seed(seed)
    rows = rows or max(tokenizer.get_vocab().values()) + 65
    return Policy(LlamaForCausalLM(tiny_config(rows, hidden_size=8)).eval(), tokenizer, "random")


def policy_that_answers(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: Sequence[int], rows: int) -> Policy:
    """A Llama that draws the given ids after the last token of the prompt, each a function of the one before."""
    model = LlamaForCausalLM(tiny_config(rows, hidden_size=rows)).eval()
    chain = [tokenizer(prompt, add_special_tokens=False).input_ids[-1], *answer]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        model.get_input_embeddings().weight.copy_(torch.eye(rows))
        for token, following in pairwise(chain):
            model.get_output_embeddings().weight[following, token] = 100.0
    return Policy(model, tokenizer, "scripted")


def tiny_config(rows: int, hidden_size: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=rows,
        hidden_size=hidden_size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        head_dim=8,
        bos_token_id=None,
        eos_token_id=None,
    )


def ids_of(tokenizer: PreTrainedTokenizerBase, *tokens: str) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]


def numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def add_template(backend: Tokenizer, template: str, special: Sequence[str]) -> None:
    numbers = [(token, backend.token_to_id(token)) for token in special]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=numbers)


def wrap(backend: Tokenizer, **special: object) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=backend, padding_side="left", **special
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
