"""The fake provider keeps the laws of VMProvider that need no shell, in all its shapes."""

import pytest

from jupyter_rmx.models import CommandResult
from jupyter_rmx.testing.fake_provider import CAPABILITIES, FakeProvider
from jupyter_rmx.testing.provider_contract import EXEC_FAILS, EXEC_TOO_LONG, OPTIONAL, LifecycleContract


class FakeContract(LifecycleContract):
    """What the shapes have in common."""

    def options(self):
        return {}

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        self.fake = FakeProvider(tmp_path)
        self.fake.script(dict([EXEC_FAILS]))
        self.fake.script({EXEC_TOO_LONG: CommandResult(0, "", "")}, takes_s=600.0)
        yield
        assert self.fake.machines() == []
        self.fake.close()

    def make_provider(self):
        return FakeProvider(self.folder, **self.options())

    async def end_but_keep(self, vm):
        self.fake.drift(vm.provider_vm_id, "stopped")
        return True


class TestFake(FakeContract):
    def test_it_has_all_capabilities(self):
        assert self.make_provider().capabilities == CAPABILITIES == OPTIONAL


class TestFakeWithoutADaemon(FakeContract):
    def options(self):
        return {"daemon": False}


class TestFakeBySsh(FakeContract):
    def options(self):
        return {"attach": "ssh"}


class TestFakeWithNothing(FakeContract):
    def options(self):
        return {"without": CAPABILITIES}
