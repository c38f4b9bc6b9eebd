import type { TranslationBundle } from '@jupyterlab/translation';
import { type ISignal, Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { element } from '../components/element';
import { errorPanel } from '../components/errorPanel';
import { portIcon } from '../components/icons';
import { portFrame } from '../components/portFrame';
import { tabLabel } from '../model/address';
import { describeFailure } from '../model/failure';
import type { IPortAddress, IPortTicket, RequestTicket } from '../tokens';

/**
 * The app behind a port of a machine, in a frame of its own origin.
 *
 * The frame's address cannot be read from here once the app has navigated, so reloading means a fresh ticket for the
 * path that was asked for. A ticket lives in the frame's `src` only: nothing of this widget is saved but its address.
 */
export class PortView extends Widget {
  constructor(
    address: IPortAddress,
    private readonly requestTicket: RequestTicket,
    private readonly trans: TranslationBundle
  ) {
    super();
    this._address = address;
    this.addClass('jp-rmx-PortView');
    this.title.label = tabLabel(address);
    this.title.caption = trans.__(
      'Port %1 of machine %2',
      address.port.toString(),
      address.machine
    );
    this.title.icon = portIcon;
  }

  get address(): IPortAddress {
    return this._address;
  }

  /** Emitted when a load begins, which may be for another path. */
  get addressChanged(): ISignal<this, IPortAddress> {
    return this._addressChanged;
  }

  /** Ask for a fresh ticket and load the app; a failure is shown, not thrown. */
  async load(address: IPortAddress = this._address): Promise<void> {
    const round = this.begin(address);
    try {
      const ticket = await this.requestTicket(address);
      if (round === this._round) {
        this.showFrame(ticket);
      }
    } catch (error) {
      if (round === this._round) {
        this.showFailure(error);
      }
    }
  }

  /** Load the app with a ticket that was claimed before. */
  loadTicket(address: IPortAddress, ticket: IPortTicket): void {
    this.begin(address);
    this.showFrame(ticket);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._round++;
      Signal.clearData(this);
      super.dispose();
    }
  }

  /** Show that a load is under way, and return its number. */
  private begin(address: IPortAddress): number {
    this._address = address;
    this._addressChanged.emit(address);
    this.showStatus();
    return ++this._round;
  }

  private showStatus(): void {
    const { machine, port } = this._address;
    const text = this.trans.__(
      'Connecting to port %1 of %2…',
      port.toString(),
      machine
    );
    const status = element('div', 'jp-rmx-PortView-status', text);
    status.setAttribute('role', 'status');
    this.node.replaceChildren(status);
  }

  private showFrame(ticket: IPortTicket): void {
    const frame = portFrame(this.title.caption);
    frame.addEventListener(
      'load',
      () => this.node.querySelector('.jp-rmx-PortView-status')?.remove(),
      { once: true }
    );
    frame.src = ticket.open_url;
    this.node.append(frame);
  }

  private showFailure(error: unknown): void {
    this.node.replaceChildren(
      errorPanel(describeFailure(error), this.trans.__('Retry'), () => {
        void this.load();
      })
    );
  }

  private _address: IPortAddress;
  private readonly _addressChanged = new Signal<this, IPortAddress>(this);
  /** Counts loads, so that a late answer to an earlier one changes nothing. */
  private _round = 0;
}
