"""A valid document that uses every kind of table, and the environment it wants."""

SECRET = "sk-test-3141592653589793"
ENVIRON = {"OPENAI_API_KEY": SECRET, "EMPTY": ""}

VALID = {
    "defaults": {
        "deadline": 45,
        "clocks": {"first_token": 8, "total": 40},
        "retry": {"max_attempts": 4},
        "breaker": {"break_duration": 20, "ramp_duration": 0},
    },
    "provider": [
        {
            "name": "openai",
            "kind": "openai",
            "base_url": "https://api.openai.com/v1",
            "keys": ["env:OPENAI_API_KEY"],
            "headers": {"x-team": "search"},
            "max_concurrency": 8,
            "models": {
                "gpt-4.1": {
                    "requests_per_minute": 500,
                    "context_window": 1_000_000,
                    "max_output_tokens": 32_768,
                    "capabilities": ["tools", "streaming"],
                    "price": {"input": 2, "output": 8.0},
                },
                "meta-llama/llama-3": {},
            },
            "breaker": {"consecutive_failures": 3},
            "queue": {"max_waiting": 10},
        },
        {"name": "local", "kind": "local"},
    ],
    "route": {
        "chat": {
            "targets": [
                {"target": "openai/gpt-4.1", "first_token": 5},
                "openai/meta-llama/llama-3",
            ],
            "max_output_tokens": 1024,
            "clocks": {"idle": 9},
            "ladder": ["full", {"simpler": "small"}],
        },
        "small": {
            "targets": [{"provider": "local", "model": "smollm2-135m"}],
            "strategy": "least_loaded",
            "deadline": 20.5,
        },
    },
}

ROUTED = {
    **VALID,
    "route": {
        **VALID["route"],
        "wide": {
            "targets": [{"target": "openai/gpt-4.1", "weight": 3}, {"route": "small", "weight": 0.5}],
            "strategy": "weighted",
        },
    },
    "rule": [
        {
            "routes": ["chat"],
            "when": {"tags": {"tier": "free"}, "user": "u", "min_input_tokens": 10, "max_input_tokens": 90},
            "use": "small",
        },
    ],
}
"""The same with a nested route and a rule."""
