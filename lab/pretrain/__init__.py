"""How `mini-t5` is made: corpora, tokenizer, skills, mixture, loop (`dept-lab pretrain-mini`)."""
