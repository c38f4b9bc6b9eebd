import type { ServerConnection } from '@jupyterlab/services';

import { requestAPI } from './request';

interface IMachineList {
  readonly machines: readonly { readonly name: string }[];
}

/** Names of the machines, newest first; of very many, the newest. */
export async function machineNames(
  settings: ServerConnection.ISettings
): Promise<string[]> {
  const { machines } = await requestAPI<IMachineList>(settings, ['machines']);
  return machines.map(({ name }) => name);
}
