"""The settings that the child process gives to the real server library, of this version and of others."""

from types import SimpleNamespace

import pytest
import xllamacpp

from resilio.local import server


def options(*arguments):
    return server._parser().parse_args(["/weights.gguf", "--alias", "small", *arguments])


def test_each_request_may_use_the_whole_context_it_is_promised():
    params = server.parameters(xllamacpp, options("--context", "1000", "--parallel", "3"))
    assert (params.n_ctx, params.n_parallel) == (3000, 3)


def test_one_thread_computes_unless_more_are_asked_for():
    for arguments, threads in ((), 1), (("--threads", "3"), 3):
        params = server.parameters(xllamacpp, options(*arguments))
        assert params.cpuparams.n_threads == params.cpuparams_batch.n_threads == threads


def test_it_listens_on_this_machine_alone_at_a_free_port_under_its_alias():
    params = server.parameters(xllamacpp, options())
    assert list(params.hostnames) == ["127.0.0.1"]
    assert params.port == 0
    assert list(params.model_alias) == ["small"]
    assert params.model.path == "/weights.gguf"


def test_it_shows_no_prompts_of_other_callers_and_does_not_hoard_their_state():
    params = server.parameters(xllamacpp, options())
    assert not params.endpoint_slots
    assert params.cache_ram_mib == 0


@pytest.mark.parametrize(("key", "keys"), [(None, []), ("", []), ("secret", ["secret"])])
def test_a_key_is_asked_for_only_if_one_is_set(key, keys):
    assert list(server.parameters(xllamacpp, options(), key).api_keys) == keys


def test_embeddings_are_means_and_their_text_fits_one_batch():
    params = server.parameters(xllamacpp, options("--embeddings"))
    assert params.embedding
    assert params.pooling_type == xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    assert params.n_batch == params.n_ubatch == 512
    assert params.n_ctx == 2 * 512
    assert server.parameters(xllamacpp, options("--embeddings", "--context", "256")).n_ubatch == 256


@pytest.mark.parametrize("kind", [set, list])
def test_fields_that_are_sets_in_one_version_and_lists_in_another_get_what_they_are(kind):
    def params():
        threads = SimpleNamespace
        return SimpleNamespace(
            model=SimpleNamespace(),
            cpuparams=threads(),
            cpuparams_batch=threads(),
            model_alias=kind(),
            hostnames=kind(),
            api_keys=kind(),
        )

    made = server.parameters(SimpleNamespace(CommonParams=params), options(), "secret")
    assert (made.model_alias, made.hostnames, made.api_keys) == (kind(["small"]), kind(["127.0.0.1"]), kind(["secret"]))
