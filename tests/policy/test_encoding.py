"""The policy is asked what the prompt says, whatever its tokenizer does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from maxent_ray.errors import TaskError
from maxent_ray.policy import Policy, encode_prompts, load_policy, sample_groups, save_policy
from maxent_ray.policy.tokenizer import build_character_tokenizer
from tests.policy import tokenizer_zoo as zoo

Build = Callable[[], PreTrainedTokenizerBase]
COUNTDOWN = "3,5,7=22:"
ASKED = {
    "llama": "<s> ▁3 <0x2C> 5 <0x2C> 7 = 2 2 :",  # the begin token stays
    "llama_that_ends_texts": "<s> ▁3 <0x2C> 5 <0x2C> 7 = 2 2 :",  # </s> behind it would end the prompt
    "phi3": "▁3 <0x2C> 5 <0x2C> 7 = 2 2 :",
    "unigram": "▁ 3 , 5 , 7 = 2 2 :",  # without <sep> </s>
    "wordpiece": "[CLS] 3 , 5 , 7 = 2 ##2 :",  # without [SEP]
    "qwen": "3 , 5 , 7 = 22 :",
    "words_without_decoder": "3 , 5 , 7 = 22 :",
    "openai_gpt": "3</w> ,</w> 5</w> ,</w> 7</w> =</w> 2 2</w> :</w>",
}


def asked(policy: Policy, prompt: str) -> list[str]:
    ids, _ = encode_prompts(policy, [prompt])
    tokens: list[str] = policy.tokenizer.convert_ids_to_tokens(ids[0].tolist())
    return tokens


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_what_is_asked_is_the_prompt_behind_what_the_template_puts_in_front(kind: str) -> None:
    policy = zoo.random_policy(zoo.KINDS[kind]())
    assert asked(policy, COUNTDOWN) == ASKED.get(kind, " ".join(COUNTDOWN)).split()


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_prompts_of_a_batch_are_padded_on_the_left(kind: str) -> None:
    policy = zoo.random_policy(zoo.KINDS[kind]())
    prompts = [COUNTDOWN, "10,11,12=10:", "2,3=5:"]
    ids, mask = encode_prompts(policy, prompts)
    for row, real, prompt in zip(ids, mask.bool(), prompts, strict=True):
        [alone] = encode_prompts(policy, [prompt])[0].tolist()
        assert row[real].tolist() == alone
        assert not (real[:-1] & ~real[1:]).any()
        assert set(row[~real].tolist()) <= {policy.tokenizer.pad_token_id}


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_saved_policy_asks_and_answers_the_same(kind: str, tmp_path: Path) -> None:
    policy = zoo.random_policy(zoo.KINDS[kind]())
    save_policy(policy, tmp_path)
    again = load_policy(str(tmp_path), device=torch.device("cpu"))
    settings = {"group_size": 4, "max_new_tokens": 6, "temperature": 1.0, "seed": 0}
    rollouts = [sample_groups(each, [COUNTDOWN], **settings) for each in (policy, again)]
    assert rollouts[0].input_ids.tolist() == rollouts[1].input_ids.tolist()
    assert rollouts[0].completions == rollouts[1].completions


LOSSES = [
    (lambda: zoo.bpe("0123456789="), "2,3,4=9:", "',' and ':'", "234=9"),
    (lambda: zoo.bpe("0123456789=", "<unk>"), "2,3,4=9:", "',' and ':'", "2<unk>3<unk>4=9<unk>"),
    (lambda: zoo.bpe("0123456789=", "0"), "2,3,4=9:", "',' and ':'", "20304=90"),
    (lambda: zoo.bpe("0123456789=", "</s>"), "2,3,4=9:", "',' and ':'", "2</s>3</s>4=9</s>"),
    (zoo.bpe, "2 3", "' '", "23"),
    (zoo.bpe, "2\n+", r"'\\n'", r"2\+"),
    (zoo.holes, "2x3", "'x'", "23"),
    (zoo.unigram, "2²=4:", "'²'", "22=4:"),
    (zoo.unigram, "2\n3", r"'\\n'", "2 3"),
    (zoo.wordpiece, "IS e", "'I' and 'S'", "is e"),
    (zoo.wordpiece, "is é", "'é'", "is e"),
    (zoo.wordpiece, "2x3", "'2' and 'x' and '3'", r"\[UNK\]"),
    (build_character_tokenizer, "2%3", "'%'", "2<unk>3"),
    (build_character_tokenizer, "é", "'é'", "<unk>"),
]


@pytest.mark.parametrize(("build", "prompt", "lost", "read"), LOSSES)
def test_a_prompt_that_the_tokenizer_changes_is_refused(build: Build, prompt: str, lost: str, read: str) -> None:
    policy = zoo.random_policy(build())
    words = rf"holds {lost}, which it loses in the tokenizer of policy 'random'.*would be asked '{read}'; write"
    with pytest.raises(TaskError, match=words):
        encode_prompts(policy, ["2=2", prompt])


KEPT = [
    (zoo.wordpiece, " is e, 2 . 3\n", "[CLS] is e , 2 . 3"),  # white space at the ends; a decoder that tidies spaces
    (zoo.unigram, "2 3\n", "▁ 2 ▁ 3"),
    (zoo.qwen, "cafe\u0301", "c a f Ã ©"),  # é in two characters and in one are the same text
    (zoo.qwen, "<|im_start|>2\n<|im_end|>\n", "<|im_start|> 2 Ċ <|im_end|> Ċ"),  # written by the user: asked
    (zoo.phi3, "<|user|>\n2\n", "<|user|> ▁ 2 <0x0A>"),  # a special token takes the line's end
    (lambda: zoo.bpe(zoo.SIGNS, "2"), "2=2:", "2 = 2 :"),  # the unknown token is an ordinary one
    (lambda: zoo.llama("<s> $A"), "<s>2", "<s> <s> ▁ 2"),
    (build_character_tokenizer, "2$3", "2 $ 3"),
]


@pytest.mark.parametrize(("build", "prompt", "tokens"), KEPT)
def test_a_prompt_that_is_only_written_in_another_way_is_asked(build: Build, prompt: str, tokens: str) -> None:
    assert asked(zoo.random_policy(build()), prompt) == tokens.split()


@pytest.mark.parametrize("prompt", ["x+1", "2\ud8003", None])
def test_a_prompt_for_which_the_tokenizer_raises_is_named(prompt: str) -> None:
    policy = zoo.random_policy(zoo.words_without_decoder())
    with pytest.raises(TaskError, match="cannot be encoded by the tokenizer of policy 'random'") as caught:
        encode_prompts(policy, ["2+1", prompt])
    assert repr(prompt) in str(caught.value)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_an_empty_prompt_has_no_token_even_where_the_template_adds_some(kind: str) -> None:
    with pytest.raises(TaskError, match="prompt '' has no token"):
        encode_prompts(zoo.random_policy(zoo.KINDS[kind]()), ["2=2:", ""])
