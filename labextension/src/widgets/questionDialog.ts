import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { element } from '../components/element';
import type { IQuestion } from '../tokens';

/** The prompts of a question, one line each; what is a secret is masked, and kept by no browser. */
class QuestionForm
  extends Widget
  implements Dialog.IBodyWidget<readonly string[]>
{
  constructor({ instructions, prompts }: IQuestion) {
    super();
    this.addClass('jp-rmx-Question');
    if (instructions !== '') {
      this.node.append(element('p', 'jp-rmx-Question-text', instructions));
    }
    for (const { text, echo } of prompts) {
      const input = document.createElement('input');
      input.className = 'jp-mod-styled';
      input.type = echo ? 'text' : 'password';
      input.autocomplete = echo ? 'off' : 'one-time-code';
      input.spellcheck = false;
      const label = element('label', 'jp-rmx-Question-prompt', text.trim());
      label.append(input);
      this.node.append(label);
      this._inputs.push(input);
    }
  }

  getValue(): readonly string[] {
    return this._inputs.map(({ value }) => value);
  }

  private readonly _inputs: HTMLInputElement[] = [];
}

/** Put a server's question to the person; null if they give up. */
export async function askQuestion(
  question: IQuestion,
  trans: TranslationBundle
): Promise<readonly string[] | null> {
  const { machine, title } = question;
  const { button, value } = await showDialog({
    title: dialogTitle(machine, title, trans),
    body: new QuestionForm(question),
    buttons: [
      Dialog.cancelButton(),
      Dialog.okButton({ label: trans.__('Answer') })
    ],
    focusNodeSelector: 'input'
  });
  return button.accept ? value : null;
}

/** The server's own title names the machine as often as not. */
function dialogTitle(
  machine: string,
  title: string,
  trans: TranslationBundle
): string {
  if (title === '') {
    return trans.__('%1 asks', machine);
  }
  return title.startsWith(machine) ? title : `${machine}: ${title}`;
}
