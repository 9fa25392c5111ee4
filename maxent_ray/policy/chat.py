"""Chats as prompts: messages written by the chat template of a policy's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from maxent_ray.errors import TaskError
from maxent_ray.policy.loading import Policy


def for_chats(policy: Policy) -> Policy:
    """The same policy, to be asked chats: the template writes all special tokens, so that none is added.

    Raises:
        TaskError: the tokenizer has no chat template.

    Example:
        >>> import torch
        >>> from maxent_ray.policy import load_policy
        >>> for_chats(load_policy("embedded", device=torch.device("cpu")))
        Traceback (most recent call last):
        maxent_ray.errors.TaskError: the prompts are chats, and the tokenizer of policy 'embedded' has no ...
    """
    if not policy.tokenizer.chat_template:
        raise TaskError(
            f"the prompts are chats, and the tokenizer of policy {policy.name!r} has no chat template; set "
            "tokenizer.chat_template and save it, choose a model made for chats, or write the prompts as text"
        )
    return replace(policy, adds_special_tokens=False)


def write_chat(policy: Policy, messages: Sequence[Mapping[str, str]]) -> str:
    """Write messages as the text that asks for the assistant's answer.

    Args:
        policy: Its tokenizer has the template.
        messages: With ``role`` and ``content``.

    Raises:
        TaskError: the template refuses them, as where roles do not alternate.

    Example:
        >>> import torch
        >>> from maxent_ray.policy import load_policy
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> policy.tokenizer.chat_template = "{% for turn in messages %}{{ turn.content }}:{% endfor %}"
        >>> write_chat(policy, [{"role": "user", "content": "2,3=5"}])
        '2,3=5:'
    """
    try:
        written = policy.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # of jinja, and what a template raises itself
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TaskError(
            f"the chat template of policy {policy.name!r} cannot write {list(messages)!r} ({reason}); change the "
            "messages, or choose another model"
        ) from error
    return str(written)
