"""A run that was cut off after its last checkpoint ends where an uninterrupted one does."""


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
