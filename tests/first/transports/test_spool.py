"""Output that waits for a slow reader: in order, whole, and within its bounds."""

import asyncio
import os
import random
import stat
import tempfile

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import Exit, Output
from jupyter_rmx.transports import spool as spool_file
from jupyter_rmx.transports.spool import Spool
from jupyter_rmx.transports.spooled import SpooledProcess

FAIL_SAFE_S = 30


@pytest.fixture
def small(tmp_path):
    """A spool with 1000 bytes in memory and 10,000 in its file."""
    spool = Spool(tmp_path, memory_max=1000, file_max=10_000)
    yield spool
    spool.close()


async def drain(spool):
    taken = []
    while (output := await spool.get()) is not None:
        taken.append(output)
    return taken


def block(number, size=100):
    return Output("stderr" if number % 3 == 0 else "stdout", bytes([number % 256]) * size)


async def until_it_waits(task):
    """Let `task` run until it makes no more progress; a thread may be at work for it."""
    for _ in range(50):
        if task.done():
            break
        await asyncio.sleep(0.01)
    return not task.done()


async def test_a_reader_that_keeps_up_makes_no_file(small):
    for number in range(1000):
        await small.put(block(number))
        assert await small.get() == block(number)
    assert small._file is None


async def test_what_is_beyond_memory_comes_whole_and_in_order(small, tmp_path):
    sent = [block(number, 1 + number % 200) for number in range(80)]
    for output in sent:
        await small.put(output)
    assert small.in_memory <= 1000 + 200
    assert small.in_file > 0
    small.finish()
    assert await drain(small) == sent
    assert list(tmp_path.iterdir()) == []


async def test_beyond_both_the_writer_waits_and_nothing_is_dropped(small):
    sent = [block(number) for number in range(400)]

    async def put_all():
        for output in sent:
            await small.put(output)
        small.finish()

    writer = asyncio.create_task(put_all())
    assert await until_it_waits(writer)
    assert small.in_memory <= 1100
    assert 9_000 < small.in_file <= 10_000
    taken = []
    while (output := await asyncio.wait_for(small.get(), FAIL_SAFE_S)) is not None:
        taken.append(output)
        assert small.in_file <= 10_000
        assert small.in_memory <= 10_000 + 1100
    assert taken == sent
    await writer


async def test_without_a_file_the_writer_waits_at_the_bound_of_memory(tmp_path):
    spool = Spool(tmp_path, memory_max=1000, file_max=0)
    writer = asyncio.create_task(put_many(spool, 100))
    assert await until_it_waits(writer)
    assert spool.in_memory == 1000
    assert await drain(spool) == [block(number) for number in range(100)]
    assert spool._file is None
    await writer


async def put_many(spool, count):
    for number in range(count):
        await spool.put(block(number))
    spool.finish()


async def test_a_single_piece_larger_than_memory_passes(tmp_path):
    spool = Spool(tmp_path, memory_max=10, file_max=0)
    await asyncio.wait_for(spool.put(block(1, 5000)), FAIL_SAFE_S)
    assert await spool.get() == block(1, 5000)


async def test_a_piece_longer_than_a_part_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_file, "READ_BYTES", 64)
    spool = Spool(tmp_path, memory_max=10, file_max=100_000)
    sent = [block(number, 1 + 37 * number) for number in range(40)]
    for output in sent:
        await spool.put(output)
    spool.finish()
    assert await drain(spool) == sent
    spool.close()


async def test_the_file_is_private_and_has_no_name(small, tmp_path):
    for number in range(50):
        await small.put(block(number))
    status = os.fstat(small._file.fileno())
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_nlink == 0
    assert list(tmp_path.iterdir()) == []
    descriptor = small._file.fileno()
    small.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


async def test_an_empty_file_gives_its_space_back(small):
    for number in range(50):
        await small.put(block(number))
    for _ in range(50):
        await small.get()
    assert os.fstat(small._file.fileno()).st_size == 0
    assert small.in_file == small.in_memory == 0


async def test_a_full_disk_makes_the_writer_wait(tmp_path, monkeypatch):
    spool = Spool(tmp_path, memory_max=1000, file_max=10_000)

    class Full:
        def seek(self, at):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    writer = asyncio.create_task(put_many(spool, 60))
    assert await until_it_waits(writer)
    assert spool.in_file == 0
    assert await drain(spool) == [block(number) for number in range(60)]
    await writer
    spool.close()


async def test_closing_frees_a_writer_and_a_reader(small):
    writer = asyncio.create_task(put_many(small, 400))
    assert await until_it_waits(writer)
    writer.cancel()
    small.close()
    assert await asyncio.wait_for(small.get(), FAIL_SAFE_S) is None
    empty = Spool()
    reader = asyncio.create_task(empty.get())
    await asyncio.sleep(0)
    empty.close()
    assert await asyncio.wait_for(reader, FAIL_SAFE_S) is None


async def test_a_reader_that_is_cancelled_loses_nothing(small):
    sent = [block(number) for number in range(60)]
    for output in sent:
        await small.put(output)
    small.finish()
    taken = []
    turns = random.Random(4)
    while True:
        reader = asyncio.create_task(small.get())
        for _ in range(turns.randrange(4)):
            await asyncio.sleep(0)
        if not reader.done() and turns.random() < 0.5:
            reader.cancel()
        got = (await asyncio.gather(reader, return_exceptions=True))[0]
        if isinstance(got, asyncio.CancelledError):
            continue
        if got is None:
            break
        taken.append(got)
    assert taken == sent


async def test_a_file_that_cannot_be_read_again_says_so(small):
    for number in range(50):
        await small.put(block(number))
    whole, small._file = small._file, open("/proc/self/mem", "rb", buffering=0)  # noqa: SIM115 - address 0 cannot be read
    with pytest.raises(TransportError) as caught:
        for _ in range(50):
            await small.get()
    assert caught.value.code == "ssh_spool_failed"
    whole.close()


class Producer:
    """A process whose command writes `sent` and ends with `ending`."""

    def __init__(self, sent, ending):
        self.sent, self.ending, self.written, self.closed = sent, ending, 0, False

    async def events(self):
        for output in self.sent:
            yield output
            self.written += 1
        if isinstance(self.ending, Exception):
            raise self.ending
        yield self.ending

    async def aclose(self):
        self.closed = True


async def taken_over(process):
    """Once the reader, who does not read, is found to be slow."""

    async def look():
        while process._pump is None:
            await asyncio.sleep(0.01)
        return process._pump

    return await asyncio.wait_for(look(), FAIL_SAFE_S)


async def test_a_reader_that_keeps_up_gets_the_output_directly(small):
    sent = [block(number) for number in range(80)]
    process = SpooledProcess(Producer(sent, Exit(code=3)), small)
    assert [event async for event in process.events()] == [*sent, Exit(code=3)]
    assert process._pump is None
    await process.aclose()


async def test_a_reader_that_slows_down_is_taken_over_and_misses_nothing(small):
    sent = [block(number) for number in range(80)]
    process = SpooledProcess(Producer(sent, Exit(code=3)), small)
    seen = []
    async for event in process.events():
        seen.append(event)
        if len(seen) == 7:
            assert not await until_it_waits(await taken_over(process))
    assert seen == [*sent, Exit(code=3)]
    await process.aclose()


async def test_a_reader_that_waits_for_output_is_not_slow(small, monkeypatch):
    looked = asyncio.Semaphore(0)
    process = SpooledProcess(Slow(looked), small)
    look = process._look
    process._watch.cancel()

    def counted():
        look()
        looked.release()

    monkeypatch.setattr(process, "_look", counted)
    process._watch = asyncio.get_running_loop().call_later(0, counted)
    assert [event async for event in process.events()] == [Exit(code=0)]
    assert process._pump is None
    await process.aclose()


class Slow:
    """A command that is silent until it was looked at three times."""

    def __init__(self, looked):
        self._looked = looked

    async def events(self):
        for _ in range(3):
            await asyncio.wait_for(self._looked.acquire(), FAIL_SAFE_S)
        yield Exit(code=0)

    async def aclose(self):
        pass


async def test_a_command_ends_before_its_slow_reader(small):
    sent = [block(number) for number in range(80)]
    producer = Producer(sent, Exit(code=3))
    process = SpooledProcess(producer, small)
    assert not await until_it_waits(await taken_over(process))
    assert producer.written == 80
    assert [event async for event in process.events()] == [*sent, Exit(code=3)]
    await process.aclose()
    assert producer.closed


async def test_what_came_before_an_error_is_read_before_it(small):
    sent = [block(number) for number in range(80)]
    process = SpooledProcess(
        Producer(sent, TransportError("gone", hint="h", code="ssh_connection_lost")), small
    )
    assert not await until_it_waits(await taken_over(process))
    seen = []
    with pytest.raises(TransportError, match="gone"):
        async for event in process.events():
            seen += [event]
    assert seen == sent
    await process.aclose()


async def test_letting_go_in_the_middle_leaves_nothing(small):
    producer = Producer([block(number) for number in range(900)], Exit(code=0))
    process = SpooledProcess(producer, small)
    assert await until_it_waits(await taken_over(process))
    await process.aclose()
    assert producer.closed
    assert process._pump.done()
    assert small._file is None


async def test_random_speeds(tmp_path):
    turns = random.Random(20261125)
    for _ in range(20):
        spool = Spool(tmp_path, memory_max=turns.randrange(1, 3000), file_max=turns.randrange(6000))
        sent = [block(number, turns.randrange(1, 400)) for number in range(300)]

        async def put_all(spool=spool, sent=sent):
            for output in sent:
                await spool.put(output)
                if turns.random() < 0.3:
                    await asyncio.sleep(0)
            spool.finish()

        writer = asyncio.create_task(put_all())
        taken = []
        while (output := await asyncio.wait_for(spool.get(), FAIL_SAFE_S)) is not None:
            taken.append(output)
            if turns.random() < 0.3:
                await asyncio.sleep(0)
        assert taken == sent
        await writer
        spool.close()
