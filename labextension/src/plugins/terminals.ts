import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  ICommandPalette,
  IThemeManager,
  Notification,
  showErrorMessage,
  WidgetTracker
} from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { ITerminal } from '@jupyterlab/terminal';
import {
  ITranslator,
  nullTranslator,
  type TranslationBundle
} from '@jupyterlab/translation';
import { terminalIcon } from '@jupyterlab/ui-components';

import { machineNames } from '../api/machines';
import { describeFailure } from '../model/failure';
import { readTerminal, terminalKey } from '../model/terminal';
import { CommandIDs, TRANSLATION_DOMAIN } from '../tokens';
import { askForMachine, askForTerminal } from '../widgets/machineDialog';
import { addTerminalMenu } from '../widgets/terminalMenu';
import type { TerminalTab } from '../widgets/terminalTab';
import { TerminalTabs } from '../widgets/terminalTabs';

/** Where JupyterLab keeps the look of its own terminals. */
const TERMINAL_SETTINGS = '@jupyterlab/terminal-extension:plugin';

/** The arguments of `rmx:open-terminal`, as JupyterLab describes them to people and programs. */
const OPEN_TERMINAL_ARGS = {
  type: 'object',
  properties: {
    machine: {
      type: 'string',
      description: 'Name of the machine; asked for where it is left out'
    },
    name: {
      type: 'string',
      description: 'Name of a terminal; without it, a new one'
    },
    restore: {
      type: 'boolean',
      description: 'A saved layout is loaded: failures are told in passing'
    }
  }
} as const;

/** Terminals of machines as tabs: their command, palette entry, launcher card and restoration. */
export const terminalsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-rmx:terminals',
  description: 'Opens terminals on machines.',
  autoStart: true,
  optional: [
    ICommandPalette,
    ILauncher,
    ILayoutRestorer,
    ISettingRegistry,
    IThemeManager,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null,
    registry: ISettingRegistry | null,
    themes: IThemeManager | null,
    translator: ITranslator | null
  ) => {
    const known = translator ?? nullTranslator;
    const trans = known.load(TRANSLATION_DOMAIN);
    const settings = app.serviceManager.serverSettings;
    const tracker = new WidgetTracker<TerminalTab>({
      namespace: 'jupyter-rmx-terminal'
    });
    const look = followSettings(tracker, registry, themes);
    const tabs = new TerminalTabs({
      shell: app.shell,
      settings,
      tracker,
      translator: known,
      look
    });
    const category = trans.__('Remote Machines');
    const command = CommandIDs.openTerminal;

    app.commands.addCommand(command, {
      label: args =>
        args['isLauncher'] === true
          ? trans.__('Terminal on a Machine')
          : trans.__('Open Terminal on a Machine…'),
      caption: trans.__('Open a shell on a machine as a tab'),
      icon: terminalIcon,
      describedBy: { args: OPEN_TERMINAL_ARGS },
      execute: async args => {
        try {
          const given = readTerminal(args);
          if (given !== null && given.name !== null) {
            return await tabs.open(given.machine, given.name);
          }
          const machine =
            given?.machine ??
            (await askForMachine(
              trans.__('Open Terminal on a Machine'),
              await machineNames(settings),
              trans
            ));
          return machine === null ? null : await openOn(machine, tabs, trans);
        } catch (error) {
          tell(error, args['restore'] === true, trans);
          return null;
        }
      }
    });
    addTerminalMenu(app, tracker, trans);
    palette?.addItem({ command, category });
    launcher?.add({
      command,
      args: { isLauncher: true },
      category: trans.__('Other'),
      rank: 1
    });
    void restorer?.restore(tracker, {
      command,
      args: ({ address }) => ({ ...address, restore: true }),
      name: ({ address }) => terminalKey(address)
    });
  }
};

/** A new terminal, or, where some run that have no tab here, the one that the person chooses. */
async function openOn(
  machine: string,
  tabs: TerminalTabs,
  trans: TranslationBundle
): Promise<TerminalTab | null> {
  const running = await tabs.withoutTab(machine);
  const name =
    running.length === 0 ? null : await askForTerminal(machine, running, trans);
  return name === undefined ? null : tabs.open(machine, name);
}

function tell(
  error: unknown,
  inPassing: boolean,
  trans: TranslationBundle
): void {
  const { message, hint } = describeFailure(error);
  if (inPassing) {
    Notification.warning(`${message} ${hint}`, { autoClose: false });
  } else {
    void showErrorMessage(
      trans.__('No terminal was opened'),
      `${message}\n${hint}`
    );
  }
}

/** Keep all tabs as the person has set JupyterLab's own terminals, and in JupyterLab's theme. */
function followSettings(
  tracker: WidgetTracker<TerminalTab>,
  registry: ISettingRegistry | null,
  themes: IThemeManager | null
): () => Partial<ITerminal.IOptions> {
  let options: Partial<ITerminal.IOptions> = {};
  const apply = (settings: ISettingRegistry.ISettings): void => {
    options = settings.composite;
    tracker.forEach(({ content }) => {
      for (const [name, value] of Object.entries(options)) {
        content.setOption(name as keyof ITerminal.IOptions, value);
      }
    });
  };
  registry
    ?.load(TERMINAL_SETTINGS)
    .then(settings => {
      apply(settings);
      settings.changed.connect(apply);
    })
    .catch((error: unknown) => {
      // JupyterLab's terminals are switched off: ours look as they do by default.
      console.warn('Settings of terminals could not be read.', error);
    });
  themes?.themeChanged.connect(() => {
    tracker.forEach(({ content }) => {
      if (content.getOption('theme') === 'inherit') {
        content.setOption('theme', 'inherit');
      }
    });
  });
  return () => options;
}
