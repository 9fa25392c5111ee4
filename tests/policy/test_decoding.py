"""The grader reads what was sampled, whatever the tokenizer does."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from transformers import PhiConfig, PhiForCausalLM

from maxent_ray.policy import Policy, encode_prompts, sample_groups
from maxent_ray.policy.decoding import decode_completions
from maxent_ray.tasks import Countdown, Prompt
from tests.policy import tokenizer_zoo as zoo

QUESTION = "3,5,7=22:"
TASK = Countdown()


def read(policy: Policy, *answers: Sequence[int], prompt: str = QUESTION) -> list[str]:
    """Texts of answers of the given ids."""
    width = max(map(len, answers))
    ids = torch.tensor([[*answer, *[0] * (width - len(answer))] for answer in answers])
    mask = torch.tensor([[place < len(answer) for place in range(width)] for answer in answers])
    prompt_ids, _ = encode_prompts(policy, [prompt])
    return decode_completions(policy, prompt_ids.expand(len(answers), -1), ids, mask)


def answer_ids(policy: Policy, answer: str) -> list[int]:
    """A way to write an answer behind the question."""
    whole = policy.tokenizer(QUESTION + answer, add_special_tokens=False).input_ids
    start = len(policy.tokenizer(QUESTION, add_special_tokens=False).input_ids)
    return whole[start:]


def reward(answer: str) -> float:
    return TASK.grade(Prompt(QUESTION), answer).reward


def test_ids_beyond_the_tokenizer_make_an_answer_wrong() -> None:
    tokenizer = zoo.qwen()
    seven, plus_five, times_three = zoo.ids_of(tokenizer, "7", "+5", "*3")
    answer = [seven, 305, plus_five, 309, 310, times_three]
    policy = zoo.policy_that_answers(tokenizer, QUESTION, [*answer, tokenizer.eos_token_id], rows=364)
    assert len(tokenizer) == 300
    rollout = sample_groups(policy, [QUESTION], group_size=2, max_new_tokens=8, temperature=1.0, seed=0)
    assert rollout.completion_ids.tolist() == 2 * [[*answer, tokenizer.eos_token_id]]
    assert rollout.completions == 2 * ["7\ufffd+5\ufffd\ufffd*3"]
    assert reward(rollout.completions[0]) == 0.0
    assert read(policy, [seven, plus_five, times_three]) == ["7+5*3"]
    assert reward("7+5*3") == 1.0


def test_random_weights_show_every_id_beyond_the_tokenizer() -> None:
    policy = zoo.random_policy(zoo.qwen(), 364)
    rollout = sample_groups(policy, [QUESTION], group_size=64, max_new_tokens=14, temperature=1.0, seed=0)
    foreign = (rollout.completion_ids >= 300).sum(dim=1).tolist()
    assert sum(count > 0 for count in foreign) > 32
    assert all(text.count("\ufffd") >= count for text, count in zip(rollout.completions, foreign, strict=True))


def test_a_model_that_masks_its_spare_rows_draws_none_of_them() -> None:
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=364,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        eos_token_id=None,
    )
    model = PhiForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.bias[300:] = -torch.inf
    policy = Policy(model, zoo.qwen(), "masked")
    rollout = sample_groups(policy, [QUESTION], group_size=64, max_new_tokens=14, temperature=1.0, seed=0)
    assert int(rollout.completion_ids.max()) < 300
    drawn = zip(rollout.completion_ids, rollout.completion_mask, strict=True)
    texts = policy.tokenizer.batch_decode([ids[mask] for ids, mask in drawn])
    assert rollout.completions == [text.removesuffix("<|im_end|>") for text in texts]


def test_an_end_token_may_lie_beyond_the_tokenizer() -> None:
    policy = zoo.policy_that_answers(zoo.qwen(), QUESTION, [*zoo.ids_of(zoo.qwen(), "7"), 333], rows=364)
    assert policy.model.generation_config is not None
    policy.model.generation_config.eos_token_id = [333]
    rollout = sample_groups(policy, [QUESTION], group_size=1, max_new_tokens=8, temperature=1.0, seed=0)
    assert rollout.completion_ids.shape == (1, 2)
    assert rollout.completions == ["7"]


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_right_answer_is_right(kind: str) -> None:
    policy = zoo.random_policy(zoo.KINDS[kind]())
    answer = answer_ids(policy, "7+5*3")
    [text, with_end] = read(policy, answer, [*answer, policy.tokenizer.eos_token_id])
    assert text == with_end
    assert text.replace(" ", "") == "7+5*3"
    assert reward(text) == 1.0


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_token_without_a_text_makes_it_wrong(kind: str) -> None:
    policy = zoo.random_policy(zoo.KINDS[kind]())
    answer = answer_ids(policy, "7+5*3")
    foreign = max(policy.tokenizer.get_vocab().values()) + 5
    places = range(len(answer) + 1)
    texts = read(policy, *([*answer[:place], foreign, *answer[place:]] for place in places))
    assert all(text.count("\ufffd") == 1 and reward(text) == 0.0 for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_no_token_vanishes(kind: str) -> None:
    """Property: of random ids, each makes a difference to the text; or the text is unreadable and says so."""
    policy = zoo.random_policy(zoo.KINDS[kind]())
    ends = policy.end_ids
    drawn = random.Random(0)
    usual = [each for each in range(policy.model.config.vocab_size) if each not in ends]
    for answer in [drawn.choices(usual, k=8) for _ in range(64)]:
        whole, *others = read(policy, answer, *(answer[:place] + answer[place + 1 :] for place in range(8)))
        assert "\ufffd" in whole or whole not in others


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_an_answer_reads_the_same_in_every_batch(kind: str) -> None:
    policy = zoo.random_policy(zoo.KINDS[kind]())
    drawn = random.Random(1)
    answers = [drawn.choices(range(policy.model.config.vocab_size), k=6) for _ in range(16)]
    assert read(policy, *answers) == [text for answer in answers for text in read(policy, answer)]


@pytest.mark.parametrize("kind", [*zoo.KINDS, "ends_of_words"])
def test_an_answer_reads_the_same_whatever_prompts_are_beside_its_own(kind: str) -> None:
    policy = zoo.random_policy(zoo.ends_of_words() if kind == "ends_of_words" else zoo.KINDS[kind]())
    ends, size = policy.end_ids, policy.model.config.vocab_size - 64
    prompts = torch.tensor(8 * [[token] for token in range(size) if token not in ends][:32])
    drawn = random.Random(2)
    answers = torch.tensor([drawn.choices(range(size), k=4) for _ in prompts])
    mask = torch.ones_like(answers, dtype=torch.bool)
    texts = decode_completions(policy, prompts, answers, mask)
    assert decode_completions(policy, prompts.flip(0), answers.flip(0), mask) == texts[::-1]


def test_an_end_of_a_word_that_adds_nothing_is_seen_behind_every_prompt() -> None:
    policy = zoo.random_policy(zoo.ends_of_words())
    a, end, b = zoo.ids_of(policy.tokenizer, "a</w>", "</w>", "b")
    answers, mask = torch.tensor([[b, end], [b, end]]), torch.ones(2, 2, dtype=torch.bool)
    assert decode_completions(policy, torch.tensor([[a], [b]]), answers, mask) == [" b\ufffd", "b\ufffd"]
    assert decode_completions(policy, torch.tensor([[b], [a]]), answers, mask) == ["b\ufffd", " b\ufffd"]


def test_tokens_without_a_text_cost_no_call_each(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = zoo.random_policy(zoo.holes())
    seven, empty = zoo.ids_of(policy.tokenizer, "7", "")
    calls: list[int] = []
    decode = policy.tokenizer.batch_decode

    def counted(rows: list[list[int]], **settings: bool) -> list[str]:
        calls.append(len(rows))
        return decode(rows, **settings)  # type: ignore[return-value]

    monkeypatch.setattr(policy.tokenizer, "batch_decode", counted)
    assert read(policy, *32 * [100 * [seven, empty]]) == 32 * [100 * "7\ufffd"]
    assert len(calls) < 10  # of the prompt, too


def test_holes_and_empty_tokens_are_seen() -> None:
    policy = zoo.random_policy(zoo.holes())
    seven, plus, five, empty = zoo.ids_of(policy.tokenizer, "7", "+", "5", "")
    assert policy.tokenizer.convert_ids_to_tokens(seven + 1) is None
    assert read(policy, [seven, plus, five]) == ["7+5"]
    assert read(policy, [seven, seven + 1, plus, five]) == ["7\ufffd+5"]
    assert read(policy, [seven, empty, plus, five, empty]) == ["7\ufffd+5\ufffd"]


def test_a_continuation_mark_alone_is_seen() -> None:
    policy = zoo.random_policy(zoo.wordpiece())
    seven, mark, plus = zoo.ids_of(policy.tokenizer, "7", "##", "+")
    assert read(policy, [seven, mark, plus])[0].split() == ["7\ufffd", "+"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["▁7", "+5"], " 7+5"),  # sentencepiece strips the space of a text decoded alone
        (["7", "+5"], "7+5"),
        (["▁", "▁7"], "  7"),
        (["<0xE2>", "<0x82>", "<0xAC>", "7"], "€7"),
        (["7", "<0xE2>", "<0x82>", "+5"], "7\ufffd\ufffd+5"),  # a character that is not complete
        (["<0x82>", "7"], "\ufffd7"),
        (["7", "<s>", "+5"], "7<s>+5"),
        (["7", "</s>"], "7"),
    ],
)
@pytest.mark.parametrize("prompt", [QUESTION, "2,3=5€", "2,3=5: ", "2,"])
def test_an_answer_is_read_where_it_stands(prompt: str, tokens: list[str], text: str) -> None:
    policy = zoo.random_policy(zoo.llama())
    assert read(policy, zoo.ids_of(policy.tokenizer, *tokens), prompt=prompt) == [text]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (b"7\xff+5", "7\ufffd+5"),
        ("7é€+5".encode(), "7é€+5"),
        (b"\xff\xc3\xa9", "\ufffdé"),
        (b"\xc3\xa9\xff", "é\ufffd"),
        (b"7\xe2\x82", "7\ufffd\ufffd"),
        ("€".encode()[:2] + "€".encode(), "\ufffd\ufffd€"),
    ],
)
def test_bytes_that_a_decoder_drops_are_seen(values: bytes, text: str) -> None:
    policy = zoo.random_policy(zoo.byt5())
    assert read(policy, [value + 3 for value in values]) == [text]


def test_special_tokens_inside_an_answer_are_spelled_out() -> None:
    policy = zoo.random_policy(zoo.qwen())
    tokens = zoo.ids_of(policy.tokenizer, "7", "<|im_start|>", "+5", "<tool 3>", "<|endoftext|>", "*3")
    assert read(policy, tokens) == ["7<|im_start|>+5<tool 3><|endoftext|>*3"]


def test_a_tokenizer_that_cleans_up_spaces_leaves_those_of_answers() -> None:
    policy = zoo.random_policy(zoo.words_without_decoder())
    policy.tokenizer.clean_up_tokenization_spaces = True
    assert read(policy, zoo.ids_of(policy.tokenizer, "7", ".", "3")) == [" 7 . 3"]
