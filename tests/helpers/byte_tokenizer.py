"""A byte-level tokenizer, for tests of chat templates and of BOS."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BOS, TURN = "<s>", "<|im_start|>"


def byte_tokenizer(adds_bos: bool, chat_template: str | None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer; `adds_bos`: its post-processor puts <s> before every text, as Llama 3's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([BOS, *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False) for token in (BOS, TURN, "<|im_end|>")])
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token="<|im_end|>", chat_template=chat_template
    )
