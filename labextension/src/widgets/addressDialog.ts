import { InputDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import { parsePort } from '../model/address';
import type { IPortAddress } from '../tokens';

/** Ask for a machine and one of its ports; null if the person cancels. */
export async function askForAddress(
  machine: string,
  trans: TranslationBundle
): Promise<IPortAddress | null> {
  const title = trans.__("Open a Machine's Port");
  const named = await InputDialog.getText({
    title,
    label: trans.__('Name of the machine'),
    placeholder: 'demo',
    text: machine,
    okLabel: trans.__('Next')
  });
  const name = named.value?.trim() ?? '';
  if (!named.button.accept || name === '') {
    return null;
  }
  const port = await askForPort(title, name, trans);
  return port === null ? null : { machine: name, port, path: '/' };
}

/** Ask until the answer is a port, or the person cancels. */
async function askForPort(
  title: string,
  machine: string,
  trans: TranslationBundle
): Promise<number | null> {
  const question = trans.__('Port on %1 (1 to 65535)', machine);
  let label = question;
  let text = '';
  for (;;) {
    const answer = await InputDialog.getText({
      title,
      label,
      placeholder: '8000',
      text,
      okLabel: trans.__('Open')
    });
    if (!answer.button.accept) {
      return null;
    }
    text = answer.value ?? '';
    const port = parsePort(text);
    if (port !== null) {
      return port;
    }
    label = trans.__('“%1” is not a port. %2', text, question);
  }
}
