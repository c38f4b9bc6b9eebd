import type { JupyterFrontEnd } from '@jupyterlab/application';
import {
  Clipboard,
  showErrorMessage,
  type WidgetTracker
} from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  copyIcon,
  pasteIcon,
  refreshIcon,
  stopIcon,
  type LabIcon
} from '@jupyterlab/ui-components';
import { Menu } from '@lumino/widgets';

import { CommandIDs } from '../tokens';
import type { TerminalTab } from './terminalTab';

interface IAction {
  readonly id: string;
  readonly label: string;
  readonly icon: LabIcon;
  readonly isEnabled?: (tab: TerminalTab) => boolean;
  readonly run: (tab: TerminalTab) => Promise<void>;
}

/**
 * The menu of a right click in a machine's terminal.
 *
 * JupyterLab's own menu of terminals acts on those of this computer only, so ours stands in its place.
 */
export function addTerminalMenu(
  app: JupyterFrontEnd,
  tracker: WidgetTracker<TerminalTab>,
  trans: TranslationBundle
): void {
  const { commands, shell } = app;
  const menu = new Menu({ commands });
  const current = (): TerminalTab | null =>
    tracker.currentWidget === shell.currentWidget
      ? tracker.currentWidget
      : null;

  for (const { id, label, icon, isEnabled, run } of actions(trans)) {
    commands.addCommand(id, {
      label,
      icon: icon.bindprops({ stylesheet: 'menuItem' }),
      isEnabled: () => {
        const tab = current();
        return tab !== null && (isEnabled?.(tab) ?? true);
      },
      describedBy: { args: { type: 'object', properties: {} } },
      execute: async () => {
        const tab = current();
        try {
          await (tab === null ? undefined : run(tab));
        } catch (error) {
          void showErrorMessage(
            label,
            error instanceof Error ? error : String(error)
          );
        }
      }
    });
    menu.addItem({ command: id });
  }

  tracker.widgetAdded.connect((_, tab) => {
    tab.content.node.addEventListener('contextmenu', event => {
      if (!event.shiftKey) {
        event.preventDefault();
        event.stopPropagation();
        menu.open(event.clientX, event.clientY);
      }
    });
  });
}

function actions(trans: TranslationBundle): readonly IAction[] {
  return [
    {
      id: CommandIDs.copyFromTerminal,
      label: trans.__('Copy'),
      icon: copyIcon,
      isEnabled: ({ content }) => content.hasSelection(),
      run: async ({ content }) => {
        Clipboard.copyToSystem(content.getSelection() ?? '');
        content.activate();
        return Promise.resolve();
      }
    },
    {
      id: CommandIDs.pasteToTerminal,
      label: trans.__('Paste'),
      icon: pasteIcon,
      run: async ({ content }) => {
        content.paste(await window.navigator.clipboard.readText());
        content.activate();
      }
    },
    {
      id: CommandIDs.refreshTerminal,
      label: trans.__('Refresh Terminal'),
      icon: refreshIcon,
      run: async ({ content }) => {
        await content.refresh();
        content.activate();
      }
    },
    {
      id: CommandIDs.shutDownTerminal,
      label: trans.__('Shut Down Terminal'),
      icon: stopIcon,
      run: async ({ content }) => {
        await content.session.shutdown();
      }
    }
  ];
}
