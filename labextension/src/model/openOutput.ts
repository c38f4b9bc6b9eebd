import type { IOpenOutput } from '../tokens';
import { readAddress, shownURL } from './address';

/** The version of the payload that this front end understands. */
const VERSION = 1;

/** The checked payload of an output, or null where it is not one of ours. */
export function readOpenOutput(data: unknown): IOpenOutput | null {
  if (typeof data !== 'object' || data === null) {
    return null;
  }
  const fields: Record<string, unknown> = { ...data };
  const address = readAddress(fields);
  const openId = fields['open_id'];
  if (
    fields['version'] !== VERSION ||
    address === null ||
    typeof openId !== 'string' ||
    openId === ''
  ) {
    return null;
  }
  const shown = fields['shown'];
  return {
    ...address,
    openId,
    shown: typeof shown === 'string' && shown !== '' ? shown : shownURL(address)
  };
}
