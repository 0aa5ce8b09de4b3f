"""Tiny random decoder-only models, as folders that `from_pretrained` loads: no download."""

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from weaverec.lm.backbone import Backbone

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = (
    "Star Wars (1977)\nThe Empire Strikes Back, item film number 0 1 2 3 4 5 6 7 8 9 abc Answer: titles watched user"
)


def decoder(kind: str, folder: Path, **larger: int) -> Backbone:
    """A random `qwen2` or `llama` of two layers, with a byte-level tokenizer; Llama's puts a token before any text."""
    trained = ByteLevelBPETokenizer()
    special = ["<pad>", "<s>", "<|end|>", "<|user|>", "<|system|>", "<|assistant|>"]
    trained.train_from_iterator([WORDS] * 3, vocab_size=320, special_tokens=special, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, pad_token="<pad>", eos_token="<|end|>", bos_token="<s>"
    )
    if kind == "llama":
        from tokenizers.processors import TemplateProcessing

        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "initializer_range": 0.3,  # so that a random model's answers differ between inputs
        **larger,
    }
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**sizes)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**sizes))
    model.save_pretrained(folder)
    return Backbone(kind, folder)
