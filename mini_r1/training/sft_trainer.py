"""TRL's `SFTTrainer`, resumed exactly."""

from trl import SFTTrainer

from mini_r1.training.exact_resume import ExactEnd


class R1SFTTrainer(ExactEnd, SFTTrainer):
    """Nothing else is changed."""
