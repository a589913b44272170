"""The learning rate of a model, multiplied by a factor for a while: the user's own schedule goes on beneath it."""

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_dsr.backend.keras_layers import walk
from keras_dsr.backend.keras_owners import own_optimizers
from keras_dsr.backend.keras_slots import innermost_optimizers

_HELD = "_keras_dsr_learning_rates"  # kept with the model: what training that was interrupted left can be undone


@keras.saving.register_keras_serializable("keras_dsr")
class ScaledLearningRate(LearningRateSchedule):
    """A learning rate schedule times a constant.

    Args:
        schedule: a Keras schedule.
        factor: positive number.
    """

    def __init__(self, schedule: LearningRateSchedule, factor: float):
        self.schedule = schedule
        self.factor = factor

    def __call__(self, step):
        return self.schedule(step) * self.factor

    def get_config(self) -> dict:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict) -> "ScaledLearningRate":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["factor"])


class LearningRateScale:
    """The factor on the learning rates of a model's optimizers.

    A schedule is wrapped. A variable, which callbacks such as `ReduceLROnPlateau` read and write, is multiplied, and
    put back by `release`.

    Args:
        model: compiled. What an interrupted training left scaled is put back.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self.undo()

    def _optimizers(self) -> list[keras.optimizers.Optimizer]:
        """The optimizers of the model that hold learning rates, those of a `train_step` of its own among them."""
        parts = [part for part, _ in walk(self._model) if isinstance(part, keras.Model)]
        own = [one for part in parts for one in own_optimizers(part).values()]
        return [inner for one in (self._model.optimizer, *own) for inner in innermost_optimizers(one)]

    def scale_schedules(self, factor: float) -> bool:
        """Wrap the schedules; True if there is one whose factor changed, so that training must be traced again."""
        changed = False
        for optimizer in self._optimizers():
            rate = optimizer._learning_rate
            if not isinstance(rate, LearningRateSchedule):
                continue
            own, before = (rate.schedule, rate.factor) if isinstance(rate, ScaledLearningRate) else (rate, 1)
            if before != factor:
                optimizer.learning_rate = ScaledLearningRate(own, factor) if factor != 1 else own
                changed = True
        return changed

    def scale_variables(self, factor: float) -> None:
        """Multiply the learning rates that are variables, until `release`."""
        self.release()
        held = []
        for optimizer in self._optimizers():
            variable = optimizer._learning_rate
            if isinstance(variable, keras.Variable) and factor != 1:
                own = ops.convert_to_numpy(variable).copy()
                variable.assign(own * factor)
                held.append((variable, own, ops.convert_to_numpy(variable).copy(), factor))
        vars(self._model)[_HELD] = held  # not by setattr: Keras tracks what is set

    def release(self) -> None:
        """Put the variables back: to what they were, or, if they were changed since, to what was made of them."""
        for variable, own, scaled, factor in vars(self._model).pop(_HELD, []):
            now = ops.convert_to_numpy(variable)
            variable.assign(own if now == scaled else now / factor)

    def undo(self) -> None:
        """Put everything back. A variable that has another value by now was given it by somebody, and keeps it."""
        for variable, own, scaled, _ in vars(self._model).pop(_HELD, []):
            if ops.convert_to_numpy(variable) == scaled:
                variable.assign(own)
        self.scale_schedules(1)
