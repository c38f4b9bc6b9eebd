import { MainAreaWidget } from '@jupyterlab/apputils';
import type { Terminal as Session } from '@jupyterlab/services';
import { Terminal, type ITerminal } from '@jupyterlab/terminal';
import type { ITranslator } from '@jupyterlab/translation';
import { terminalIcon } from '@jupyterlab/ui-components';

import { terminalKey, terminalLabel } from '../model/terminal';
import type { ITerminalAddress } from '../tokens';

/** JupyterLab's own terminal, on a machine. */
export class TerminalTab extends MainAreaWidget<Terminal> {
  constructor(
    readonly address: ITerminalAddress,
    session: Session.ITerminalConnection,
    options: Partial<ITerminal.IOptions>,
    translator: ITranslator
  ) {
    const content = new Terminal(session, options, translator);
    super({ content, reveal: content.ready });
    this.id = `jp-rmx-terminal-${terminalKey(address)}`;
    this.addClass('jp-rmx-TerminalTab');
    content.title.icon = terminalIcon;
    content.title.caption = address.machine;
    content.title.changed.connect(this.nameTheMachine);
    session.connectionStatusChanged.connect(this.nameTheMachine);
    this.nameTheMachine();
  }

  /** The shell, and JupyterLab, set a title of their own; the machine stands in front of it. */
  private readonly nameTheMachine = (): void => {
    const { title, session } = this.content;
    if (title.label !== this.labelled) {
      this.called = title.label;
    }
    this.labelled = terminalLabel(
      this.address,
      this.called === '' ? `Terminal ${this.address.name}` : this.called,
      session.connectionStatus
    );
    title.label = this.labelled;
  };

  private called = '';
  private labelled = '';
}
