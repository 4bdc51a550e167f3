#!/bin/sh
# In this folder: {{ command }}
exec deepspeed --module openrlhf.cli.train_dpo \
  --model.model_name_or_path {{ model | shell }} \
  --data.dataset {{ data }} \
  --data.prompt_key prompt \
  --data.chosen_key chosen \
  --data.rejected_key rejected \
  --data.apply_chat_template \
  --data.max_len 2048 \
  --model.beta 0.1 \
  --ds.lora.rank 8 \
  --ds.lora.alpha 16 \
  --train.batch_size {{ batch }} \
  --train.micro_batch_size 1 \
  --train.max_epochs 1 \
  --adam.lr 5e-5 \
  --ckpt.output_dir out
