import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { WidgetTracker } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import { isSamePort } from '../model/address';
import type { IPortAddress, RequestTicket } from '../tokens';
import { createPortTab, type PortTab } from './portTab';
import { PortView } from './portView';

export interface IPortTabsOptions {
  readonly shell: JupyterFrontEnd.IShell;
  readonly tracker: WidgetTracker<PortTab>;
  /** The Jupyter server's, ending with `/`. */
  readonly baseUrl: string;
  readonly requestTicket: RequestTicket;
  readonly trans: TranslationBundle;
}

/** The tabs of this window: one for each port of each machine. */
export class PortTabs {
  constructor(private readonly options: IPortTabsOptions) {}

  /** Show the tab of `address`, focused; a tab that is there is shown, and sent to `path` if that is another one. */
  open(address: IPortAddress): PortTab {
    const { shell } = this.options;
    const found = this.find(address);
    const tab = found ?? this.create(address);
    if (found === undefined) {
      shell.add(tab, 'main');
    }
    if (found === undefined || found.content.address.path !== address.path) {
      void tab.content.load(address);
    }
    shell.activateById(tab.id);
    return tab;
  }

  /**
   * Claim `openId`; if that succeeds, show the tab beside the widget `ref` and leave the focus there.
   *
   * @throws RmxResponseError with code `loopback_already_opened` where the claim came too late.
   */
  async claim(
    address: IPortAddress,
    openId: string,
    ref: string | null
  ): Promise<PortTab> {
    const { shell, requestTicket } = this.options;
    const ticket = await requestTicket(address, openId);
    const found = this.find(address);
    const tab = found ?? this.create(address);
    if (found === undefined) {
      shell.add(tab, 'main', this.placeBeside(ref));
    }
    tab.content.loadTicket(address, ticket);
    shell.activateById(tab.id);
    if (ref !== null) {
      shell.activateById(ref);
    }
    return tab;
  }

  private find(address: IPortAddress): PortTab | undefined {
    return this.options.tracker.find(tab =>
      isSamePort(tab.content.address, address)
    );
  }

  private create(address: IPortAddress): PortTab {
    const { requestTicket, baseUrl, trans, tracker } = this.options;
    const view = new PortView(address, requestTicket, trans);
    const tab = createPortTab(view, baseUrl, trans);
    void tracker.add(tab);
    return tab;
  }

  /** The first tab splits the notebook's area; the next ones join it. */
  private placeBeside(ref: string | null): object {
    const neighbour = this.options.tracker.find(
      tab => tab.isAttached && tab.isVisible
    );
    if (neighbour !== undefined) {
      return { ref: neighbour.id, mode: 'tab-after' };
    }
    return ref === null ? {} : { ref, mode: 'split-right' };
  }
}
