"""What test_memory.py and test_what_fits.py share: a model's shape, recipes' values, and machines."""

from mini_r1.launch.model_shapes import model_shape

SHAPE = model_shape("Qwen/Qwen2.5-3B-Instruct")
BF16 = {"dtype": "bfloat16", "bf16": True, "optim": "adamw_torch"}
LORA = {**BF16, "use_peft": True, "lora_target_modules": ["all-linear"]}
COUNTDOWN = {**BF16, "max_completion_length": 1024, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 8}
NODE = {"processes": 7, "backend": "server", "prompt_tokens": 200, "gpu_gib": 80.0}
ONE = {"processes": 1, "backend": "hf", "prompt_tokens": 200, "gpu_gib": 24.0}
