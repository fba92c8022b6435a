"""BodyLimits: how large a request of one model can be, in each form, from the size of the model's input."""

from __future__ import annotations

from dataclasses import dataclass

HEADER_BYTES = 2**20
"""Allowance for names, shapes and parameters around the tensors."""

MOST_JSON_BYTES = 2**27
"""Maximum JSON body of any model; larger requests must be binary."""


@dataclass(frozen=True)
class BodyLimits:
    """Maximum sizes of one request.

    Attributes:
        values: Elements of the input tensor.
        tensor_bytes: The input tensor in binary form.
        json_bytes: The request as JSON, the tensor included.
    """

    values: int
    tensor_bytes: int
    json_bytes: int

    @property
    def binary_bytes(self) -> int:
        """The request in binary form: over gRPC, or JSON followed by binary tensors."""
        return self.tensor_bytes + HEADER_BYTES

    @property
    def any_bytes(self) -> int:
        """The request in any form."""
        return max(self.binary_bytes, self.json_bytes)

    def body_bytes(self, json_bytes: int | None) -> int:
        """Returns the maximum bytes of an HTTP body, inflated.

        Args:
            json_bytes: Length of the JSON before the binary tensors, as announced; None: all is JSON.
        """
        if json_bytes is None:
            return self.json_bytes
        return min(json_bytes, self.json_bytes) + self.tensor_bytes
