import type { ITerminalAddress } from '../tokens';

/** The terminal that a command's arguments mean: no name is a new one, null where no machine is named. */
export function readTerminal(
  args: Readonly<Record<string, unknown>>
): { readonly machine: string; readonly name: string | null } | null {
  const { machine, name } = args;
  if (typeof machine !== 'string' || machine.trim() === '') {
    return null;
  }
  return {
    machine: machine.trim(),
    name: typeof name === 'string' && name !== '' ? name : null
  };
}

/** The terminal's name in a saved layout, and part of its tab's id. */
export function terminalKey({ machine, name }: ITerminalAddress): string {
  return `${machine}:${name}`;
}

/**
 * What stands on the tab: the machine, then what the shell or JupyterLab calls the terminal.
 *
 * @param status - of the connection between this page and Jupyter.
 */
export function terminalLabel(
  { machine }: ITerminalAddress,
  title: string,
  status: 'connected' | 'connecting' | 'disconnected'
): string {
  const label = `${machine}: ${title}`;
  return status === 'connected' ? label : `${label} (${status})`;
}
