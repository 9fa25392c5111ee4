"""A chat is asked as the tokens that the chat template of its tokenizer makes, and no others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from maxent_ray.errors import TaskError
from maxent_ray.policy import encode_prompts, for_chats, write_chat
from tests.policy import tokenizer_zoo as zoo

CHAT = [{"role": "user", "content": "3,5,7=22:"}]
ANSWERED = [*CHAT, {"role": "assistant", "content": "7+5*3"}, {"role": "user", "content": "2+2=4:"}]
CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_BEGIN = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'system' %}{{ raise_exception('no system turn') }}"
    "{% endif %}{{ turn.content }}{% endfor %}"
)
WITHOUT_BEGIN = "{% for turn in messages %}{{ turn.content }}{% endfor %}"


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("chat", [CHAT, ANSWERED])
@pytest.mark.parametrize(
    ("kind", "template"), [("qwen", CHATML), ("llama", WITH_BEGIN), ("llama", WITHOUT_BEGIN), ("gpt2", WITHOUT_BEGIN)]
)
def test_the_tokens_are_those_of_the_template(kind: str, template: str, chat: list[dict[str, str]]) -> None:
    policy = for_chats(zoo.random_policy(with_template(zoo.KINDS[kind](), template)))
    expected = policy.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    ids, mask = encode_prompts(policy, [write_chat(policy, chat)])
    assert ids[0].tolist() == expected
    assert mask.all()


def test_a_begin_token_is_asked_once() -> None:
    policy = for_chats(zoo.random_policy(with_template(zoo.llama(), WITH_BEGIN)))
    twice = replace(policy, adds_special_tokens=True)  # the error that is avoided
    begin = policy.tokenizer.bos_token_id
    text = write_chat(policy, CHAT)
    assert [encode_prompts(each, [text])[0][0].tolist().count(begin) for each in (policy, twice)] == [1, 2]


def test_a_chat_that_the_template_refuses() -> None:
    policy = for_chats(zoo.random_policy(with_template(zoo.llama(), WITH_BEGIN)))
    with pytest.raises(TaskError, match=r"cannot write \[.*'Be short'.*\] \(no system turn\); change the messages"):
        write_chat(policy, [{"role": "system", "content": "Be short"}, *CHAT])


def test_no_template() -> None:
    with pytest.raises(TaskError, match=r"has no chat template; set tokenizer.chat_template and save it"):
        for_chats(zoo.random_policy(zoo.llama()))
