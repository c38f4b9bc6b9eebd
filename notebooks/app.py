"""A small web app for the quickstart: a page, a form, and a WebSocket that answers.

    python3 app.py [PORT]

It listens on the machine's own loopback address, where no one but the machine itself can reach it.
"""

import asyncio
import csv
import errno
import html
import platform
import sys
from pathlib import Path

import tornado.web
import tornado.websocket

HERE = Path(__file__).resolve().parent
MESSAGES = []

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hello from {host}</title>
<style>
  :root {{
    color-scheme: light dark;
    --page: #f6f7f9; --card: #ffffff; --text: #1c2430; --muted: #5c6878; --line: #dde2e9;
    --accent: #2563c9; --on-accent: #ffffff; --good: #1c7c45;
  }}
  @media (prefers-color-scheme: dark) {{
    :root {{
      --page: #14181f; --card: #1d232c; --text: #e8ecf2; --muted: #9aa7b8; --line: #323b48;
      --accent: #7fb0ff; --on-accent: #0d1624; --good: #6cd39a;
    }}
  }}
  * {{ box-sizing: border-box; }}
  body {{ margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }}
  main {{ max-width: 46rem; margin: 0 auto; padding: 2.5rem 1.25rem; }}
  h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }}
  h2 {{ font-size: 1.05rem; margin: 0 0 .75rem; }}
  p {{ margin: 0 0 1rem; }}
  .muted {{ color: var(--muted); }}
  .card {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem; margin-top: 1rem; }}
  .row {{ display: flex; gap: .5rem; }}
  input {{
    flex: 1; min-width: 0; padding: .5rem .7rem; font: inherit; color: inherit; background: var(--page);
    border: 1px solid var(--line); border-radius: 6px;
  }}
  button {{
    padding: .5rem 1rem; font: inherit; font-weight: 600; color: var(--on-accent); background: var(--accent);
    border: 0; border-radius: 6px; cursor: pointer;
  }}
  input:focus-visible, button:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
  ul {{ list-style: none; margin: .9rem 0 0; padding: 0; }}
  li {{ padding: .3rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }}
  .bars {{ display: grid; grid-template-columns: auto 1fr auto; gap: .35rem .75rem; align-items: center; }}
  .bar {{ height: .7rem; border-radius: 3px; background: var(--accent); }}
  #state {{ color: var(--muted); font-size: .9rem; margin-left: .5rem; font-weight: normal; }}
  #state.on {{ color: var(--good); }}
</style>
</head>
<body>
<main>
  <h1>Hello from <span id="host">{host}</span></h1>
  <p class="muted">This page is served by <code>127.0.0.1:{port}</code> of that machine ({system}).</p>
  {chart}
  <section class="card">
    <h2>A form</h2>
    <form method="post" action="/say" class="row">
      <input name="text" aria-label="Your message" placeholder="Write something" autocomplete="off" required>
      <button>Post</button>
    </form>
    <ul id="posted">{posted}</ul>
  </section>
  <section class="card">
    <h2>A WebSocket <span id="state">connecting</span></h2>
    <form id="echo" class="row">
      <input id="line" aria-label="A line to send" placeholder="Send a line" autocomplete="off" required>
      <button>Send</button>
    </form>
    <ul id="log"></ul>
  </section>
</main>
<script>
  const state = document.getElementById('state');
  const socket = new WebSocket(`${{location.protocol === 'https:' ? 'wss' : 'ws'}}://${{location.host}}/echo`);
  socket.onopen = () => {{ state.textContent = 'connected'; state.className = 'on'; }};
  socket.onclose = () => {{ state.textContent = 'closed'; state.className = ''; }};
  socket.onmessage = event => {{
    const item = document.createElement('li');
    item.textContent = event.data;
    document.getElementById('log').prepend(item);
  }};
  document.getElementById('echo').addEventListener('submit', event => {{
    event.preventDefault();
    const line = document.getElementById('line');
    if (socket.readyState === WebSocket.OPEN) socket.send(line.value);
    line.value = '';
  }});
</script>
</body>
</html>
"""


def chart():
    """The numbers of `numbers.csv`, if it was uploaded, as bars."""
    try:
        with (HERE / "numbers.csv").open(newline="", encoding="utf-8") as file:
            rows = [(row["name"], float(row["value"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        return ""
    top = max((value for _, value in rows), default=0) or 1
    bars = "".join(
        f"<span>{html.escape(name)}</span>"
        f'<span class="bar" style="width:{max(0, value) / top:.0%}"></span><span>{value:g}</span>'
        for name, value in rows
    )
    return f'<section class="card"><h2>numbers.csv</h2><div class="bars">{bars}</div></section>'


class Page(tornado.web.RequestHandler):
    def get(self):
        posted = "".join(f"<li>{html.escape(text)}</li>" for text in reversed(MESSAGES))
        self.finish(
            PAGE.format(
                host=html.escape(platform.node()),
                port=self.application.settings["port"],
                system=html.escape(f"{platform.system()}, Python {platform.python_version()}"),
                chart=chart(),
                posted=posted,
            )
        )


class Say(tornado.web.RequestHandler):
    def post(self):
        text = self.get_body_argument("text", "").strip()
        if text:
            MESSAGES.append(text[:200])
            del MESSAGES[:-20]
        self.redirect("/", status=303)


class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(f"{platform.node()} heard: {message}")


async def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    app = tornado.web.Application([("/", Page), ("/say", Say), ("/echo", Echo)], port=port)
    try:
        app.listen(port, address="127.0.0.1")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print("The app runs already.", flush=True)
        return
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
