"""Stages of a job: reading, detecting, and what they are made of."""
