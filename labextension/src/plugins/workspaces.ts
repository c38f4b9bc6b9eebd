import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  ICommandPalette,
  InputDialog,
  Notification,
  showErrorMessage
} from '@jupyterlab/apputils';
import type { ServerConnection } from '@jupyterlab/services';
import { ITerminalTracker } from '@jupyterlab/terminal';
import {
  ITranslator,
  nullTranslator,
  type TranslationBundle
} from '@jupyterlab/translation';
import { Poll } from '@lumino/polling';

import { answer, attach, sshHosts, sshSessions } from '../api/workspaces';
import { describeFailure } from '../model/failure';
import { Offers } from '../model/offers';
import { CommandIDs, TRANSLATION_DOMAIN, type ISSHSession } from '../tokens';
import { askQuestion } from '../widgets/questionDialog';

/** How often JupyterLab's own terminals are looked at while one is open and the page is seen, in milliseconds. */
const LOOK_MS = 5000;

/** Machines that the user has already: attach them, and offer those that a terminal shows. */
export const workspacesPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-rmx:workspaces',
  description: 'Attaches machines over SSH.',
  autoStart: true,
  optional: [ICommandPalette, ITerminalTracker, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    terminals: ITerminalTracker | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const settings = app.serviceManager.serverSettings;
    const command = CommandIDs.attach;
    app.commands.addCommand(command, {
      label: trans.__('Attach a Machine over SSH…'),
      caption: trans.__('Use a host that you reach by ssh as a machine here'),
      describedBy: {
        args: {
          type: 'object',
          properties: {
            target: {
              type: 'string',
              description:
                'A host, user@host:port, or an ssh command line; asked for where it is left out'
            }
          }
        }
      },
      execute: async args => {
        const given = args['target'];
        const target =
          typeof given === 'string' ? given : await askTarget(settings, trans);
        if (target === null) {
          return null;
        }
        try {
          return await attachAndTell(app, target, trans);
        } catch (error) {
          const { message, hint } = describeFailure(error);
          await showErrorMessage(
            trans.__('Nothing was attached'),
            `${message}\n${hint}`
          );
          return null;
        }
      }
    });
    palette?.addItem({ command, category: trans.__('Remote Machines') });
    if (terminals !== null) {
      offerSessions(app, terminals, trans);
    }
  }
};

/** A host of ssh_config, or whatever the person types; null if they cancel. */
async function askTarget(
  settings: ServerConnection.ISettings,
  trans: TranslationBundle
): Promise<string | null> {
  const title = trans.__('Attach a Machine over SSH');
  const label = trans.__('A host, user@host:port, or a whole ssh command line');
  const okLabel = trans.__('Attach');
  // Without the list, a host can still be typed; what is wrong with the server is told by `attach`.
  const items = await sshHosts(settings).catch((): string[] => []);
  const { button, value } =
    items.length === 0
      ? await InputDialog.getText({
          title,
          label,
          okLabel,
          placeholder: 'me@gpu01'
        })
      : await InputDialog.getItem({
          title,
          label,
          okLabel,
          items,
          editable: true
        });
  const target = value?.trim() ?? '';
  return button.accept && target !== '' ? target : null;
}

/** Attach, put the server's questions to the person, and say what the machine is called; null if they gave up. */
async function attachAndTell(
  app: JupyterFrontEnd,
  target: string,
  trans: TranslationBundle
): Promise<string | null> {
  const settings = app.serviceManager.serverSettings;
  const waiting = Notification.emit(trans.__('Attaching…'), 'in-progress', {
    autoClose: false
  });
  try {
    let attached = await attach(settings, target);
    for (let asked = attached.question; asked !== null;) {
      if (asked.prompts.length === 0) {
        Notification.info(`${asked.title} ${asked.instructions}`.trim());
      }
      const answers =
        asked.prompts.length === 0 ? [] : await askQuestion(asked, trans);
      if (answers === null) {
        // Its error is that nobody answered: who gave up knows.
        await answer(settings, asked.id, null).catch(() => undefined);
        return null;
      }
      attached = await answer(settings, asked.id, answers);
      asked = attached.question;
    }
    tellAttached(app, attached.machine.name, trans);
    return attached.machine.name;
  } finally {
    Notification.dismiss(waiting);
  }
}

function tellAttached(
  app: JupyterFrontEnd,
  machine: string,
  trans: TranslationBundle
): void {
  Notification.success(trans.__('%1 is attached.', machine), {
    autoClose: 10_000,
    actions: [
      {
        label: trans.__('Open Terminal'),
        callback: () => {
          void app.commands.execute(CommandIDs.openTerminal, { machine });
        }
      }
    ]
  });
}

/** Offer the hosts that JupyterLab's terminals show; nothing is used before the person says so. */
function offerSessions(
  app: JupyterFrontEnd,
  terminals: ITerminalTracker,
  trans: TranslationBundle
): void {
  const offers = new Offers();
  const shown = new Map<string, string>();
  const settings = app.serviceManager.serverSettings;

  function show(session: ISSHSession): void {
    const { destination, line } = session;
    const decline = (): void => {
      offers.decline(line);
      shown.delete(line);
    };
    const text = trans.__(
      'A terminal runs ssh to %1. Attach %1 here?',
      destination
    );
    const id = Notification.emit(text, 'default', {
      autoClose: false,
      actions: [
        {
          label: trans.__('Attach'),
          displayType: 'accent',
          callback: () => {
            void app.commands.execute(CommandIDs.attach, { target: line });
          }
        },
        { label: trans.__('Not Now'), callback: decline }
      ]
    });
    shown.set(line, id);
  }

  new Poll({
    name: 'jupyter-rmx:ssh-sessions',
    factory: async () => {
      const { offer, withdraw } = offers.update(await sshSessions(settings));
      for (const line of withdraw) {
        Notification.dismiss(shown.get(line) ?? '');
        shown.delete(line);
      }
      offer.forEach(show);
    },
    frequency: { interval: LOOK_MS, backoff: true, max: 12 * LOOK_MS },
    // Nobody looks, or there is nothing to look at: no request is made.
    standby: () => document.hidden || (terminals.size === 0 && shown.size === 0)
  });
}
