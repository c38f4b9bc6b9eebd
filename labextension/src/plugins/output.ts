import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';

import { windowURL } from '../model/address';
import {
  CommandIDs,
  OPEN_MIME_TYPE,
  TRANSLATION_DOMAIN,
  type IPortAddress
} from '../tokens';
import { OpenOutput, type IPortOpener } from '../widgets/openOutput';
import { openWindow } from '../widgets/portTab';

/** Before text/html (50), which the same output carries for front ends without this extension. */
const RANK = 10;

/** Renders the output of `%vm open`. */
export const outputPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-rmx:output',
  description: 'Renders the output of "%vm open" and opens its tab once.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const opener = portOpener(app);
    rendermime.addFactory(
      {
        // Nothing of the payload is parsed as HTML, and a tab opens by itself only if the server grants the claim.
        safe: true,
        mimeTypes: [OPEN_MIME_TYPE],
        createRenderer: () => new OpenOutput(opener, trans)
      },
      RANK
    );
  }
};

function portOpener(app: JupyterFrontEnd): IPortOpener {
  return {
    openTab: async ({ machine, port, path }) => {
      await app.commands.execute(CommandIDs.openPort, { machine, port, path });
    },
    claim: async ({ machine, port, path, openId }, origin) => {
      const ref = mainAreaWidgetOf(app, origin);
      await app.commands.execute(CommandIDs.openPort, {
        machine,
        port,
        path,
        open_id: openId,
        ...(ref === null ? {} : { ref })
      });
    },
    openWindow: (address: IPortAddress) => {
      openWindow(windowURL(app.serviceManager.serverSettings.baseUrl, address));
    }
  };
}

/** Id of the main-area widget (the notebook, mostly) that holds `inner`, or null. */
function mainAreaWidgetOf(app: JupyterFrontEnd, inner: Widget): string | null {
  for (const widget of app.shell.widgets('main')) {
    if (widget.contains(inner)) {
      return widget.id;
    }
  }
  return null;
}
