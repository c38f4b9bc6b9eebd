import { element } from './element';

export interface IOpenCardProps {
  readonly heading: string;
  readonly shown: string;
  readonly openTabLabel: string;
  readonly openWindowLabel: string;
  readonly openWindowCaption: string;
  readonly renderIcon: (container: HTMLElement) => void;
  readonly onOpenTab: () => void;
  readonly onOpenWindow: () => void;
}

/** The one-line card that stands for an opened port in a notebook's output. */
export function openCard(props: IOpenCardProps): HTMLElement {
  const icon = element('span', 'jp-rmx-OpenCard-icon');
  props.renderIcon(icon);
  const card = element('div', 'jp-rmx-OpenCard');
  card.append(
    icon,
    element('span', 'jp-rmx-OpenCard-heading', props.heading),
    element('span', 'jp-rmx-OpenCard-url', props.shown),
    button(props.openTabLabel, props.onOpenTab),
    button(props.openWindowLabel, props.onOpenWindow, props.openWindowCaption)
  );
  return card;
}

function button(
  label: string,
  onClick: () => void,
  caption = ''
): HTMLButtonElement {
  const node = element('button', 'jp-rmx-Button', label);
  node.type = 'button';
  node.title = caption;
  node.addEventListener('click', onClick);
  return node;
}
