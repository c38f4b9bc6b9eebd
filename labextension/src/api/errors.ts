/**
 * Error
 * ├── NetworkError        no answer came
 * └── RmxResponseError    the server said no; `code` and `hint` are its own
 */

/** The Jupyter server did not answer at all. */
export class NetworkError extends Error {
  constructor(cause: unknown) {
    super('The Jupyter server does not answer.', { cause });
    this.name = 'NetworkError';
  }
}

/** The server answered with an error. */
export class RmxResponseError extends Error {
  constructor(
    readonly status: number,
    /** Stable, such as `loopback_already_opened`; empty where the answer is not ours. */
    readonly code: string,
    message: string,
    readonly hint: string
  ) {
    super(message);
    this.name = 'RmxResponseError';
  }
}

/** The `open_id` was used before, or is too old: somebody else opened the tab. */
export const ALREADY_OPENED = 'loopback_already_opened';

/** What to do about an answer that did not come from our part of the server. */
const FOREIGN_HINTS: Readonly<Record<number, string>> = {
  401: 'Reload this page to log in again.',
  403: 'Reload this page to log in again.',
  404: 'Enable the server part with "jupyter server extension enable jupyter_rmx", then restart the Jupyter server.'
};

/** Our envelope is `{error, message, action, …}`; anything else becomes an error that says so. */
export function responseError(status: number, body: unknown): RmxResponseError {
  const fields: Record<string, unknown> =
    typeof body === 'object' && body !== null ? { ...body } : {};
  const code = text(fields['error']);
  if (code !== '') {
    const message = text(fields['message']) || code;
    return new RmxResponseError(status, code, message, text(fields['action']));
  }
  return new RmxResponseError(
    status,
    '',
    `The Jupyter server refused the request (HTTP ${status.toString()}).`,
    FOREIGN_HINTS[status] ?? 'Look into the log of the Jupyter server.'
  );
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
