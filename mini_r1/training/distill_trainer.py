"""TRL's `DistillationTrainer`, resumed exactly."""

from trl import DistillationTrainer

from mini_r1.training.batch import BatchPlan
from mini_r1.training.exact_resume import ExactEnd, SamePasses


class R1DistillationTrainer(ExactEnd, SamePasses, DistillationTrainer):
    """On-policy distillation (arXiv:2306.13649): the student answers, and learns the teacher's distribution there.

    A step's loss is the mean over all tokens of the student's own completions, the end token included, of
    D(student || teacher) at that place: the reverse KL with `beta: 1`, the forward KL with 0, the generalized
    Jensen-Shannon divergence in between. Both distributions are taken at `temperature`, whole: top_p and top_k only
    choose what is sampled. No gradient goes through the sampling, nor into the teacher.

    Prompts must be strings; TRL makes token ids of them and applies no chat template. Each is answered once a step.
    """

    def log(self, logs, start_time=None):
        logs.pop("train_loss", None)  # an average over this attempt alone: it would change when a run is resumed
        super().log(logs, start_time)


def plan_steps(training, processes: int) -> BatchPlan:
    """The batch of a `DistillationConfig`: one completion of each prompt, one optimizer step from each rollout."""
    return BatchPlan(
        processes=processes,
        per_device=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        num_generations=1,
        steps_per_generation=training.gradient_accumulation_steps,
        num_iterations=1,
        max_steps=training.max_steps,
        num_train_epochs=training.num_train_epochs,
    )
