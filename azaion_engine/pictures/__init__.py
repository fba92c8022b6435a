"""Encoded pictures to network input on the CPU: formats, headers, decoding, letterbox.

What boxes mean lives in `results`.
"""
