import { URLExt } from '@jupyterlab/coreutils';
import {
  ServerConnection,
  TerminalManager,
  type Terminal
} from '@jupyterlab/services';

import { API_ROOT, requestAPI } from './request';

/** The terminals of one machine. JupyterLab's own manager connects to them: the server speaks its language. */
export class MachineTerminals {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly machine: string
  ) {}

  /** Names of those that run, in the order in which they were opened. */
  async names(): Promise<string[]> {
    const models = await requestAPI<Terminal.IModel[]>(
      this.settings,
      this.path()
    );
    return models.map(({ name }) => name);
  }

  /** Open a new one, or the one of that name, and connect to it. */
  async open(name: string | null): Promise<Terminal.ITerminalConnection> {
    const model = await requestAPI<Terminal.IModel>(
      this.settings,
      this.path(),
      {
        method: 'POST',
        body: JSON.stringify(name === null ? {} : { name })
      }
    );
    this.manager ??= this.makeManager();
    return this.manager.connectTo({ model });
  }

  /** Ask the server no more for the terminals that run. */
  dispose(): void {
    this.manager?.dispose();
    this.manager = null;
  }

  private path(): string[] {
    return ['machines', this.machine, 'api', 'terminals'];
  }

  private makeManager(): TerminalManager {
    const below = `${API_ROOT}/machines/${encodeURIComponent(this.machine)}/`;
    return new TerminalManager({
      serverSettings: ServerConnection.makeSettings({
        ...this.settings,
        baseUrl: URLExt.join(this.settings.baseUrl, below),
        wsUrl: URLExt.join(this.settings.wsUrl, below)
      })
    });
  }

  private manager: TerminalManager | null = null;
}
