"""Evaluation: labelled pictures of the user's own, and the average precision of detections on them. Runs no model."""
