import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { WidgetTracker } from '@jupyterlab/apputils';
import type { ServerConnection } from '@jupyterlab/services';
import type { ITerminal } from '@jupyterlab/terminal';
import type { ITranslator } from '@jupyterlab/translation';

import { MachineTerminals } from '../api/terminals';
import { TerminalTab } from './terminalTab';

export interface ITerminalTabsOptions {
  readonly shell: JupyterFrontEnd.IShell;
  readonly settings: ServerConnection.ISettings;
  readonly tracker: WidgetTracker<TerminalTab>;
  readonly translator: ITranslator;
  /** How terminals look, as the person has set it for JupyterLab's own. */
  readonly look: () => Partial<ITerminal.IOptions>;
}

/** The terminal tabs of this window. */
export class TerminalTabs {
  constructor(private readonly options: ITerminalTabsOptions) {}

  /** Terminals that run on `machine` and have no tab in this window. */
  async withoutTab(machine: string): Promise<string[]> {
    const names = await this.of(machine).names();
    return names.filter(name => this.find(machine, name) === undefined);
  }

  /** Show the tab of a terminal; `name` null is a new one, and so is one that runs no longer. */
  async open(machine: string, name: string | null): Promise<TerminalTab> {
    const found = name === null ? undefined : this.find(machine, name);
    const tab = found ?? (await this.create(machine, name));
    if (found === undefined) {
      this.options.shell.add(tab, 'main', { type: 'Terminal' });
    }
    this.options.shell.activateById(tab.id);
    return tab;
  }

  private find(machine: string, name: string): TerminalTab | undefined {
    return this.options.tracker.find(
      ({ address }) => address.machine === machine && address.name === name
    );
  }

  private async create(
    machine: string,
    name: string | null
  ): Promise<TerminalTab> {
    const { tracker, translator, look } = this.options;
    const session = await this.of(machine).open(name);
    const tab = new TerminalTab(
      { machine, name: session.name },
      session,
      look(),
      translator
    );
    tab.disposed.connect(() => {
      this.closed(machine);
    });
    void tracker.add(tab);
    return tab;
  }

  private of(machine: string): MachineTerminals {
    let terminals = this.machines.get(machine);
    if (terminals === undefined) {
      terminals = new MachineTerminals(this.options.settings, machine);
      this.machines.set(machine, terminals);
    }
    return terminals;
  }

  /** With its last tab, a machine's terminals are asked for no more. */
  private closed(machine: string): void {
    const { tracker } = this.options;
    if (
      tracker.find(
        tab => !tab.isDisposed && tab.address.machine === machine
      ) === undefined
    ) {
      this.machines.get(machine)?.dispose();
      this.machines.delete(machine);
    }
  }

  private readonly machines = new Map<string, MachineTerminals>();
}
