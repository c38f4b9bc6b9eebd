import type { IPortAddress } from '../tokens';

/** True for 1 to 65535. */
export function isPort(value: unknown): value is number {
  return (
    typeof value === 'number' &&
    Number.isInteger(value) &&
    value >= 1 &&
    value <= 65535
  );
}

/** The port that a person typed, or null. */
export function parsePort(typed: string): number | null {
  const trimmed = typed.trim();
  const port = /^[1-9][0-9]{0,4}$/.test(trimmed) ? Number(trimmed) : null;
  return isPort(port) ? port : null;
}

/** True for an absolute path on the same origin. `//host` and `/\host` would name another one. */
export function isPath(value: unknown): value is string {
  return typeof value === 'string' && /^\/(?![/\\])/.test(value);
}

/** The address that a command's arguments mean, or null if they mean none. */
export function readAddress(
  args: Readonly<Record<string, unknown>>
): IPortAddress | null {
  const { machine, port, path = '/' } = args;
  if (typeof machine !== 'string' || machine.trim() === '') {
    return null;
  }
  return isPort(port) && isPath(path)
    ? { machine: machine.trim(), port, path }
    : null;
}

/** True if both lead to the same app: that is one tab. */
export function isSamePort(one: IPortAddress, other: IPortAddress): boolean {
  return one.machine === other.machine && one.port === other.port;
}

/** The tab's label, also its name in a saved layout. */
export function tabLabel(address: IPortAddress): string {
  return `${address.machine}:${address.port.toString()}`;
}

/** The path without query and fragment, which may hold an app's secrets. */
export function pathOf(address: IPortAddress): string {
  return address.path.replace(/[?#].*$/s, '');
}

/** What the app itself calls the address. */
export function shownURL(address: IPortAddress): string {
  return `http://localhost:${address.port.toString()}${address.path}`;
}

/** The page that opens the app in a window of its own. `baseUrl` ends with `/`. */
export function windowURL(baseUrl: string, address: IPortAddress): string {
  const machine = encodeURIComponent(address.machine);
  return `${baseUrl}rmx/open/${machine}/${address.port.toString()}${address.path}`;
}
