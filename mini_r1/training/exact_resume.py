"""What transformers and TRL leave inexact where a run goes on from a checkpoint."""

import torch


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
