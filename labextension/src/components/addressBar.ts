import { element } from './element';

/** The machine's name and the address of the app, as the toolbar shows them. */
export function addressBar(
  machine: string,
  shown: string,
  caption: string
): HTMLElement {
  const bar = element('div', 'jp-rmx-AddressBar');
  bar.title = caption;
  bar.append(
    element('span', 'jp-rmx-AddressBar-machine', machine),
    element('span', 'jp-rmx-AddressBar-url', shown)
  );
  return bar;
}
