import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { NetworkError, responseError } from './errors';

/** Where the REST interface begins, below the server's base URL. */
export const API_ROOT = 'rmx/api/v1';

/**
 * The one door to our server extension.
 *
 * @param segments - path below the API root; each is URL-encoded here.
 * @param init - as for `fetch`; a body is JSON text.
 * @throws NetworkError where no answer comes, RmxResponseError where the answer is an error.
 */
export async function requestAPI<T>(
  settings: ServerConnection.ISettings,
  segments: readonly string[],
  init: RequestInit = {}
): Promise<T> {
  const path = segments.map(encodeURIComponent).join('/');
  const url = URLExt.join(settings.baseUrl, API_ROOT, path);
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(url, init, settings);
  } catch (error) {
    throw new NetworkError(error);
  }
  const body = await readJSON(response);
  if (!response.ok) {
    throw responseError(response.status, body);
  }
  return body as T;
}

/** The decoded body; null where it is empty or not JSON (a proxy's error page, say). */
async function readJSON(response: Response): Promise<unknown> {
  try {
    return JSON.parse(await response.text()) as unknown;
  } catch {
    return null;
  }
}
