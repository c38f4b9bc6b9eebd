import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { ALREADY_OPENED, RmxResponseError } from '../api/errors';
import { element } from '../components/element';
import { portIcon } from '../components/icons';
import { openCard } from '../components/openCard';
import { describeFailure } from '../model/failure';
import { readOpenOutput } from '../model/openOutput';
import { OPEN_MIME_TYPE, type IOpenOutput, type IPortAddress } from '../tokens';

/** What the card asks of the rest of JupyterLab. */
export interface IPortOpener {
  /** Open or show the tab. */
  openTab(address: IPortAddress): Promise<void>;
  /** Claim the output's `openId` and, if that succeeds, open the tab beside `origin`. */
  claim(output: IOpenOutput, origin: Widget): Promise<void>;
  openWindow(address: IPortAddress): void;
}

/**
 * The output of `%vm open`: a card, which opens the tab by itself the first time it is seen.
 *
 * Whether it is the first time is the server's to say: each output carries an `open_id` that can be claimed once. A
 * saved notebook, a second view of an output or a second window finds it claimed or too old, and only shows the card.
 */
export class OpenOutput extends Widget implements IRenderMime.IRenderer {
  constructor(
    private readonly opener: IPortOpener,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-rmx-OpenOutput');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const output = readOpenOutput(model.data[OPEN_MIME_TYPE]);
    if (output === null) {
      this.node.replaceChildren(element('pre', '', this.plainText(model)));
      return;
    }
    this.node.replaceChildren(this.card(output));
    this._output = output;
    await this.claimWhenAttached();
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    void this.claimWhenAttached();
  }

  /** Claim once, and only while a person can see the card: the tab opens beside what holds it. */
  private async claimWhenAttached(): Promise<void> {
    const output = this._output;
    if (output === null || !this.isAttached || output.openId === this._tried) {
      return;
    }
    this._tried = output.openId;
    try {
      await this.opener.claim(output, this);
    } catch (error) {
      if (!isAlreadyOpened(error)) {
        this.note(error);
      }
    }
  }

  private card(output: IOpenOutput): HTMLElement {
    const { machine, port } = output;
    return openCard({
      heading: this.trans.__('%1 · port %2', machine, port.toString()),
      shown: output.shown,
      openTabLabel: this.trans.__('Open tab'),
      openWindowLabel: this.trans.__('Open in window'),
      openWindowCaption: this.trans.__(
        'Logins and cookies of the app are separate there.'
      ),
      renderIcon: container => portIcon.element({ container }),
      onOpenTab: () => {
        void this.opener.openTab(output);
      },
      onOpenWindow: () => {
        this.opener.openWindow(output);
      }
    });
  }

  /** Say below the card why no tab came. */
  private note(error: unknown): void {
    const { message, hint } = describeFailure(error);
    this.node.append(
      element('div', 'jp-rmx-OpenOutput-note', `${message} ${hint}`.trim())
    );
  }

  /** The text that any front end would show. */
  private plainText(model: IRenderMime.IMimeModel): string {
    const text = model.data['text/plain'];
    const joined = Array.isArray(text) ? text.join('') : text;
    return typeof joined === 'string'
      ? joined
      : this.trans.__(
          'This output is not a link to a port that this version understands.'
        );
  }

  private _output: IOpenOutput | null = null;
  private _tried = '';
}

function isAlreadyOpened(error: unknown): boolean {
  return error instanceof RmxResponseError && error.code === ALREADY_OPENED;
}
