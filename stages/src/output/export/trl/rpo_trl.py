"""RPO's loss in TRL (1.16): -log sigmoid(beta * D - gamma * g), where D is DPO's difference of log-ratios and g a pair's margin_g.

    RPOTrainer(model, gamma=0.05, args=DPOConfig(beta=0.1, ...), train_dataset=pairs)

is a DPOTrainer in all else. With gamma=0 it is DPO. What it logs under rewards/ is without the margin, as in TRL.
"""

import torch
from torch.nn.functional import logsigmoid
from torch.overrides import TorchFunctionMode
from trl import DPOTrainer


class Margin(TorchFunctionMode):
    """Where the loss takes the log sigmoid of its pairs, the margin is taken off first."""

    def __init__(self, margin):
        super().__init__()
        self.margin, self.taken = margin, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is logsigmoid and args[0].shape == self.margin.shape:
            args, self.taken = (args[0] - self.margin,), self.taken + 1
        return func(*args, **(kwargs or {}))


class RPOTrainer(DPOTrainer):
    def __init__(self, *args, gamma=0.05, **kwargs):
        super().__init__(*args, **kwargs)
        self.gamma, collate = gamma, self.data_collator
        self.data_collator = lambda rows: {**collate(rows), "margin_g": torch.tensor([float(r["margin_g"]) for r in rows])}
        self._set_signature_columns_if_needed()
        self._signature_columns.append("margin_g")

    def compute_ref_log_probs(self, model, inputs):
        return super().compute_ref_log_probs(model, {key: inputs[key] for key in inputs if key != "margin_g"})

    def _compute_loss(self, model, inputs, return_outputs):
        with Margin(self.gamma * inputs["margin_g"]) as margin:
            loss = super()._compute_loss(model, {key: inputs[key] for key in inputs if key != "margin_g"}, return_outputs)
        if self.loss_types != ["sigmoid"] or margin.taken != 1:
            raise RuntimeError("RPO is TRL's loss `sigmoid` with a margin, and this TRL computes that in another way")
        return loss
