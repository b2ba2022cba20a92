"""What test_whole_path.py and test_killed_pipeline.py share: a tiny pipeline's recipes, file name -> text."""

TASK = """
task: countdown
task_args: {n: 200, seed: 0, count: [2, 3], numbers: [1, 9], operators: "+-", in_order: true}
max_prompt_tokens: 64
max_completion_length: 12
num_generations_eval: 2
use_cpu: true
bf16: false
dtype: float32
gradient_checkpointing: false
"""
RECIPES = {
    "mini-base.yaml": f"""
seed: 42
output_dir: runs/{{recipe}}-s{{seed}}
{TASK.split("max_prompt")[0]}
trace_args: {{operators: "+-"}}
model_sizes: {{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2,
  num_key_value_heads: 2, max_position_embeddings: 256}}
""",
    "mini-sft.yaml": f"""
extends: _base/sft.yaml
{TASK}
model_name_or_path: runs/mini-base-s{{seed}}
num_traces: 640
trace_phases: [{{share: 1, operators: "+-", give_up: 0.5}}]
per_device_train_batch_size: 64
per_device_eval_batch_size: 16
muon_learning_rate: 0.02
learning_rate: 5.0e-3
train_sampling_strategy: sequential
num_train_epochs: 1
save_steps: 5
max_eval_rows: 4
""",
    "mini.yaml": f"""
extends: _base/grpo.yaml
{TASK}
model_name_or_path: runs/mini-sft-s{{seed}}
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
per_device_eval_batch_size: 16
num_generations: 4
max_eval_rows: 10
max_steps: 6
save_steps: 2
save_total_limit: 3
learning_rate: 1.0e-3
""",
    "mini-eval.yaml": """
extends: mini.yaml
model_name_or_path: runs/mini-s{seed}
top_k: 1
num_generations_eval: 1
max_eval_rows: null
""",
    "pipelines/mini.yaml": """
stages:
  - {name: base,       run: build_model, recipe: ../mini-base.yaml}
  - {name: cold-start, run: sft,         recipe: ../mini-sft.yaml,  init_from: base}
  - {name: rl,         run: r1_grpo,     recipe: ../mini.yaml,      init_from: cold-start}
  - {name: greedy,     run: evaluate,    recipe: ../mini-eval.yaml, init_from: rl}
""",
}
