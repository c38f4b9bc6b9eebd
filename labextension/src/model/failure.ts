import { NetworkError, RmxResponseError } from '../api/errors';
import type { IFailure } from '../tokens';

/** What to tell the person about an error of a ticket request. */
export function describeFailure(error: unknown): IFailure {
  if (error instanceof RmxResponseError) {
    return { message: error.message, hint: error.hint };
  }
  if (error instanceof NetworkError) {
    return {
      message: error.message,
      hint: 'Start it again if it has stopped, then press Retry.'
    };
  }
  return {
    message: error instanceof Error ? error.message : String(error),
    hint: 'Press Retry; if it stays, report it with the text of the browser console.'
  };
}
