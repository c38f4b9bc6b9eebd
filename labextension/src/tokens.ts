/** Names and shapes that every floor shares. Importing this file has no side effect. */

/** What the extension adds to JupyterLab's command registry. */
export namespace CommandIDs {
  export const openPort = 'rmx:open-port';
  export const attach = 'rmx:attach';
  export const openTerminal = 'rmx:open-terminal';
  export const copyFromTerminal = 'rmx:terminal-copy';
  export const pasteToTerminal = 'rmx:terminal-paste';
  export const refreshTerminal = 'rmx:terminal-refresh';
  export const shutDownTerminal = 'rmx:terminal-shut-down';
}

/** The output that `%vm open` writes beside its text/html and text/plain. */
export const OPEN_MIME_TYPE = 'application/vnd.jupyter-rmx.open+json';

/** The domain of our translations. */
export const TRANSLATION_DOMAIN = 'jupyter_rmx';

/** A port of a machine, and a place in the app behind it. */
export interface IPortAddress {
  readonly machine: string;
  /** 1 to 65535. */
  readonly port: number;
  /** Begins with one `/`; may carry a query and a fragment. */
  readonly path: string;
}

/** A terminal of a machine. */
export interface ITerminalAddress {
  readonly machine: string;
  readonly name: string;
}

/** The checked content of `OPEN_MIME_TYPE`. */
export interface IOpenOutput extends IPortAddress {
  readonly shown: string;
  /** May be claimed once, for a short time: who claims it opens the tab. */
  readonly openId: string;
}

/** What the server answers to a ticket request (wire names). */
export interface IPortTicket {
  readonly machine: string;
  readonly machine_id: string;
  readonly port: number;
  /** The app's address in the browser: the alias origin and the path. */
  readonly url: string;
  /** The address that trades the ticket for a session and leads to `url`. Good once: never store or show it. */
  readonly open_url: string;
  /** What a person calls the address: `http://localhost:8000/`. */
  readonly shown: string;
  /** ISO 8601, UTC. */
  readonly expires_at: string;
  readonly open_id: string | null;
}

/** Asks the server for a ticket; with an `openId`, claims it as well. */
export type RequestTicket = (
  address: IPortAddress,
  openId?: string
) => Promise<IPortTicket>;

/** What went wrong, in one line, and what the person can do about it. */
export interface IFailure {
  readonly message: string;
  readonly hint: string;
}

/** What a server asks before it lets somebody in (wire names). */
export interface IQuestion {
  readonly id: string;
  readonly machine: string;
  readonly title: string;
  readonly instructions: string;
  /** All are answered together; none: there is something to do, as to touch a key. */
  readonly prompts: readonly {
    readonly text: string;
    /** False: what is typed is a secret. */
    readonly echo: boolean;
  }[];
}

/** What came of attaching a machine. */
export interface IAttached {
  readonly machine: { readonly name: string };
  readonly question: IQuestion | null;
}

/** An SSH session in a terminal of JupyterLab's own. */
export interface ISSHSession {
  readonly terminal: string;
  readonly destination: string;
  /** The command line that means it; what `attach` takes. */
  readonly line: string;
  /** The name under which it is attached already. */
  readonly machine: string | null;
}
