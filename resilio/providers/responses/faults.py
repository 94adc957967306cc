"""What the Responses API means by an error, beyond what `resilio.providers.openai.faults` knows.

Sources: the SDK's list of `response.error.code` and OpenAI's page of errors (November 2026). The same codes come with
an HTTP status, in an ``error`` event and in ``response.failed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.errors import ErrorClass as Cls
from resilio.providers.openai import faults as openai

__all__ = ["CODES", "FAULTS", "REASONS"]

CODES: Final[Mapping[str, Cls]] = {
    # Flagged prompts come under this name too; their words put that right.
    "invalid_prompt": Cls.CALLER,
    "bio_policy": Cls.REFUSED,
    "misalignment_policy_violation": Cls.REFUSED,
    "image_content_policy_violation": Cls.REFUSED,
    "vector_store_timeout": Cls.SERVER_ERROR,
    "data_residency_mismatch": Cls.UNSUPPORTED,
    "invalid_image": Cls.CALLER,
    "invalid_image_format": Cls.CALLER,
    "invalid_base64_image": Cls.CALLER,
    "invalid_image_url": Cls.CALLER,
    "invalid_image_mode": Cls.CALLER,
    "image_parse_error": Cls.CALLER,
    "empty_image_file": Cls.CALLER,
    # Another target may take such a picture, or reach the place where it lies.
    "image_too_large": Cls.UNSUPPORTED,
    "image_too_small": Cls.UNSUPPORTED,
    "image_file_too_large": Cls.UNSUPPORTED,
    "unsupported_image_media_type": Cls.UNSUPPORTED,
    "failed_to_download_image": Cls.UNSUPPORTED,
    "image_file_not_found": Cls.UNSUPPORTED,
    # Kept at another account, or by another: one that has it, or needs none of it, can answer.
    "previous_response_not_found": Cls.UNSUPPORTED,
    "invalid_encrypted_content": Cls.UNSUPPORTED,
    # Its least `max_output_tokens` is 16; others have none.
    "integer_below_min_value": Cls.UNSUPPORTED,
}
"""By `error.code`, in lower case; what is not here has OpenAI's other meaning."""

FAULTS: Final = openai.FAULTS._replace(codes={**openai.CODES, **CODES})

REASONS: Final[Mapping[str, str]] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
}
"""An `incomplete_details.reason` as a finish reason of chat completions; one that is not here is handed through."""
