"""TRL's trainers, resumed exactly: what transformers and TRL leave inexact where a run goes on from a checkpoint."""

import torch
from trl import DistillationTrainer, SFTTrainer


class ExactEnd:
    """Before a transformers `Trainer` in a class's bases: takes no step beyond `max_steps`.

    transformers looks at `max_steps` only after a step. Resumed from the checkpoint of its very last step, in the
    middle of an epoch, a run would take one more.
    """

    def _run_epoch(self, *args, **kwargs):
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)


class SamePasses:
    """Before a `GRPOTrainer` in a class's bases: a resumed run meets the rows in the order of an uninterrupted one.

    TRL draws every pass over the rows from one generator, which no checkpoint holds: a run resumed in its second pass
    would begin with the first one's order.
    """

    def _get_train_sampler(self, dataset=None):
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _init_training_state(self, *args):
        passes, rest = super()._init_training_state(*args)
        if self.shuffle_dataset:
            for _ in range(passes):
                torch.randperm(self._train_sampler.num_samples, generator=self._train_sampler.generator)
        return passes, rest


class R1SFTTrainer(ExactEnd, SFTTrainer):
    """TRL's `SFTTrainer`; nothing else is changed."""


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
