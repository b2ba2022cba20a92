"""Trainers of supervised fine-tuning and distillation that resume exactly, Muon, and a measurement of their models."""

import time

import torch
from trl import DistillationTrainer, GRPOConfig, SFTTrainer

from mini_r1.evaluation.grading import Grader
from mini_r1.training.callbacks import SameEpochs, add_callbacks
from mini_r1.training.grpo_trainer import R1GRPOTrainer
from mini_r1.training.trl_internals import ExactEnd


class R1SFTTrainer(ExactEnd, SFTTrainer):
    """TRL's `SFTTrainer`, resumed exactly."""


class R1DistillationTrainer(ExactEnd, DistillationTrainer):
    """On-policy distillation (arXiv:2306.13649): the student answers, and learns the teacher's distribution there.

    The loss is the mean over all tokens of the student's completions, the end token included, of D(student || teacher):
    the reverse KL with `beta: 1`, the forward KL with 0, the generalized Jensen-Shannon divergence in between. Both
    distributions are whole, at `temperature`; top_p and top_k only choose what is sampled. No gradient goes through the
    sampling or into the teacher.

    Prompts must be strings, to which TRL applies no chat template. Each is answered once a step.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback(SameEpochs())

    def log(self, logs, start_time=None):
        logs.pop("train_loss", None)  # an average over this attempt alone: it would change when a run is resumed
        super().log(logs, start_time)


class MuonWithAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` (Jordan et al. 2024, "Muon: an optimizer for hidden layers") and `torch.optim.AdamW` as one.

    Muon takes the two-dimensional weights of the layers, AdamW the others. The learning-rate schedule scales both.

    Args:
        model: a model whose hidden weights have "layers" in their names, as transformers' have.
        muon_lr: learning rate of Muon.
        adamw: arguments of AdamW, such as lr and betas.
    """

    def __init__(self, model: torch.nn.Module, muon_lr: float, **adamw):
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        hidden = [p for name, p in named if p.ndim == 2 and "layers." in name]
        others = [p for name, p in named if not (p.ndim == 2 and "layers." in name)]
        self.parts = [torch.optim.Muon(hidden, lr=muon_lr, weight_decay=0.0), torch.optim.AdamW(others, **adamw)]
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        # the same dictionaries of groups, so that the parts see the learning rate that a schedule sets
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups = [group]

    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


class MuonFactory:
    """Makes an optimizer that needs the whole model, as transformers' Trainer calls it."""

    def __call__(self, model: torch.nn.Module, **kwargs) -> MuonWithAdamW:
        return MuonWithAdamW(model, **kwargs)


def measure_trained(trainer, test_set, grader: Grader, name: str, samples: int, **sampling) -> dict:
    """Measures the model of one of these trainers, as `R1GRPOTrainer.measure` does.

    Args:
        trainer: after or within its training, which may have split the model over processes.
        test_set: a dataset of rows with `prompt`, as `to_datasets` makes it.
        samples: completions of each problem.
        sampling: keys of `GRPOConfig`: how long completions may be, and what else their sampling needs.
    """
    training = trainer.args
    batch = max(samples, training.per_device_eval_batch_size // samples * samples)
    same = ("output_dir", "seed", "use_cpu", "bf16", "fp16")
    config = GRPOConfig(
        **{key: getattr(training, key) for key in same},
        report_to="none",
        gradient_checkpointing=False,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        num_generations=samples,
        **sampling,
    )
    measuring = R1GRPOTrainer(
        model=trainer.model,
        reward_funcs=[grader.correct],
        args=config,
        train_dataset=test_set,
        eval_dataset=test_set,
        processing_class=trainer.processing_class,
        grader=grader,
    )
    # DeepSpeed and FSDP wrap a model only once: go on with what the training has wrapped
    measuring.accelerator, measuring.model_wrapped = trainer.accelerator, trainer.model_wrapped
    measuring.deepspeed = trainer.deepspeed
    add_callbacks(measuring, time.monotonic)
    return measuring.measure(config.seed, name)
