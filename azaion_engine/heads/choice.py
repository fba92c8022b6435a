"""Choice: a model's head and input form, from the user's keys, the file, and one run where these do not say."""

from __future__ import annotations

from dataclasses import dataclass

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.heads.base import Head, Outputs, Signature
from azaion_engine.heads.end_to_end import EndToEnd
from azaion_engine.heads.proof import Proof
from azaion_engine.heads.recognition.evidence import Evidence
from azaion_engine.heads.recognition.reading import Reading
from azaion_engine.heads.recognition.readings import read_signature
from azaion_engine.heads.recognition.unread import refusal_of
from azaion_engine.heads.yolo import ObjectnessYolo, RawYolo
from azaion_engine.pictures.input_form import DEFAULT_FORM, InputForm
from azaion_engine.settings import DetectorSettings

END_TO_END = EndToEnd()


@dataclass(frozen=True)
class Choice:
    """What a model was recognised as.

    Attributes:
        head: Makes rows of its outputs.
        form: How its pictures are prepared.
        family: What it was recognised as, for people.
        notes: What was taken for granted, because the file does not say it.
        settled: False: `choose` must be called again with the outputs of one run.
        refusal: Why pictures must not be answered before the user sets the keys that this names; empty if they may.
    """

    head: Head = END_TO_END
    form: InputForm = DEFAULT_FORM
    family: str = "rows"
    notes: tuple[str, ...] = ()
    settled: bool = True
    refusal: str = ""

    def checked(self) -> Choice:
        """Returns itself if the user need not set a key.

        Raises:
            ModelError: The user must; the message names the keys.
        """
        if self.refusal:
            raise ModelError(self.refusal)
        return self

    def require_settled(self) -> None:
        """Refuses to answer pictures before head and input form are known.

        Raises:
            ModelError: The user must set keys, or a run must show which of several heads it is.
        """
        if not self.settled:
            raise ModelError(
                "the model file leaves its head open: `Detector.open` and `opening.engine.open_engine` run a sample "
                "picture, which shows it"
            )
        self.checked()


def choose(signature: Signature, settings: DetectorSettings | None = None, answer: Outputs | None = None) -> Choice:
    """Recognises a model's head and input form.

    Args:
        signature: What the file tells.
        settings: The user's keys, which come first.
        answer: Outputs of one run of a real picture, if there was one: they settle shapes that the file leaves open,
            and which of several readings is right.

    Raises:
        ModelError: No head fits, or several do; the message names the keys that settle it.
        ConfigurationError: The file cannot follow a key.
    """
    settings = settings or DetectorSettings()
    if answer is not None:
        signature = signature.observed(answer)
    evidence = Evidence(signature, settings)
    readings = read_signature(evidence)
    if not readings:
        raise ModelError(
            refusal_of(evidence) or f"{evidence.outputs_in_words()}: no known detection head; {evidence.advice()}"
        )
    certain = len(readings) == 1 and readings[0].certain
    if certain or answer is None:
        # A reading that lacks keys refuses the model only where there is no other.
        usable = [reading for reading in readings if evidence.given(reading.missing)]
        return _choice((usable or readings)[0], evidence, settled=certain)
    faults = [reading.head.contradicts(answer, signature.network) for reading in readings]
    fitting = [reading for reading, fault in zip(readings, faults, strict=True) if not fault]
    if not fitting and settings.head in (RawYolo.name, ObjectnessYolo.name):
        # The user says what it is; the run was to show only how its boxes are coded.
        Proof().check(readings[0].head.rows(answer, signature.network, [None]), oriented=False)
        return _choice(readings[0], evidence, settled=True)
    if not fitting:
        first = {fault: r.family for r, fault in zip(reversed(readings), reversed(faults), strict=True)}
        tried = "; ".join(f"not {first[fault]}: {fault}" for fault in dict.fromkeys(faults))
        raise ModelError(f"{evidence.outputs_in_words()}, tried on a sample picture: {tried}; {evidence.advice()}")
    if len({reading.family for reading in fitting}) > 1 and not fitting[0].certain:
        families = " or ".join(f"{r.family} (head: {r.head.name})" for r in fitting)
        raise ModelError(f"{evidence.outputs_in_words()} may be {families}: set the key `head`")
    return _choice(fitting[0], evidence, settled=True)


def _choice(reading: Reading, evidence: Evidence, settled: bool) -> Choice:
    refusal = "" if evidence.given(reading.missing) else reading.refusal(evidence)
    form = evidence.form(reading.form)
    if reading.head.oriented and form.fit == "stretch":
        raise ConfigurationError(
            "input.fit: stretch is not possible with oriented boxes, which it would make into parallelograms; expected "
            "letterbox or top_left"
        )
    batch = evidence.signature.picture.shape[0]
    if not reading.head.batched and batch > 1:
        raise ModelError(
            f"{evidence.outputs_in_words()}: {reading.family}, for one picture; the model's input is fixed to {batch}, "
            "export it with a batch of 1"
        )
    notes = evidence.notes()
    if reading.assumes and evidence.settings.input is None:
        notes.append(f"the file does not say how pictures are prepared: {form.describe()}, as {reading.family} always")
    return Choice(reading.head, form, reading.family, tuple(notes), settled, refusal)
