import { MainAreaWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  launchIcon,
  refreshIcon,
  Toolbar,
  ToolbarButton
} from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';

import { addressBar } from '../components/addressBar';
import { shownURL, tabLabel, windowURL } from '../model/address';
import type { PortView } from './portView';

/** A `PortView` with its toolbar, as it stands in JupyterLab's main area. */
export type PortTab = MainAreaWidget<PortView>;

/** @param baseUrl - the Jupyter server's, ending with `/`. */
export function createPortTab(
  view: PortView,
  baseUrl: string,
  trans: TranslationBundle
): PortTab {
  const tab = new MainAreaWidget({ content: view });
  tab.id = `jp-rmx-port-${tabLabel(view.address)}`;
  tab.addClass('jp-rmx-PortTab');
  tab.toolbar.addItem(
    'reload',
    new ToolbarButton({
      icon: refreshIcon,
      tooltip: trans.__('Reload the app'),
      onClick: () => {
        void view.load();
      }
    })
  );
  tab.toolbar.addItem('address', addressItem(view));
  tab.toolbar.addItem('spacer', Toolbar.createSpacerItem());
  tab.toolbar.addItem(
    'window',
    new ToolbarButton({
      icon: launchIcon,
      label: trans.__('Open in window'),
      tooltip: trans.__(
        'Open the app in a browser window of its own. Logins and cookies of the app are separate there.'
      ),
      onClick: () => {
        openWindow(windowURL(baseUrl, view.address));
      }
    })
  );
  return tab;
}

/** A new browser window that cannot reach back into JupyterLab. */
export function openWindow(url: string): void {
  window.open(url, '_blank', 'noopener,noreferrer');
}

function addressItem(view: PortView): Widget {
  const bar = addressBar(view.address.machine, view.title.caption);
  const show = (): void => {
    bar.showURL(shownURL(view.address));
  };
  show();
  view.addressChanged.connect(show);
  return new Widget({ node: bar.node });
}
