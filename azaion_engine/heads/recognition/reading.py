"""Reading: one meaning that a model's outputs can have, and the input forms that families have."""

from __future__ import annotations

from dataclasses import dataclass

from azaion_engine.heads.base import Head
from azaion_engine.heads.recognition.evidence import Evidence
from azaion_engine.pictures.input_form import DEFAULT_FORM, IMAGENET_MEAN, IMAGENET_STD, InputForm

STRETCHED = InputForm(fit="stretch")
ANTIALIASED = InputForm(fit="stretch", resampling="antialiased")  # torchvision's Resize, in all these repositories
RF_DETR = InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD, fit="stretch")  # `predict` does not antialias
IMAGENET = InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD, fit="stretch")
BGR_255 = InputForm(colour="bgr", scale=1.0, fit="top_left")

_KEYS = {
    "input": "`input` (colour: rgb or bgr; scale: 1/255 or 1; mean; std; fit: letterbox, top_left or stretch), "
    "e.g. `input: {colour: bgr, scale: 1}`; `input: {colour: rgb}` alone is FORM",
    "background": "`background` (none: a sigmoid for each class; last or first: that class is the background, and "
    "`logits` are a softmax)",
    "head": "`head: NAME` if boxes are x1, y1, x2, y2 (TensorFlow's begin with y: swap them within the export, or name "
    "the outputs detection_boxes, detection_scores and detection_classes)",
}


@dataclass(frozen=True)
class Reading:
    """One meaning that a model's outputs can have.

    Attributes:
        head: Makes rows of them.
        family: What it is, for people.
        form: How pictures are prepared, as the family's always are.
        certain: Whether no run of a picture is needed if this is the only reading; and whether it is right among
            others, if a run does not contradict it.
        assumes: Whether `form` is the family's habit, and nothing in the file says so.
        missing: Keys of the settings without which the reading is not used, because the file cannot tell.
    """

    head: Head
    family: str
    form: InputForm = DEFAULT_FORM
    certain: bool = True
    assumes: bool = False
    missing: tuple[str, ...] = ()

    def refusal(self, evidence: Evidence) -> str:
        """Returns the message that names the missing keys."""
        keys = " and ".join(_KEYS[key] for key in self.missing if not evidence.given([key]))
        keys = keys.replace("FORM", evidence.form(self.form).describe()).replace("NAME", self.head.name)
        if not self.certain and "head" not in self.missing:
            keys += "; or the key `head` if it is something else"
        return f"{evidence.outputs_in_words()}: {self.family}; the file does not say enough, set {keys}"
