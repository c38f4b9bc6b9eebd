import { element } from './element';

/**
 * What an app may do: all but steer JupyterLab's own window away (no `allow-top-navigation`). The frame has its own
 * origin, so `allow-same-origin` gives it its own cookies and storage, and nothing of Jupyter's.
 */
const SANDBOX = [
  'allow-downloads',
  'allow-forms',
  'allow-modals',
  'allow-pointer-lock',
  'allow-popups',
  'allow-popups-to-escape-sandbox',
  'allow-same-origin',
  'allow-scripts',
  'allow-storage-access-by-user-activation'
].join(' ');

/** The frame of a remote app. `title` is its name for screen readers. */
export function portFrame(title: string): HTMLIFrameElement {
  const frame = element('iframe', 'jp-rmx-PortFrame');
  frame.title = title;
  frame.setAttribute('sandbox', SANDBOX);
  frame.allow = 'clipboard-read; clipboard-write; fullscreen';
  // JupyterLab's address may carry a token.
  frame.referrerPolicy = 'no-referrer';
  return frame;
}
