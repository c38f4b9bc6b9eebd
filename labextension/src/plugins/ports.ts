import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { ticketRequester } from '../api/ports';
import { portIcon } from '../components/icons';
import { pathOf, readAddress, tabLabel } from '../model/address';
import { CommandIDs, TRANSLATION_DOMAIN } from '../tokens';
import { askForAddress } from '../widgets/addressDialog';
import { PortTabs } from '../widgets/portTabs';
import type { PortTab } from '../widgets/portTab';

/** The arguments of `rmx:open-port`, as JupyterLab describes them to people and programs. */
const OPEN_PORT_ARGS = {
  type: 'object',
  properties: {
    machine: { type: 'string', description: 'Name of the machine' },
    port: {
      type: 'integer',
      minimum: 1,
      maximum: 65535,
      description: 'Port on the loopback address of the machine'
    },
    path: {
      type: 'string',
      description: 'Path of the page to open; begins with /'
    },
    open_id: {
      type: 'string',
      description:
        'Claim of one output of "%vm open": without success no tab opens'
    },
    ref: {
      type: 'string',
      description: 'Id of the main-area widget to open beside, unfocused'
    }
  }
} as const;

/** The tab of a machine's port: its command, palette entry and restoration. */
export const portsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-rmx:ports',
  description: "Shows a machine's port as a tab.",
  autoStart: true,
  optional: [ICommandPalette, ILayoutRestorer, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const settings = app.serviceManager.serverSettings;
    const tracker = new WidgetTracker<PortTab>({ namespace: 'jupyter-rmx' });
    const tabs = new PortTabs({
      shell: app.shell,
      tracker,
      baseUrl: settings.baseUrl,
      requestTicket: ticketRequester(settings, window.location.origin),
      trans
    });

    app.commands.addCommand(CommandIDs.openPort, {
      label: trans.__("Open a Machine's Port…"),
      caption: trans.__("Show what listens on a machine's port as a tab"),
      icon: portIcon,
      describedBy: { args: OPEN_PORT_ARGS },
      execute: async args => {
        if (args['port'] === undefined) {
          const machine = args['machine'];
          const asked = await askForAddress(
            typeof machine === 'string' ? machine : '',
            trans
          );
          return asked === null ? null : tabs.open(asked);
        }
        const address = readAddress(args);
        if (address === null) {
          throw new Error(
            trans.__(
              'A machine name, a port from 1 to 65535 and a path that begins with / are needed.'
            )
          );
        }
        const { open_id: openId, ref } = args;
        return typeof openId === 'string'
          ? tabs.claim(address, openId, typeof ref === 'string' ? ref : null)
          : tabs.open(address);
      }
    });

    palette?.addItem({
      command: CommandIDs.openPort,
      category: trans.__('Remote Machines')
    });
    void restorer?.restore(tracker, {
      command: CommandIDs.openPort,
      args: ({ content: { address } }) => ({
        machine: address.machine,
        port: address.port,
        // A query may hold an app's token, so it is not saved.
        path: pathOf(address)
      }),
      name: ({ content: { address } }) => tabLabel(address)
    });
  }
};
