"""scripts/run_r1_grpo.py on completions that are known beforehand, so that runs can differ only in how they compute.

A completion depends on its prompt and on its place in the group, not on the policy, nor on the process that asks for
it. Loss type and advantage change from step to step; twelve steps are all pairs of them.
"""

import random
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_r1_grpo.py"
LOSS_TYPES = ("grpo", "dapo", "dr_grpo")
ADVANTAGES = ("group", "leave_one_out", "reinforce_lite", "batch")


def odd_tokens(completions, completion_ids, **kwargs) -> list[float]:
    """A reward that nearly always differs within a group: the share of odd token ids."""
    return [sum(i % 2 for i in ids) / max(len(ids), 1) for ids in completion_ids]


def long_tokens(completions, completion_ids, **kwargs) -> list[float]:
    """Another one, for one task of two: how many tokens have a high id, in tenths."""
    return [sum(i > 300 for i in ids) / 10 for ids in completion_ids]


def complete(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
    """In place of the trainer's generation: token ids for each prompt of this process, and no log-probabilities."""
    tokenizer = self.processing_class
    words = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    first = self.accelerator.process_index * len(prompt_ids)  # two processes may share a group
    completions = []
    for place, ids in enumerate(prompt_ids, first):
        dice = random.Random(f"{ids} {place % num_generations}")
        length = dice.randint(1, self.max_completion_length - 1)
        completions.append([*dice.choices(words, k=length), tokenizer.eos_token_id])
    return completions, None


def main() -> None:
    from mini_r1.training.grpo_trainer import R1GRPOTrainer

    own_step = R1GRPOTrainer.training_step

    def training_step(self, *args):
        self.loss_type = LOSS_TYPES[self.state.global_step % len(LOSS_TYPES)]
        self.options.advantage = ADVANTAGES[self.state.global_step % len(ADVANTAGES)]
        return own_step(self, *args)

    R1GRPOTrainer._generate_single_turn = complete
    R1GRPOTrainer.training_step = training_step
    runpy.run_path(str(SCRIPT), run_name="__main__")


if __name__ == "__main__":
    main()
