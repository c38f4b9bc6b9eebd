import { InputDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

/** Ask for one of `names`, or for another one that the person types; null if the person cancels. */
export async function askForMachine(
  title: string,
  names: readonly string[],
  trans: TranslationBundle
): Promise<string | null> {
  const label = trans.__('Name of the machine');
  const okLabel = trans.__('Open');
  const { button, value } =
    names.length === 0
      ? await InputDialog.getText({
          title,
          label,
          okLabel,
          placeholder: 'demo'
        })
      : await InputDialog.getItem({
          title,
          label,
          okLabel,
          items: [...names],
          editable: true
        });
  const name = value?.trim() ?? '';
  return button.accept && name !== '' ? name : null;
}

/**
 * Ask whether to go on with one of the terminals `running`, or with a new one.
 *
 * @returns a name, null for a new one, undefined if the person cancels.
 */
export async function askForTerminal(
  machine: string,
  running: readonly string[],
  trans: TranslationBundle
): Promise<string | null | undefined> {
  const fresh = trans.__('New terminal');
  const labels = running.map(name => trans.__('Terminal %1, running', name));
  const { button, value } = await InputDialog.getItem({
    title: trans.__('Terminals on %1', machine),
    label: trans.__('Running terminals of the machine have no tab here.'),
    okLabel: trans.__('Open'),
    items: [fresh, ...labels]
  });
  if (!button.accept || value === null) {
    return undefined;
  }
  return running[labels.indexOf(value)] ?? null;
}
