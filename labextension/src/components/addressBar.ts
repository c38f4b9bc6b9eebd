import { element } from './element';

export interface IAddressBar {
  readonly node: HTMLElement;
  showURL(url: string): void;
}

/** The machine's name and the address of the app, as the toolbar shows them. */
export function addressBar(machine: string, caption: string): IAddressBar {
  const url = element('span', 'jp-rmx-AddressBar-url');
  const node = element('div', 'jp-rmx-AddressBar');
  node.title = caption;
  node.append(element('span', 'jp-rmx-AddressBar-machine', machine), url);
  return {
    node,
    showURL: text => {
      url.textContent = text;
    }
  };
}
