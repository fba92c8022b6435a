"""Checked build: a new plan whose boxes were compared with ONNX Runtime's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.engines.tensorrt.build.builder import BuildOptions
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.errors import AzaionError
from azaion_engine.model.file import ModelFile
from azaion_engine.opening.on_cpu import open_on_cpu
from azaion_engine.opening.recognition import recognise
from azaion_engine.plans.agreement import CONFIDENCE_OFF, Agreement
from azaion_engine.plans.store import CheckedPlan
from azaion_engine.samples import rows_of_samples
from azaion_engine.settings import DetectorSettings

logger = logging.getLogger(__name__)

_COMPARED = 0.25
"""Confidence from which on the boxes of a new engine are compared with ONNX Runtime's."""


def build_checked(
    model: ModelFile,
    settings: DetectorSettings,
    options: BuildOptions,
    load: Callable[[bytes], InferenceEngine],
    progress: BuildProgress | None,
) -> bytes | CheckedPlan:
    """Builds a plan and compares its boxes with ONNX Runtime's; in FP32 if those of FP16 differ or cannot be compared.

    Some networks, as those of the DETR family, find other boxes in FP16: without a comparison nobody would know.
    """
    try:
        reference = open_on_cpu(model, settings, recognise(model.info, settings))
    except AzaionError as error:  # e.g. an operator that only TensorRT has
        logger.warning(
            "the engine is built in FP32, because its boxes cannot be compared with ONNX Runtime's: %s", error
        )
        return engine_builder.build_plan(model.data, replace(options, precision="fp32"), progress)
    with reference:
        plan = engine_builder.build_plan(model.data, options, progress)
        least = _COMPARED - CONFIDENCE_OFF
        expected = rows_of_samples(reference, least)

        def agreement(plan: bytes, precision: str) -> Agreement:
            with load(plan) as engine:
                engine.choice = reference.choice  # which may have taken a run
                found = rows_of_samples(engine, least)
            named = f"{model.info.quantised}+{precision}" if model.info.quantised else precision
            made = Agreement.of(found, expected, named, _COMPARED, settings.build_tolerance_px)
            logger.log(logging.INFO if made.holds else logging.WARNING, "the engine in %s: %s", named, made)
            return made

        checked = CheckedPlan(plan, agreement(plan, options.precision))
        if checked.agreement.holds or options.precision != "fp16":
            return checked
        logger.warning("the engine is built in FP32 instead")
        plan = engine_builder.build_plan(model.data, replace(options, precision="fp32"), progress)
        return CheckedPlan(plan, agreement(plan, "fp32"))
