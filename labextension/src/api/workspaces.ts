import type { ServerConnection } from '@jupyterlab/services';

import type { IAttached, ISSHSession } from '../tokens';
import { requestAPI } from './request';

/** Attach a machine: it is ready, or its server asks something. */
export function attach(
  settings: ServerConnection.ISettings,
  target: string
): Promise<IAttached> {
  return requestAPI<IAttached>(settings, ['workspaces'], {
    method: 'POST',
    body: JSON.stringify({ target })
  });
}

/** Answer a question, or give up with null; the ready machine, or the next question. */
export function answer(
  settings: ServerConnection.ISettings,
  questionId: string,
  answers: readonly string[] | null
): Promise<IAttached> {
  return requestAPI<IAttached>(settings, ['questions', questionId], {
    method: 'POST',
    body: JSON.stringify({ answers })
  });
}

/** Hosts of the user's ssh_config. */
export async function sshHosts(
  settings: ServerConnection.ISettings
): Promise<string[]> {
  const { hosts } = await requestAPI<{
    readonly hosts: readonly { readonly name: string }[];
  }>(settings, ['ssh-hosts']);
  return hosts.map(({ name }) => name);
}

/** The SSH sessions in the foreground of JupyterLab's own terminals. */
export async function sshSessions(
  settings: ServerConnection.ISettings
): Promise<readonly ISSHSession[]> {
  const { sessions } = await requestAPI<{
    readonly sessions: readonly ISSHSession[];
  }>(settings, ['ssh-sessions']);
  return sessions;
}
