"""A Jupyter server in a process of its own whose machines are made by the fake provider, and how a test asks it."""

import httpx

from jupyter_rmx.testing.fake_entry import fake_environment
from jupyter_rmx.testing.fake_provider import FakeProvider
from jupyter_rmx.testing.server import JupyterServer


class FakeServer(JupyterServer):
    """`JupyterServer` with the provider `fake` as its default; `fake` is the same provider here."""

    def __init__(self, folder, *, data_dir=None, options=(), env=()):
        folder.mkdir(exist_ok=True)
        truth = (data_dir or folder / "data").parent
        super().__init__(folder, data_dir=data_dir, options=options)
        self.environment.update(
            fake_environment(truth) | {"JUPYTER_RMX_DEFAULT_PROVIDER": "fake"} | dict(env)
        )
        self.fake = FakeProvider(truth)

    def client(self, **options):
        """Asks as a kernel does."""
        connection = self.connection
        return httpx.Client(
            base_url=f"{connection.url}rmx/api/v1/",
            headers={"Authorization": f"rmx {connection.key}"},
            timeout=60,
            trust_env=False,
            **options,
        )

    def stop(self):
        self.fake.close()
        super().stop()
