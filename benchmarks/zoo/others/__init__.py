"""Exporters of the zoo whose packages install without their requirements only: YOLOX, RF-DETR and YOLOv5."""
