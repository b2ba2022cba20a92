"""Trainers that resume exactly as an uninterrupted run would go on; short, as the hook is in trl_internals.py."""

import torch
from transformers import TrainerCallback
from trl import DistillationTrainer, SFTTrainer

from mini_r1.training.trl_internals import ExactEnd


class SameEpochs(TrainerCallback):
    """Lets a resumed run of GRPO or distillation meet the rows in the order of an uninterrupted one.

    TRL draws the order of every epoch from one generator, which no checkpoint holds: a run resumed in its second epoch
    would begin with the order of the first. This draws the epochs before the checkpoint again.
    """

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        batches = train_dataloader.batch_sampler
        sampler = getattr(batches, "batch_sampler", batches).sampler  # several processes share one
        if sampler.shuffle:
            for _ in range(int(state.epoch or 0)):
                torch.randperm(sampler.num_samples, generator=sampler.generator)


class R1SFTTrainer(ExactEnd, SFTTrainer):
    """TRL's `SFTTrainer`; nothing else is changed."""


class R1DistillationTrainer(ExactEnd, DistillationTrainer):
    """On-policy distillation (arXiv:2306.13649): the student answers, and learns the teacher's distribution there.

    A step's loss is the mean over all tokens of the student's own completions, the end token included, of
    D(student || teacher) at that place: the reverse KL with `beta: 1`, the forward KL with 0, the generalized
    Jensen-Shannon divergence in between. Both distributions are taken at `temperature`, whole: top_p and top_k only
    choose what is sampled. No gradient goes through the sampling, nor into the teacher.

    Prompts must be strings; TRL makes token ids of them and applies no chat template. Each is answered once a step.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback(SameEpochs())

    def log(self, logs, start_time=None):
        logs.pop("train_loss", None)  # an average over this attempt alone: it would change when a run is resumed
        super().log(logs, start_time)
