"""The semantic cache outlives its process: what is saved, what is taken up again, and what damage costs."""

import asyncio
import json
from hashlib import blake2b

import pytest
from test_near_calls import ASKED, REWORDED, SEMANTIC, UNLIKE, ask, numbered
from world import world

from resilio.cache.semantic.saving import Folder


def on_disk(path, **more):
    return {"semantic": {**SEMANTIC, "path": str(path), "save_interval": 60, **more}}


async def settled_disk(w):
    """Everything saved has been taken up."""
    for _ in range(20):
        await asyncio.sleep(0)
    await w.llm._dispatcher.cached.near.cache.settled()


def files(path):
    """All but the lock."""
    return sorted(each.name for each in path.iterdir() if each.name != "lock")


async def asked_again(path, text=REWORDED, **more):
    """What a new process makes of a question."""
    async with world(a=numbered(), cache=on_disk(path, **more)) as w:
        await settled_disk(w)
        return await ask(w, text)


async def stored(path, *texts, **more):
    async with world(a=numbered(), cache=on_disk(path, **more)) as w:
        for text in texts:
            await ask(w, text, user=more.get("user"))


async def test_what_one_process_stored_the_next_one_serves(tmp_path):
    await stored(tmp_path, ASKED, UNLIKE)
    reply = await asked_again(tmp_path)
    assert (reply.text, reply.cached.kind) == ("answer 1", "near")
    assert (await asked_again(tmp_path, UNLIKE + ".")).text == "answer 2"


async def test_files_can_be_read_by_their_owner_alone(tmp_path):
    await stored(tmp_path, ASKED)
    files = [path for path in tmp_path.iterdir() if path.suffix == ".answers"]
    assert [path.stat().st_mode & 0o077 for path in files] == [0]


async def test_age_goes_on_while_no_process_runs(tmp_path):
    await stored(tmp_path, ASKED)  # both clocks begin anew with each loop, and saved instants are Unix
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        await settled_disk(w)
        await asyncio.sleep(200)
        assert (await ask(w, REWORDED)).cached is None


async def test_it_is_saved_now_and_then_too(tmp_path):
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        await ask(w, ASKED)
        assert not list(tmp_path.glob("*.answers"))
        await asyncio.sleep(61)
        (saved,) = tmp_path.glob("*.answers")
        before = saved.stat().st_mtime_ns
        await asyncio.sleep(61)
        assert saved.stat().st_mtime_ns == before, "nothing had changed"


async def test_a_partition_that_is_purged_leaves_no_file(tmp_path):
    await stored(tmp_path, ASKED)
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        await settled_disk(w)
        assert w.llm.purge_cache() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


async def test_what_is_purged_leaves_the_disk_at_once_and_not_with_the_next_saving(tmp_path):
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        await settled_disk(w)
        await ask(w, ASKED, user="ann")
        await ask(w, ASKED, user="bob")
        await asyncio.sleep(61)
        assert len(files(tmp_path)) == 4
        began = w.now
        w.llm.purge_cache(user="ann")
        await settled_disk(w)
        assert (w.now, len(files(tmp_path))) == (began, 2), "a crash now brings nothing back"


async def test_a_purge_before_all_is_loaded_reaches_what_is_still_on_disk(tmp_path):
    await stored(tmp_path, ASKED)
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        w.llm.purge_cache(tenant="default")
        await settled_disk(w)
        assert (await ask(w, REWORDED)).cached is None
        w.llm.purge_cache()
    assert files(tmp_path) == []


async def test_a_partition_that_is_gone_takes_every_file_of_its_index_with_it(tmp_path):
    gone, stays = b"g" * 20, b"s" * 20
    folder = Folder(str(tmp_path), "any")
    for digest in (gone, stays):
        for more in (".answers", ".vectors", ".vectors.graph-0011223344556677", ".vectors.graph.tmp"):
            (tmp_path / f"{digest.hex()}{more}").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("somebody else's")
    folder.forget([gone])
    assert [name for name in files(tmp_path) if gone.hex() in name] == []
    assert len(files(tmp_path)) == 5
    assert list(folder.read(wall_minus_now=0)) == []
    assert files(tmp_path) == ["notes.txt"], "vectors without answers, too"
    folder.close()


async def test_what_has_expired_while_no_process_ran_leaves_the_disk(tmp_path):
    await stored(tmp_path, ASKED, ttl=1, stale_for=0)
    (answers,) = tmp_path.glob("*.answers")
    head, row = answers.read_bytes().split(b"\n")
    past = json.dumps({**json.loads(row), "expires": 1, "until": 1}).encode()
    checksum = blake2b(past, digest_size=16).hexdigest()
    answers.write_bytes(json.dumps({**json.loads(head), "checksum": checksum}).encode() + b"\n" + past)
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        await settled_disk(w)
        assert w.llm.status().caches["semantic"].entries == 0
    assert files(tmp_path) == []


async def test_what_was_loaded_and_has_not_changed_is_not_written_again(tmp_path):
    await stored(tmp_path, ASKED)
    before = {each.name: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    assert (await asked_again(tmp_path)).cached is not None
    assert {each.name: each.stat().st_mtime_ns for each in tmp_path.iterdir()} == before


async def test_a_disk_that_is_full_for_a_while_ends_no_saving(tmp_path, monkeypatch, caplog):
    guaranteed = {"max_wrong": 0.1, "audit": 1.0}
    async with world(a=numbered(), cache=on_disk(tmp_path, **guaranteed)) as w:
        await ask(w, ASKED)
        with monkeypatch.context() as full:
            for name in ("write", "write_bounds", "forget"):
                full.setattr(Folder, name, lambda *_, **__: (_ for _ in ()).throw(OSError(28, "no space left")))
            await asyncio.sleep(130)
            assert not list(tmp_path.glob("*.answers"))
        await asyncio.sleep(61)
        assert {name.partition(".")[2] for name in files(tmp_path)} == {"answers", "vectors", "json"}
    assert "no space left" in caplog.text


async def test_closing_does_not_wait_for_questions_that_are_embedded_anew(tmp_path):
    await stored(tmp_path, ASKED)
    (vectors,) = tmp_path.glob("*.vectors")
    vectors.unlink()
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:

        async def never(texts):
            await asyncio.sleep(1e9)

        w.llm._dispatcher.cached.near.cache.encoder.embedder.embed = never
        for _ in range(20):
            await asyncio.sleep(0)
        assert w.llm.status().caches["semantic"].entries == 1
        began = w.now
    assert asyncio.get_running_loop().time() - began < 1
    assert (await asked_again(tmp_path)).cached is not None


async def test_a_cache_that_takes_another_s_place_has_its_folder_too(tmp_path, caplog):
    async with world(a=numbered(), cache=on_disk(tmp_path)) as w:
        await ask(w, ASKED)
        before = w.llm._dispatcher.cached.near.cache
        await w.llm.reload({**w.config, "cache": {}})
        w.llm.status()
        await w.llm.reload(w.config)
        w.llm.status()
        await settled_disk(w)
        assert w.llm._dispatcher.cached.near.cache is not before
        assert (await ask(w, REWORDED)).cached is not None, "saved by the one, loaded by the other"
        await ask(w, UNLIKE)
    assert "another process" not in caplog.text
    assert (await asked_again(tmp_path, UNLIKE + ".")).cached is not None


@pytest.mark.parametrize("suffix", [".answers", ".vectors"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "foreign"])
async def test_damage_costs_entries_or_time_and_never_a_wrong_answer(tmp_path, suffix, harm):
    await stored(tmp_path, ASKED)
    (path,) = tmp_path.glob(f"*{suffix}")
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        at = len(data) // 2
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        path.write_bytes({"cut": data[:-7], "flip": flipped, "foreign": b"hello\nworld"}[harm])
    reply = await asked_again(tmp_path)
    # Without the vectors the question is embedded anew; without the answer there is nothing to serve.
    assert (reply.cached is not None) == (suffix == ".vectors")
    again = await asked_again(tmp_path)
    assert again.cached is not None


async def test_answers_cut_at_any_byte_are_never_half_read(tmp_path):
    await stored(tmp_path, ASKED, UNLIKE)
    (path,) = tmp_path.glob("*.answers")
    data = path.read_bytes()
    folder = Folder(str(tmp_path), json.loads(data.split(b"\n")[0])["embedder"])
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert list(folder.read(wall_minus_now=0)) == []
    path.write_bytes(data)
    (whole,) = folder.read(wall_minus_now=0)
    assert sorted(entry.text for entry in whole.entries) == sorted([ASKED, UNLIKE])
    folder.close()


async def test_entries_of_another_embedder_are_not_read_and_go(tmp_path):
    await stored(tmp_path, ASKED)
    assert len(files(tmp_path)) == 2
    folder = Folder(str(tmp_path), "another")
    assert list(folder.read(wall_minus_now=0)) == []
    folder.close()
    assert files(tmp_path) == [], "no purge would ever reach them"


async def test_two_processes_do_not_share_a_folder(tmp_path, caplog):
    async with world(a=numbered(), cache=on_disk(tmp_path)) as first:
        await ask(first, ASKED)
        async with world(a=numbered(), cache=on_disk(tmp_path)) as second:
            await ask(second, UNLIKE)
            assert (await ask(second, UNLIKE + "!")).cached.kind == "near", "it works in memory"
        assert "another process uses" in caplog.text
        assert not list(tmp_path.glob("*.answers"))
    reply = await asked_again(tmp_path)
    assert reply.cached is not None


async def test_a_folder_that_cannot_be_used_costs_the_saving_alone(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    async with world(a=numbered(), cache=on_disk(tmp_path / "file" / "inside")) as w:
        await ask(w, ASKED)
        assert (await ask(w, REWORDED)).cached.kind == "near"
    assert "cannot be used" in caplog.text
