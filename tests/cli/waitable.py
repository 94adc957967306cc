"""A stream whose first words can be waited for."""

import asyncio
import io


class Said(io.StringIO):
    """`begun` is set by the first write."""

    def __init__(self):
        super().__init__()
        self.begun = asyncio.Event()

    def write(self, text):
        self.begun.set()
        return super().write(text)
