import type { ServerConnection } from '@jupyterlab/services';

import type { IPortAddress, IPortTicket, RequestTicket } from '../tokens';
import { requestAPI } from './request';

/** A `RequestTicket` that speaks to the server of `settings`; `origin` is where the tab will be framed. */
export function ticketRequester(
  settings: ServerConnection.ISettings,
  origin: string
): RequestTicket {
  return (address: IPortAddress, openId?: string) =>
    requestAPI<IPortTicket>(
      settings,
      ['machines', address.machine, 'ports', address.port.toString(), 'ticket'],
      {
        method: 'POST',
        body: JSON.stringify({
          origin,
          path: address.path,
          ...(openId === undefined ? {} : { open_id: openId })
        })
      }
    );
}
