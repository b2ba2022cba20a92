"""OpenAI's completion and chat protocols: what is asked for, and how to read what comes back from any server."""

from dataclasses import dataclass

from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Completion, Sampling

# Not in OpenAI's protocol: what each is when it is off. Left out then, except for servers whose own defaults, or those
# of the model's generation_config.json, would step in. Servers say who they are in /v1/models, as `owned_by`.
EXTRAS_OFF = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
HAVE_DEFAULTS = ("vllm", "sglang", "llamacpp")
VLLM = "vllm"
SHOWN_MODELS = 10


@dataclass(frozen=True)
class Way:
    """How a server is asked.

    Attributes:
        ids: with token ids, not text.
        chat: in a conversation, not with a prompt to complete.
        single: one request for each completion.
        limit: the name of the largest number of tokens, which newer chat services call max_completion_tokens.
    """

    ids: bool = False
    chat: bool = False
    single: bool = False
    limit: str = "max_tokens"

    @property
    def path(self) -> str:
        return "/chat/completions" if self.chat else "/completions"


def ways(chat: bool, several: bool) -> list[Way]:
    """The ways to ask a server, the best first.

    Args:
        several: whether more than one completion of a prompt is wanted.
    """
    singles = (False, True) if several else (False,)
    if chat:
        limits = ("max_tokens", "max_completion_tokens")
        return [Way(chat=True, single=single, limit=limit) for single in singles for limit in limits]
    return [Way(ids=ids, single=single) for single in singles for ids in (True, False)]


def sampling_fields(sampling: Sampling, server: str) -> dict:
    """How to draw, in a request's fields. `server`: its `owned_by`."""
    greedy = sampling.greedy
    extras = {
        "top_k": -1 if greedy or sampling.top_k <= 0 else sampling.top_k,
        "min_p": 0.0 if greedy else sampling.min_p or 0.0,
        "repetition_penalty": sampling.repetition_penalty,
    }
    return {
        "temperature": 0.0 if greedy else sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        **{name: value for name, value in extras.items() if value != EXTRAS_OFF[name] or server in HAVE_DEFAULTS},
        **({"return_token_ids": True} if server == VLLM else {}),
    }


def find_model(answer: dict, wanted: str | None, url: str) -> tuple[str, str]:
    """The model's name and its `owned_by` ("" where it is not said), from the answer of /v1/models.

    Raises:
        RecipeError: where `wanted` is not served, or None though several are.
    """
    listed = answer.get("data")
    models = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    found = {one["id"]: one for one in models if isinstance(one.get("id"), str)}
    names = ", ".join(sorted(found)[:SHOWN_MODELS]) + (" and others" if len(found) > SHOWN_MODELS else "")
    if not found:
        raise RecipeError(f"{url}/models lists no model; is this an OpenAI-compatible server?")
    if wanted is None and len(found) > 1:
        raise RecipeError(f"{url} serves several models; name one of: {names}")
    if wanted is not None and wanted not in found:
        raise RecipeError(f"{url} does not serve {wanted!r}; it serves: {names}")
    name = next(iter(found)) if wanted is None else wanted
    return name, str(found[name].get("owned_by") or "")


def prompt_tokens(answer: dict) -> int | None:
    """How many tokens the server counted in the prompt; None where it does not say."""
    return _count(answer, "prompt_tokens")


def read_completions(answer: dict, tokenizer, longest: int, url: str) -> list[Completion]:
    """The completions in an answer, in their order, at least one.

    The tokens are counted from their ids where the server gives them, else taken from its count where that is for one
    completion and at most `longest`, else counted in the text, with an end token where one must have been.

    Raises:
        RecipeError: where there is no completion, or one has no text.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(one, dict) for one in choices):
        raise RecipeError(f"{url} answers without any completion in `choices`")
    if all(type(one.get("index")) is int for one in choices):
        choices = sorted(choices, key=lambda one: one["index"])
    counted = _count(answer, "completion_tokens") if len(choices) == 1 else None
    return [_completion(one, counted, tokenizer, longest, url) for one in choices]


def _completion(choice: dict, counted: int | None, tokenizer, longest: int, url: str) -> Completion:
    cut_off = choice.get("finish_reason") == "length"
    ids = choice.get("token_ids")
    if isinstance(ids, list) and ids and all(type(token) is int and 0 <= token < 2**31 for token in ids):
        return Completion(text=tokenizer.decode(ids, skip_special_tokens=True), tokens=len(ids), cut_off=cut_off)
    text = choice.get("text")
    if isinstance(choice.get("message"), dict):  # its content is null where a service got no further than its reasoning
        text = choice["message"].get("content") or ""
    if not isinstance(text, str):
        raise RecipeError(f"{url} answers with a completion that has no text")
    text = text.encode(errors="replace").decode()  # JSON can hold half a letter, which no file takes
    if counted is None or not 0 < counted <= longest:
        ended = choice.get("finish_reason") == "stop"
        counted = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + ended
    return Completion(text=text, tokens=counted, cut_off=cut_off)


def _count(answer: dict, name: str) -> int | None:
    usage = answer.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int else None
