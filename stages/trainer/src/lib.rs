//! LoRA preference training of Llama and Qwen2 decoders.
