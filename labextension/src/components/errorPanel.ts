import type { IFailure } from '../tokens';
import { element } from './element';

/** One line about what went wrong, what to do, and a button to try again. */
export function errorPanel(
  failure: IFailure,
  retryLabel: string,
  onRetry: () => void
): HTMLElement {
  const retry = element('button', 'jp-rmx-Button', retryLabel);
  retry.type = 'button';
  retry.addEventListener('click', onRetry);
  const box = element('div', 'jp-rmx-ErrorPanel-box');
  box.append(
    element('p', 'jp-rmx-ErrorPanel-message', failure.message),
    element('p', 'jp-rmx-ErrorPanel-hint', failure.hint),
    retry
  );
  const panel = element('div', 'jp-rmx-ErrorPanel');
  panel.setAttribute('role', 'alert');
  panel.append(box);
  return panel;
}
