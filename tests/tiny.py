"""A real chat model of two layers and random weights, made in a second; nothing is downloaded."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' and loop.first %}"
    "{{ raise_exception('a conversation cannot begin with a reply') }}{% endif %}"
    "{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)

# Bounds that a model of random weights, trained hard for a second, keeps within.
LOOSE = {
    "max_general_rise": 50,
    "max_divergence": 50,
    "max_liked_rise": 50,
    "max_margin_fall": 50,
    "max_misplaced": 1,
    "max_end_rise": 50,
    "max_stop_fall": 1,
    "max_repetition_rise": 1,
    "max_foreign_rise": 1,
    "max_distinct_fall": 1,
    "max_length_factor": 1000,
    "max_refusal_fall": 1,
    "max_bias_rise": 50,
}


def make_tiny(folder: Path, seed: int = 0, context: int = 256, kind: str = "llama", **more: object) -> Path:
    """Write model, tokenizer and chat template to a folder, and return it; `more` goes into the configuration."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["the quick brown fox", "hello world", "user assistant system"], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", chat_template=TEMPLATE
    )
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.eos_token_id,
        bos_token_id=None,
        initializer_range=0.2,  # so that logits differ enough to learn and to write different texts
        tie_word_embeddings=True,
        **more,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder
