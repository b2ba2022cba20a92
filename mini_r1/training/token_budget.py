"""Counts the completion tokens that a run has sampled, and ends it when they are used up."""

from transformers import TrainerCallback


class TokenBudget(TrainerCallback):
    """Logs `generated_tokens`, the completion tokens of all processes so far, and ends the training at a limit.

    Resumed runs count on from the log, which holds the number of the checkpoint's step if every step is logged.
    """

    def __init__(self, trainer, limit: int | None):
        self.trainer, self.limit = trainer, limit
        self.tokens = 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.tokens = max((entry.get("generated_tokens", 0) for entry in state.log_history), default=0)

    def on_step_end(self, args, state, control, **kwargs):
        self.tokens += round(self.trainer.times.tokens)
        self.trainer._metrics["train"]["generated_tokens"] = [self.tokens]
        if self.limit is not None and self.tokens >= self.limit:
            control.should_training_stop = True
            control.should_save = False  # resumed from here, it would take one step more than an uninterrupted run
